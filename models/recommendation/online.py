"""What people did with recommended videos, by the version and the generators that put them there.

An answer's trace says what was shown, who proposed it, and with which chance; an interaction names the answer by its
trace id. Nothing else is attributed: a click that names no answer says nothing about one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

from core.events import (
    Click,
    Dislike,
    Event,
    Hide,
    Impression,
    Interaction,
    InteractionEvent,
    Like,
    Report,
    Watch,
    Watched,
)

KIND = "recommendation"  # of the traces
COMPLETED_FROM = 0.9  # share watched from which a video counts as completed
OUTCOMES = ("impression", "click", "completed", "like", "dislike")
Outcome = Literal["impression", "click", "completed", "like", "dislike"]


@dataclass(frozen=True)
class Option:
    """One candidate of an answer as its trace keeps it. `position` and `propensity` are None for one not shown."""

    item_id: str
    score: float
    objectives: Mapping[str, float]
    generators: tuple[str, ...]
    position: int | None
    place: str | None
    propensity: float | None


@dataclass(frozen=True)
class Answer:
    """One answer: what scored it, and its candidates by video. `rules` are those of re-ranking."""

    trace_id: str
    scored_by: str
    rules: Mapping[str, Any]
    options: Mapping[str, Option]

    def shown(self, item_id: str) -> Option | None:
        """Return a video of the answer, None for one that was not in it."""
        option = self.options.get(item_id)
        return option if option is not None and option.position is not None else None


@dataclass(frozen=True)
class Attributed:
    """One thing that somebody did with a video of an answer."""

    answer: Answer
    option: Option
    outcome: Outcome | None  # None: a watch that was not completed, which counts its seconds only
    watched_s: float = 0.0


def answer_of(trace_id: str, payload: Mapping[str, Any]) -> Answer:
    """Read a trace's payload (see `serving/recommendation/verdicts.py`); what was not scored is left out."""
    options = {
        one["item_id"]: Option(
            one["item_id"],
            float(one["score"]),
            one.get("objectives") or {},
            tuple(one.get("generators") or ()),
            one.get("position"),
            one.get("place"),
            one.get("propensity"),
        )
        for one in payload.get("candidates", ())
        if one.get("score") is not None
    }
    return Answer(trace_id, str(payload.get("scored_by", "")), payload.get("rules") or {}, options)


def names_answer(event: Event) -> TypeGuard[InteractionEvent]:
    """Tell whether an event may be attributed: it is about a video and names an answer."""
    data = getattr(event, "data", None)
    return isinstance(data, Interaction) and bool(data.trace_id) and data.item_id is not None


def attribute(event: Event, answer: Answer | None) -> Attributed | None:
    """Return what an event says about an answer; None where it says nothing or the video was not in the answer."""
    data = getattr(event, "data", None)
    if answer is None or not isinstance(data, Interaction) or data.item_id is None:
        return None
    option = answer.shown(data.item_id)
    if option is None:
        return None
    outcome, watched_s = outcome_of(event)
    if outcome is None and not watched_s:
        return None
    return Attributed(answer, option, outcome, watched_s)


def outcome_of(event: Event) -> tuple[Outcome | None, float]:
    """Return what an event counts as, and the seconds watched. Hiding and reporting count as disliking."""
    match event:
        case Impression():
            return "impression", 0.0
        case Click():
            return "click", 0.0
        case Like():
            return "like", 0.0
        case Dislike() | Hide() | Report():
            return "dislike", 0.0
        case Watch():
            value = event.data.value
            if not isinstance(value, Watched):
                return None, 0.0
            done = bool(value.of_s) and value.seconds >= COMPLETED_FROM * (value.of_s or 0.0)
            return ("completed" if done else None), value.seconds
    return None, 0.0


@dataclass
class Tally:
    """Counts of one version or generator."""

    impression: int = 0
    click: int = 0
    completed: int = 0
    like: int = 0
    dislike: int = 0
    watched_s: float = 0.0

    def add(self, one: Attributed) -> None:
        self.watched_s += one.watched_s
        if one.outcome is not None:
            setattr(self, one.outcome, getattr(self, one.outcome) + 1)

    def rates(self) -> dict[str, float | None]:
        """Return counts per impression: None where nothing was shown."""
        shown = self.impression
        names = {"ctr": self.click, "completed_rate": self.completed, "like_rate": self.like}
        more = {"dislike_rate": self.dislike, "watched_s_per_impression": self.watched_s}
        return {name: (count / shown if shown else None) for name, count in {**names, **more}.items()}


@dataclass
class OnlineFigures:
    """What happened to answers, by version (each event once) and by generator (each that proposed the video)."""

    versions: dict[str, Tally] = field(default_factory=dict)
    generators: dict[str, Tally] = field(default_factory=dict)
    answers: set[str] = field(default_factory=set)
    attributed: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def add(self, one: Attributed) -> None:
        self.attributed += 1
        self.answers.add(one.answer.trace_id)
        self.versions.setdefault(one.answer.scored_by, Tally()).add(one)
        for generator in one.option.generators:
            self.generators.setdefault(generator, Tally()).add(one)

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def figures(events: Iterable[Event], answers: Mapping[str, Answer]) -> tuple[OnlineFigures, list[Attributed]]:
    """Attribute events, each once, to answers by trace id; return the figures and what was attributed."""
    found, kept = OnlineFigures(), []
    seen: set[str] = set()
    for event in events:
        if event.id in seen:
            continue
        seen.add(event.id)
        if not names_answer(event):
            found.leave_out("names no answer")
            continue
        answer = answers.get(str(event.data.trace_id))
        one = attribute(event, answer)
        if one is not None:
            found.add(one)
            kept.append(one)
        else:
            found.leave_out("of another or a forgotten answer" if answer is None else "not shown, or says nothing")
    return found, kept


def shown_rewards(
    attributed: Sequence[Attributed], reward: Outcome = "click"
) -> tuple[list[tuple[Answer, Option]], list[float]]:
    """Return every impression of a video in an answer, once, and whether it earned the reward (1 or 0)."""
    shown: dict[tuple[str, str], tuple[Answer, Option]] = {}
    earned: set[tuple[str, str]] = set()
    for one in attributed:
        key = (one.answer.trace_id, one.option.item_id)
        if one.outcome == "impression":
            shown.setdefault(key, (one.answer, one.option))
        elif one.outcome == reward:
            earned.add(key)
    return list(shown.values()), [float(key in earned) for key in shown]
