"""What rules can ask about: the names, their types, and how each is read from a case.

A getter returns None for what is unknown: an author nobody described, a class without a probability, a signal that the
models did not tell. A rule about something unknown does not fire.
"""

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.moderation import HARM_CLASSES, HarmClass, PostScores
from models.text.normalise import normalise

if TYPE_CHECKING:
    from models.moderation.policy.case import Case

PLAIN_LENGTH = 2_000

Value = float | str | bool | frozenset[str]


class Kind(Enum):
    """The types of values. Each has its own comparisons."""

    number = "a number"
    text = "a text"
    flag = "true or false"
    words = "a list of texts"


class Signals:
    """What is known of one case, as rules ask for it. Made once per decision; costly parts are made when asked for."""

    __slots__ = ("__dict__", "case", "known", "reports", "scores")

    def __init__(self, case: "Case", reports: Mapping[str, float], known: Set[str]) -> None:
        self.case = case
        self.scores = case.scores if isinstance(case.scores, PostScores) else None
        self.reports = reports
        self.known = known

    @cached_property
    def folded_text(self) -> str:
        """The text without differences of case."""
        return self.case.post.text.casefold()

    @cached_property
    def plain_text(self) -> str:
        """The first `PLAIN_LENGTH` characters without disguises: lookalike or invisible letters, digits for letters.

        A text that is nothing but disguises takes some 10 ms a thousand characters, and decisions are made in a loop.
        """
        return normalise(self.case.post.text[:PLAIN_LENGTH]).text

    @cached_property
    def domains(self) -> frozenset[str]:
        """The hosts that links name, without `www.`; a link that cannot be read names none."""
        return frozenset(host for host in map(_host, self.case.post.links) if host)


Getter = Callable[[Signals], Value | None]


def _host(link: str) -> str:
    try:
        host = urlsplit(link if "//" in link else f"//{link}").hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.").rstrip(".")


@dataclass(frozen=True)
class Name:
    """A name that rules can use."""

    kind: Kind
    get: Getter
    meaning: str


def _score(harm: HarmClass, at: Signals) -> float | None:
    return None if at.scores is None else at.scores.scores.get(harm)


def _signal(name: str, at: Signals) -> float | None:
    return None if at.scores is None else at.scores.signals.get(name)


def _known(name: str, at: Signals) -> bool:
    return name in at.known


def _report(key: str, at: Signals) -> float:
    return at.reports.get(key, 0.0)


def _author(field: str, at: Signals) -> Value | None:
    return getattr(at.case.post.author, field)


def _reaction(field: str, at: Signals) -> Value | None:
    return getattr(at.case.post.reactions, field)


def _language(at: Signals) -> str | None:
    found = at.scores.language if at.scores is not None else "und"
    language = at.case.post.language if found == "und" else found
    return None if language == "und" else language


def _age_hours(at: Signals) -> float:
    return max(0.0, (at.case.now - at.case.post.posted_at).total_seconds() / 3600)


_AUTHOR = {
    "violations": (Kind.number, "decisions against the author that enforced and still stand"),
    "reports_received": (Kind.number, "reports of the author's posts"),
    "profane_rate": (Kind.number, "share of profane words in past posts"),
    "posts": (Kind.number, "posts so far"),
    "followers": (Kind.number, "followers"),
    "account_age_days": (Kind.number, "age of the account in days"),
    "age_band": (Kind.text, "such as `18-24`, as the author gave it"),
    "city": (Kind.text, "as the author gave it"),
    "country": (Kind.text, "two letters, as the author gave it"),
}
_REACTIONS = {
    "impressions": "times shown",
    "likes": "likes",
    "shares": "shares",
    "comments": "comments",
    "reports": "weight of the reports, as the feature store has it",
}

NAMES: dict[str, Name] = {
    **{
        f"scores.{harm}": Name(Kind.number, partial(_score, harm), f"calibrated probability of {harm}")
        for harm in HARM_CLASSES
    },
    **{f"author.{field}": Name(kind, partial(_author, field), text) for field, (kind, text) in _AUTHOR.items()},
    **{f"reactions.{field}": Name(Kind.number, partial(_reaction, field), text) for field, text in _REACTIONS.items()},
    "reports.total": Name(Kind.number, partial(_report, "total"), "weight of all reports together"),
    **{
        f"reports.{harm}": Name(Kind.number, partial(_report, harm), f"weight of the reports that say {harm}")
        for harm in HARM_CLASSES
    },
    "post.text": Name(Kind.text, lambda at: at.case.post.text, "the words"),
    "post.plain": Name(
        Kind.text, lambda at: at.plain_text, f"the first {PLAIN_LENGTH} characters with disguises undone"
    ),
    "post.language": Name(Kind.text, _language, "the language that was found, else the one given"),
    "post.device": Name(Kind.text, lambda at: at.case.post.device, "what it was posted from"),
    "post.length": Name(Kind.number, lambda at: len(at.case.post.text), "characters"),
    "post.links": Name(Kind.number, lambda at: len(at.case.post.links), "how many links"),
    "post.media": Name(Kind.number, lambda at: len(at.case.post.media_ids), "how many images and videos"),
    "post.domains": Name(Kind.words, lambda at: at.domains, "the hosts that links name, without `www.`"),
    "post.age_hours": Name(Kind.number, _age_hours, "hours since it was posted"),
}
#: Names whose second part is open: whatever signals the models tell, whatever lists the policy has.
OPEN = {
    "signals": (Kind.number, _signal, "a signal of the models, such as `signals.nsfw`"),
    "known": (Kind.flag, _known, "whether media of the post is on this list of known harm"),
}
_SIGNAL = re.compile(r"[a-z0-9_]{1,64}")


def find_name(name: str) -> Name | None:
    """Return what a name stands for, or None when there is no such name."""
    if name in NAMES:
        return NAMES[name]
    group, _, rest = name.partition(".")
    if group in OPEN and rest and (group == "known" or _SIGNAL.fullmatch(rest)):
        kind, get, meaning = OPEN[group]
        return Name(kind, partial(get, rest), meaning)
    return None
