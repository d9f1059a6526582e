"""The roles that a token can carry, and the caller that it makes."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a caller is trusted with. A token may carry several; none includes another."""

    producer = "producer"  # sends media and events
    reader = "reader"  # searches, and sees what everybody may see
    reviewer = "reviewer"  # also sees what is hidden, and why an answer came about
    admin = "admin"  # everything, maintenance included
    service = "service"  # our own processes; only tokens of this installation's own keys can carry it


#: What an identity provider or a person can be given.
GRANTED = (Role.producer, Role.reader, Role.reviewer, Role.admin)


@dataclass(frozen=True)
class Principal:
    """The caller of one request. `subject` is None when nobody has to say who they are."""

    subject: str | None
    roles: frozenset[Role]


#: Everybody, where access is open.
ANYBODY = Principal(None, frozenset(Role))
