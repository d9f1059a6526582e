"""Compares what the stores hold with what they must hold. Pure: `observe` reads, this judges.

An *effect* is one event's mark in one place: a count in a user's row, a count in an item's row, an applied upload, an
index entry, a dead letter, an archived event. An effect that is not there is lost, one that is there more than once is
applied twice, one that says something else is wrong, and one that nobody caused is unexpected.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from infra.chaos.model import Entity, ItemState, Model, Totals

EXAMPLES_KEPT = 10


@dataclass(frozen=True)
class Row:
    """An entity's online row: when it was computed, and what it says about each window."""

    as_of_us: int
    windows: Mapping[str, Totals]  # day, week, month


@dataclass(frozen=True)
class Letter:
    """A dead letter: why, and whether it is open, replayed or dropped."""

    code: str
    state: str


@dataclass(frozen=True)
class Observed:
    """What was read. A store that took no part is None: nothing is asked of it."""

    logged: frozenset[str]  # ids of the events in the source topics
    letters: Mapping[str, Letter]
    items: Mapping[str, ItemState] | None = None  # the catalogue
    applied: frozenset[str] = frozenset()  # upload events that the catalogue remembers
    entries: Mapping[str, ItemState] = field(default_factory=dict)  # newest index entry of each item
    contradictions: tuple[str, ...] = ()  # items with two entries of one version that differ
    live_differences: tuple[str, ...] = ()  # items in which the serving index differs from one built from the log
    rows: Mapping[Entity, Row] | None = None  # online features
    archived: frozenset[str] | None = None

    def state_hash(self, run: str) -> str:
        """Return a hash of all that must not depend on how often, or in what order, events were delivered.

        The name of the run is left out, so that two runs of one ledger compare. So are index entries of items that
        are not active: a hidden item may stay known to the index, or leave it like a deleted one.
        """
        state = {
            "items": sorted(repr(item) for item in (self.items or {}).values()),
            "entries": sorted(repr(entry) for entry in self.entries.values() if entry.state == "active"),
            "rows": sorted(("/".join(key), row.windows["month"]) for key, row in (self.rows or {}).items()),
            "letters": sorted((key, letter.code) for key, letter in self.letters.items()),
            "archived": sorted(self.archived or ()),
        }
        return hashlib.sha256(msgspec.json.encode(state).replace(run.encode(), b"")).hexdigest()


@dataclass
class Verdict:
    """How many effects were lost, applied twice, wrong or unexpected, with examples of each; and the dead letters."""

    lost: int = 0
    twice: int = 0
    wrong: int = 0
    unexpected: int = 0
    dead_lettered: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether everything is as it must be."""
        return not (self.lost or self.twice or self.wrong or self.unexpected)

    def add(self, what: str, message: str, count: int = 1) -> None:
        """Note a finding: `what` is lost, twice, wrong or unexpected."""
        setattr(self, what, getattr(self, what) + count)
        kept = self.examples.setdefault(what, [])
        if len(kept) < EXAMPLES_KEPT:
            kept.append(message)


def verify(model: Model, seen: Observed, *, required: frozenset[str] | None = None) -> Verdict:
    """Judge what was read against the model.

    Args:
        model: the right final state.
        seen: what the stores hold.
        required: ids that the source topics must hold; default: all of the ledger (everything was acknowledged).
    """
    verdict = Verdict()
    for event_id in sorted((model.events if required is None else required) - seen.logged):
        verdict.add("lost", f"{event_id}: acknowledged, and not in the source topic")
    judge_letters(model.letters, seen.letters, verdict)
    if seen.items is not None:
        _uploads(model, seen, seen.items, verdict)
    if seen.rows is not None:
        _rows(model, seen.rows, verdict)
    if seen.archived is not None:
        for event_id in sorted(model.events - seen.archived):
            verdict.add("lost", f"{event_id}: not in the archive")
    return verdict


def judge_letters(wanted: Mapping[str, str], found: Mapping[str, Letter], verdict: Verdict) -> None:
    """Judge the dead letters: `wanted` are the codes that they must have, by id."""
    verdict.dead_lettered = len(found)
    for letter_id, code in wanted.items():
        letter = found.get(letter_id)
        if letter is None:
            verdict.add("lost", f"{letter_id}: should be a dead letter ({code}) and is none")
        elif letter.code != code:
            verdict.add("wrong", f"{letter_id}: a dead letter for {letter.code}, should be {code}")
    for letter_id, letter in found.items():
        if letter_id not in wanted and letter.state != "replayed":
            verdict.add("unexpected", f"{letter_id}: a dead letter ({letter.code}) of a good event")


def _uploads(model: Model, seen: Observed, items: Mapping[str, ItemState], verdict: Verdict) -> None:
    for event_id in sorted(model.uploads - seen.applied):
        verdict.add("lost", f"{event_id}: the catalogue does not know that it was applied")
    for item_id, wanted in model.items.items():
        item = items.get(item_id)
        if item is None:
            verdict.add("lost", f"{item_id}: not in the catalogue, should be {wanted.state}")
        elif item != wanted:
            verdict.add("wrong", f"{item_id}: in the catalogue {_difference(item, wanted)}")
        _entry(wanted, seen, verdict)
    for item_id in sorted((set(items) | set(seen.entries)) - set(model.items)):
        verdict.add("unexpected", f"{item_id}: in catalogue or index, and nobody uploaded it")
    for item_id in seen.live_differences:
        verdict.add("wrong", f"{item_id}: the serving index differs from the log")
    for item_id in seen.contradictions:
        verdict.add("wrong", f"{item_id}: two index entries of one version say different things")


def _entry(wanted: ItemState, seen: Observed, verdict: Verdict) -> None:
    entry = seen.entries.get(wanted.item_id)
    if wanted.state == "active":
        if entry is None:
            verdict.add("lost", f"{wanted.item_id}: active, and has no index entry")
        elif entry != wanted:
            verdict.add("wrong", f"{wanted.item_id}: the index entry has {_difference(entry, wanted)}")
    # A hidden item may stay known to the index as hidden, or leave it like a deleted one.
    elif entry is not None and entry.state == "active":
        verdict.add("wrong", f"{wanted.item_id}: {wanted.state}, and its newest index entry is active")


def _rows(model: Model, rows: Mapping[Entity, Row], verdict: Verdict) -> None:
    for entity in model.counted:
        name = f"{entity[0]} {entity[1]}"
        row = rows.get(entity)
        wanted = model.totals(entity, row.as_of_us, "month") if row else model.everything(entity)
        found = row.windows["month"] if row else (0, 0, 0)
        missing = sum(max(0, want - have) for want, have in zip(wanted[:2], found[:2], strict=True))
        extra = sum(max(0, have - want) for want, have in zip(wanted[:2], found[:2], strict=True))
        # Watched time has no count of events: a difference is at least one.
        missing += int(found[2] < wanted[2])
        extra += int(found[2] > wanted[2])
        if missing:
            verdict.add("lost", f"{name}: month has {found}, should be {wanted}", missing)
        if extra:
            verdict.add("twice", f"{name}: month has {found}, should be {wanted}", extra)
        if row and not missing and not extra:
            for window in ("day", "week"):
                wanted = model.totals(entity, row.as_of_us, window)
                if row.windows[window] != wanted:
                    verdict.add("wrong", f"{name}: {window} has {row.windows[window]}, should be {wanted}")
    for entity in set(rows) - set(model.counted):
        verdict.add("unexpected", f"{entity[0]} {entity[1]}: has a row, and nothing happened to it")


def _difference(found: ItemState, wanted: ItemState) -> str:
    names = [name for name in ItemState.__dataclass_fields__ if getattr(found, name) != getattr(wanted, name)]
    return ", ".join(f"{name} {getattr(found, name)!r}, should be {getattr(wanted, name)!r}" for name in names)
