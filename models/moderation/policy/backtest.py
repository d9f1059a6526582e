"""What a policy would have done with stored posts, beside what the machine did.

* *Changes* are counted over the posts that a machine decided: a policy changes nothing that a person decided.
* *Precision* is measured on the posts that a person looked at: of those on which the policy acts, the share that the
  person restricted, with Wilson intervals. People mostly see what machines flagged, so it says how often acting is
  right, and *found* how much of the harm people confirmed is acted upon; neither tells of harm that nobody looked at.
* *Impressions* are those while the machine's decision was in force (until a person decided, where one did). An action
  lets through 0 (enforce), its factor (demote) or all of them, so under the policy there would have been
  `impressions x shown then / shown now`. What a post that was enforced would have had is not known and not guessed:
  such posts are counted in `unknown_posts`.

Cases hold what is known of a post now, or was known at its decision: the caller says which. Rules that ask about
something the caller left out are unknown, as ever, and counted in `unknown_rules`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.moderation import ACTIONS, HARM_CLASSES, Action, HarmClass
from models.moderation.policy.case import Case
from models.moderation.policy.judged import NO_HARM, Judged, judge_many
from models.moderation.policy.proportions import Proportion, proportion
from models.moderation.policy.schema import Policy, rank

_AT_ONCE = 4_096
_EXAMPLES = 5
_RANK_DEMOTE, _RANK_ENFORCE = rank("demote"), rank("enforce")

AppealOutcome = Literal["upheld", "reversed"]


class PostRow(Struct, kw_only=True, frozen=True, gc=False):
    """A stored post: the case, what the machine decided, and what became of the post."""

    case: Case
    action: Action | None  # what the machine decided last; None when that is not known any more
    harm: HarmClass | None = None  # … for which class
    factor: float = 1.0  # … and with which factor, of a demotion
    by_person: bool = False  # a person has decided since
    label: Action | None = None  # what a person last said, `allow` for harmless; None: nobody looked
    label_harm: HarmClass | None = None
    appeal: AppealOutcome | None = None  # of the last appeal that was decided
    impressions: int = 0  # while the machine's decision was in force


class ClassCounts(Struct, kw_only=True, frozen=True, gc=False):
    """One class: posts acted upon for it, and how people judged them. By action: at least that."""

    acted: dict[Action, int]
    acted_now: dict[Action, int]
    precision: dict[Action, Proportion]
    precision_now: dict[Action, Proportion]
    found: Proportion  # of the posts that people restricted for this class, those acted upon for any
    found_now: Proportion


class Impressions(Struct, kw_only=True, frozen=True, gc=False):
    """Impressions under the machine's decisions, and how many of them the policy prevents (or adds: below 0)."""

    counted: int
    prevented: float
    harmful: int  # of posts that people restricted
    harmful_prevented: float
    harmless: int  # of posts that people let through
    harmless_prevented: float
    unknown_posts: int  # enforced now, or not known, and shown under the policy


class Appeals(Struct, kw_only=True, frozen=True, gc=False):
    """Decided appeals, and what the policy would do with those posts."""

    upheld: int
    reversed: int
    upheld_restricted: int  # rightly restricted, and restricted again
    reversed_restricted: int  # wrongly restricted, and restricted again


class Backtest(Struct, kw_only=True, frozen=True, gc=False):
    """The whole result. `changes[now][then]` counts posts that a machine decided."""

    policy: str
    policy_version: str
    posts: int
    decided_by_people: int
    changes: dict[Action, dict[Action, int]]
    examples: dict[str, list[str]]  # `now → then`: posts, those shown most often first
    by_class: dict[HarmClass, ClassCounts]
    precision: dict[Action, Proportion]  # any class
    precision_now: dict[Action, Proportion]
    found: Proportion
    found_now: Proportion
    review_load: int  # posts that the policy has people look at
    review_load_now: int
    appeals: Appeals
    impressions: Impressions
    unknown_rules: dict[str, int]  # rule -> posts for which it could not be asked


def backtest(policy: Policy, rows: Iterable[PostRow]) -> Backtest:
    """Apply a policy to stored posts. `rows` is read once, some thousands at a time."""
    tally = _Tally(policy)
    for some in _batches(rows, _AT_ONCE):
        tally.add(some)
    return tally.result()


def _batches(rows: Iterable[PostRow], size: int) -> Iterator[list[PostRow]]:
    iterator = iter(rows)
    while some := list(islice(iterator, size)):
        yield some


class _Columns:
    """Rows as arrays, in the terms of `Judged`. `now` is -1 where the machine's decision is not known."""

    def __init__(self, rows: Sequence[PostRow], then: Judged) -> None:
        self.then = then
        self.now = np.array([-1 if row.action is None else rank(row.action) for row in rows], np.int8)
        self.now_harm = np.array([_place(row.harm) for row in rows], np.int8)
        self.label = np.array([-1 if row.label is None else rank(row.label) for row in rows], np.int8)
        self.label_harm = np.array([_place(row.label_harm) for row in rows], np.int8)
        self.machine = np.array([not row.by_person for row in rows], np.bool_) & (self.now >= 0)
        self.appeal = np.array([row.appeal or "" for row in rows], "U8")
        self.impressions = np.array([row.impressions for row in rows], np.float64)
        self.shown_now = _shown(self.now, np.array([row.factor for row in rows], np.float64))
        self.shown_then = _shown(then.ranks, then.factors)
        self.harmful = self.label >= _RANK_DEMOTE
        self.harmless = self.label == rank("allow")


def _place(harm: HarmClass | None) -> int:
    return NO_HARM if harm is None else HARM_CLASSES.index(harm)


def _shown(ranks: NDArray[np.int8], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of impressions that an action lets through."""
    return np.select([ranks == _RANK_ENFORCE, ranks == _RANK_DEMOTE], [0.0, factors], 1.0)


class _Tally:
    """Counts that grow by batches of rows."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._posts = 0
        self._people = 0
        self._changes = np.zeros((len(ACTIONS), len(ACTIONS)), np.int64)
        self._examples: dict[tuple[int, int], list[tuple[int, str]]] = {}
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._sums: dict[str, float] = defaultdict(float)
        self._unknown: Counter[str] = Counter()

    def add(self, rows: Sequence[PostRow]) -> None:
        columns = _Columns(rows, judge_many(self._policy, [row.case for row in rows]))
        self._posts += len(rows)
        self._people += sum(row.by_person for row in rows)
        self._unknown.update(columns.then.unknown)
        self._count_changes(rows, columns)
        self._count_judgements("then", columns.then.ranks, columns.then.harms, columns)
        self._count_judgements("now", columns.now, columns.now_harm, columns)
        self._count_appeals(columns)
        self._count_impressions(columns)

    def _count_changes(self, rows: Sequence[PostRow], columns: _Columns) -> None:
        machine = columns.machine
        np.add.at(self._changes, (columns.now[machine], columns.then.ranks[machine]), 1)
        for place in np.flatnonzero(machine & (columns.now != columns.then.ranks)).tolist():
            row = rows[place]
            change = int(columns.now[place]), int(columns.then.ranks[place])
            kept = self._examples.setdefault(change, [])
            kept.append((-row.impressions, row.case.post.post_id))
            kept.sort()
            del kept[_EXAMPLES:]

    def _count_judgements(self, when: str, ranks: NDArray[np.int8], harms: NDArray[np.int8], columns: _Columns) -> None:
        known = ranks >= 0
        self._counts[when, "waits"] += int(((ranks == rank("review")) | (ranks == _RANK_DEMOTE)).sum())
        self._count_share((when, "found"), columns.harmful & known, ranks > 0)
        for action in ACTIONS[1:]:
            acted = ranks >= rank(action)
            self._count_precision((when, action), acted, columns.harmful, columns.label)
            for place, harm in enumerate(HARM_CLASSES):
                # Right when the person restricted it for this class, or named none.
                same = columns.harmful & ((columns.label_harm == place) | (columns.label_harm == NO_HARM))
                self._count_precision((when, action, harm), acted & (harms == place), same, columns.label)
        for place, harm in enumerate(HARM_CLASSES):
            self._count_share((when, "found", harm), columns.harmful & known & (columns.label_harm == place), ranks > 0)

    def _count_share(self, key: tuple[str, ...], of: NDArray[np.bool_], hits: NDArray[np.bool_]) -> None:
        self._counts[*key, "n"] += int(of.sum())
        self._counts[*key, "hits"] += int((of & hits).sum())

    def _count_precision(
        self, key: tuple[str, ...], acted: NDArray[np.bool_], right: NDArray[np.bool_], label: NDArray[np.int8]
    ) -> None:
        self._counts[*key, "acted"] += int(acted.sum())
        self._count_share(key, acted & (label >= 0), right)

    def _count_appeals(self, columns: _Columns) -> None:
        restricted = columns.then.ranks >= _RANK_DEMOTE
        for outcome in ("upheld", "reversed"):
            of = columns.appeal == outcome
            self._counts["appeal", outcome] += int(of.sum())
            self._counts["appeal", outcome, "again"] += int((of & restricted).sum())

    def _count_impressions(self, columns: _Columns) -> None:
        known = (columns.now >= 0) & (columns.shown_now > 0)
        ratio = np.divide(columns.shown_then, columns.shown_now, out=np.ones_like(columns.impressions), where=known)
        prevented = columns.impressions * (1 - ratio)
        for name, of in (("all", known), ("harmful", known & columns.harmful), ("harmless", known & columns.harmless)):
            self._sums[name] += columns.impressions[of].sum()
            self._sums[f"{name} prevented"] += prevented[of].sum()
        self._counts["unknown posts",] += int((~known & (columns.shown_then > 0)).sum())

    def result(self) -> Backtest:
        """Return what the rows so far come to."""
        counts, sums = self._counts, self._sums
        return Backtest(
            policy=self._policy.name,
            policy_version=self._policy.version,
            posts=self._posts,
            decided_by_people=self._people,
            changes={now: {then: int(self._changes[rank(now), rank(then)]) for then in ACTIONS} for now in ACTIONS},
            examples={
                f"{ACTIONS[now]} → {ACTIONS[then]}": [post_id for _, post_id in kept]
                for (now, then), kept in sorted(self._examples.items())
            },
            by_class={harm: self._of_class(harm) for harm in HARM_CLASSES},
            precision=self._precision("then"),
            precision_now=self._precision("now"),
            found=self._share("then", "found"),
            found_now=self._share("now", "found"),
            review_load=counts["then", "waits"],
            review_load_now=counts["now", "waits"],
            appeals=Appeals(
                upheld=counts["appeal", "upheld"],
                reversed=counts["appeal", "reversed"],
                upheld_restricted=counts["appeal", "upheld", "again"],
                reversed_restricted=counts["appeal", "reversed", "again"],
            ),
            impressions=Impressions(
                counted=int(sums["all"]),
                prevented=float(sums["all prevented"]),
                harmful=int(sums["harmful"]),
                harmful_prevented=float(sums["harmful prevented"]),
                harmless=int(sums["harmless"]),
                harmless_prevented=float(sums["harmless prevented"]),
                unknown_posts=counts["unknown posts",],
            ),
            unknown_rules={name: count for name, count in self._unknown.items() if count},
        )

    def _precision(self, when: str, *harm: str) -> dict[Action, Proportion]:
        return {action: self._share(when, action, *harm) for action in ACTIONS[1:]}

    def _share(self, *key: str) -> Proportion:
        return proportion(self._counts[*key, "hits"], self._counts[*key, "n"])

    def _of_class(self, harm: HarmClass) -> ClassCounts:
        counts = self._counts
        return ClassCounts(
            acted={action: counts["then", action, harm, "acted"] for action in ACTIONS[1:]},
            acted_now={action: counts["now", action, harm, "acted"] for action in ACTIONS[1:]},
            precision=self._precision("then", harm),
            precision_now=self._precision("now", harm),
            found=self._share("then", "found", harm),
            found_now=self._share("now", "found", harm),
        )
