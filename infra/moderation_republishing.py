"""Republishing all verdicts: page by page, no faster than the relay sends them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from core.errors import Unavailable
from storage.moderation.republishing import Republished

_PAGE = 500  # posts a transaction: others who write wait for some milliseconds
_WAITING_AT_MOST = 1_000  # records in the outbox: new verdicts queue behind them
_LOOK_EVERY_S = 0.1
_PATIENCE_S = 30.0


class Republisher(Protocol):
    """The part of moderation's store that is used."""

    def republish(self, by: str, after: str = "", limit: int = 500) -> Republished: ...


@dataclass(frozen=True)
class RepublishedAll:
    """Posts looked at, and verdicts put into the outbox."""

    posts: int
    verdicts: int


def republish_all(
    store: Republisher,
    waiting: Callable[[], int],
    by: str,
    *,
    advance: Callable[[int], None] = lambda posts: None,
    sleep: Callable[[float], None] = time.sleep,
) -> RepublishedAll:
    """Put the verdicts of every post into the outbox.

    Args:
        waiting: how many records wait in the outbox.
        by: who answers for it; kept in the audit log.
        advance: told how many posts were looked at, page by page.

    Raises:
        Unavailable: the outbox is full and nothing leaves it. What is in it is sent later; the same call does the rest.
    """
    posts = verdicts = 0
    place: str | None = ""
    while place is not None:
        _wait_for_room(waiting, sleep)
        page = store.republish(by, place, _PAGE)
        posts, verdicts, place = posts + page.posts, verdicts + page.verdicts, page.place
        advance(page.posts)
    return RepublishedAll(posts, verdicts)


def _wait_for_room(waiting: Callable[[], int], sleep: Callable[[float], None]) -> None:
    least, waited_s = waiting(), 0.0
    number = least
    while number > _WAITING_AT_MOST:
        if waited_s >= _PATIENCE_S:
            raise Unavailable(
                f"{number:,} records wait in the outbox and nothing leaves it: start the system (its workers send "
                "them), then run this again. What it has put there is sent, and to do it twice is harmless"
            )
        sleep(_LOOK_EVERY_S)
        waited_s += _LOOK_EVERY_S
        number = waiting()
        if number < least:
            least, waited_s = number, 0.0
