"""The ladder: every model on the same data, the same split and the same users, from popularity to the full system."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from models.metrics.lists import GroupScore, by_group
from models.recommendation.content import ContentBased
from models.recommendation.evaluate import Measured, measure, paired_difference
from models.recommendation.feedback import Feedback
from models.recommendation.recommender import Report, silent
from models.recommendation.search import Method, search
from models.recommendation.splits import Split, leave_last_out, temporal
from models.recommendation.zoo import LADDER, REFERENCE, find_entry

Protocol = Literal["leave-last-out", "temporal"]
_COMPARED = ("hr@10", "ndcg@10", "map@10")


@dataclass(frozen=True)
class Rung:
    """One model's result. `gain` is of the paired difference to the reference: mean, low, high, by metric."""

    name: str
    what: str
    settings: dict[str, Any]
    searched: int  # trials on the validation split
    validation_ndcg: float | None
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    gain: dict[str, tuple[float, float, float]]
    groups: dict[str, list[GroupScore]]
    fit_s: float
    score_s: float


@dataclass(frozen=True)
class Ladder:
    """Every rung on one split."""

    protocol: str
    users: int
    items: int
    train_pairs: int
    reference: str
    rungs: tuple[Rung, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `models` by name."""
        out = asdict(self)
        out["models"] = {rung["name"]: rung for rung in out.pop("rungs")}
        return out

    def rung(self, name: str) -> Rung:
        """Return one model's result."""
        return next(rung for rung in self.rungs if rung.name == name)


def splits_of(feedback: Feedback, protocol: Protocol) -> tuple[Split, Split]:
    """Return the validation and the test split: settings are chosen on the first, figures come from the second."""
    if protocol == "temporal":
        return temporal(feedback, start=0.8, end=0.9), temporal(feedback, start=0.9)
    return leave_last_out(feedback, back=1), leave_last_out(feedback)


def climb(
    feedback: Feedback,
    *,
    names: Sequence[str] = (),
    protocol: Protocol = "leave-last-out",
    method: Method = "none",
    trials: int = 20,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    report: Report = silent,
) -> Ladder:
    """Search (on validation), fit and measure every model; the order is that of the ladder.

    Args:
        names: which models; all when empty. `wals-32` is the reference, or where it is missing the first one.
        method: of the search; models that take long to fit are searched only where `names` has them.
        settings: changes to a model's settings, instead of a search.
    """
    chosen = [name for name in LADDER if name in set(names)] if names else list(LADDER)
    for name in names:
        find_entry(name)
    validation, test = splits_of(feedback, protocol)
    reference = REFERENCE if REFERENCE in chosen else chosen[0]
    likeness = ContentBased()
    likeness.fit(test.train)
    measured: dict[str, Measured] = {}
    facts: dict[str, tuple[Any, ...]] = {}
    for number, name in enumerate(chosen):
        report("models", number, len(chosen))
        entry = find_entry(name)
        given = (settings or {}).get(name)
        how = "none" if entry.slow and name not in names else method
        changes, tried = (
            (given, []) if given is not None else search(entry, validation, method=how, trials=trials, report=report)
        )
        model = entry.build(changes)
        started = time.perf_counter()
        model.fit(test.train, report)
        between = time.perf_counter()
        scores = model.score(test.users)
        finished = time.perf_counter()
        measured[name] = measure(scores, test, likeness=likeness.item_vectors())
        best = max((trial.value for trial in tried), default=None)
        facts[name] = (entry.what, asdict(model.config), len(tried), best, between - started, finished - between)
    report("models", len(chosen), len(chosen))
    rungs = []
    for name in chosen:
        what, config, searched, best, fit_s, score_s = facts[name]
        result = measured[name]
        rungs.append(
            Rung(
                name=name,
                what=what,
                settings=config,
                searched=searched,
                validation_ndcg=best,
                values=result.values,
                intervals={metric: result.interval(metric) for metric in result.per_user},
                gain={metric: paired_difference(result, measured[reference], metric) for metric in _COMPARED},
                groups=_groups(result, test),
                fit_s=round(fit_s, 3),
                score_s=round(score_s, 3),
            )
        )
    return Ladder(protocol, len(test), feedback.n_items, len(test.train.positives()), reference, tuple(rungs))


def _groups(result: Measured, split: Split, metric: str = "ndcg@10") -> dict[str, list[GroupScore]]:
    """Return a metric by the groups that the user table names: who is served worse."""
    table = split.train.user_table
    if table is None:
        return {}
    ids = [split.train.users[place] for place in split.users.place]
    return {column: by_group(result.per_user[metric], table.group_of(column, ids)) for column in table.groups}
