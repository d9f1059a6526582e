"""One round of learning: from a version and what happened since, to a candidate, and the gate's word on it.

Towers and ranker go on from their weights and learn only what is fresh. The ranker's examples are what the version's
own generators proposed at those moments: they had not learned the answers. Everything else is refitted on all there
is, which takes seconds. Nothing is changed in place, so a round can be given up at any step.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import InvalidInput, RiverlightError
from core.settings import LearningSettings
from models.recommendation.features import FeatureEncoder, FeatureTable
from models.recommendation.feedback import Feedback
from models.recommendation.labels import RelevanceRule, label
from models.recommendation.learning.gate import Verdict, judge
from models.recommendation.learning.questions import ask, examples_of, newly_relevant, sampled, with_later
from models.recommendation.learning.traffic import Cut, Positions, Traffic, part
from models.recommendation.learning.widening import check_state, nearest_known, widened
from models.recommendation.ranker import Ranker
from models.recommendation.recommender import Recommender, Report, silent
from models.recommendation.system import FullSystem
from models.recommendation.two_tower import TwoTower
from models.recommendation.weights import Saved


class Stopped(RiverlightError):
    """Somebody asked to stop; the round was given up, and nothing of it is kept."""

    code = "stopped"


@dataclass(frozen=True, eq=False)
class Material:
    """What a round learns from. Tables describe the items and users of `traffic`, whichever are described.

    `elsewhere`: relevant pairs that the version learned from and that are not part of the traffic. What cannot go on
    learning is refitted on the traffic only where that holds as many, for refitting forgets all the rest.
    """

    traffic: Traffic
    rule: RelevanceRule
    item_table: FeatureTable | None
    user_table: FeatureTable | None
    elsewhere: int = 0


@dataclass(frozen=True, eq=False)
class Outcome:
    """A candidate, what it learned, and whether it may be served.

    `arrived_s` `(n,)` is when each event it learned arrived, for the time from click to weights.
    """

    candidate: Recommender
    feedback: Feedback
    positions: Positions  # of the candidate: its champion's, and what it learned since
    verdict: Verdict
    taught_events: int
    taught_pairs: int
    new_items: int
    refitted: tuple[str, ...]
    kept: tuple[str, ...]
    arrived_s: NDArray[np.float64]


def learn(
    saved: Saved,
    learned: Positions,
    material: Material,
    settings: LearningSettings,
    *,
    report: Report = silent,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Learn what is fresh to a version and compare.

    Args:
        saved: the version to go on from; `learned`: its position.
        material: all that is known; its traffic's first items are the version's, in its order.
        stop: asked between steps; when it says so, the round is given up.

    Raises:
        InvalidInput: the model cannot go on learning, or what is fresh holds too little.
        Stopped: `stop` said so.
    """

    def step(name: str, number: int) -> None:
        if stop():
            raise Stopped(
                f"stopped before the step: {name}; nothing was kept, the next round begins where this one did"
            )
        report("round", number, 6)

    traffic, model = material.traffic, saved.model
    if isinstance(model, Ranker):
        raise InvalidInput("a ranker alone cannot go on learning: it has no generators; learn a full-system instead")
    if traffic.log.items[: len(saved.items)] != saved.items:
        raise InvalidInput("the traffic's items do not begin with the model's")
    step("what is fresh", 0)
    cut = _enough(traffic, learned, settings)
    fresh = cut.teach | cut.test
    taught, asked, rows = _feedbacks(material, cut)
    before = label(part(traffic.log, ~fresh), material.rule)
    is_new = newly_relevant(taught, before)
    if not is_new.any():
        raise InvalidInput(
            f"none of the {int(cut.teach.sum())} fresh interactions says that a video was newly liked or watched to "
            f"{material.rule.watched_from:.0%}; there is nothing to learn yet"
        )
    if not len(rows):
        raise InvalidInput("nothing in the held-out interactions was newly found relevant, so nothing can be compared")
    new_items = len(traffic.log.items) - len(saved.items)
    features = taught.item_features()
    near = nearest_known(taught, len(saved.items)) if new_items else None
    champion, candidate = widened(model, features), widened(model, features, near)
    step("ranker examples", 1)
    examples = None
    if isinstance(champion, FullSystem):
        moments = ask(taught, sampled(np.flatnonzero(is_new), settings.max_questions))
        examples = examples_of(champion.generators, moments, taught.n_items, each=champion.config.each)
    step("towers and generators", 2)
    refit = len(taught.positives()) >= material.elsewhere
    refitted, kept = _teach_generators(candidate, taught, is_new, settings, refit, report, stop)
    step("ranker", 3)
    if isinstance(candidate, FullSystem) and examples is not None:
        rate = candidate.ranker.config.learning_rate * settings.rate
        candidate.ranker.fine_tune(examples, epochs=settings.ranker_epochs, learning_rate=rate, report=report)
    check_state(candidate.state())
    step("gate", 4)
    questions = ask(asked, sampled(rows, settings.max_questions))
    verdict = judge(champion, candidate, questions, taught, margin=settings.margin, min_users=settings.min_users)
    step("done", 5)
    report("round", 6, 6)
    return Outcome(
        candidate=candidate,
        feedback=taught,
        positions=_advanced(learned, cut.positions),
        verdict=verdict,
        taught_events=int(cut.teach.sum()),
        taught_pairs=int(is_new.sum()),
        new_items=new_items,
        refitted=refitted,
        kept=kept,
        arrived_s=traffic.arrived_s[cut.teach],
    )


def table_over(
    vocabulary: Sequence[str],
    encoder: FeatureEncoder | None,
    *,
    base: FeatureTable | None,
    described: FeatureTable | None,
    rows: Mapping[str, Mapping[str, str]],
) -> FeatureTable | None:
    """Return a table over a vocabulary, encoded as the model was trained with; None where it knows no features.

    Args:
        base: what the model was trained with, if it is at hand.
        described: later descriptions, for their words; `rows` are the same as text cells, by id.
    """
    if encoder is None:
        return None
    width = len(encoder.columns)
    dense = np.zeros((len(vocabulary), width), np.float32)
    tokens: list[tuple[str, ...]] = [()] * len(vocabulary)
    place = {name: number for number, name in enumerate(vocabulary)}
    if described is not None:
        encoded = encoder.encode([rows[name] for name in described.ids])
        for number, name in enumerate(described.ids):
            if name in place:
                dense[place[name]] = encoded[number]
                tokens[place[name]] = described.tokens[number]
    if base is not None:  # what it was trained with is what it knows best
        for number, name in enumerate(base.ids):
            if name in place:
                dense[place[name]] = base.dense[number]
                tokens[place[name]] = base.tokens[number]
    return FeatureTable(tuple(vocabulary), encoder, dense, tuple(tokens), {})


def click_to_weights(arrived_s: NDArray[np.float64], now_s: float) -> dict[str, float]:
    """Return the minutes from events arriving to now: of the newest, the median and the oldest."""
    minutes = ((now_s - arrived_s) / 60).tolist()
    return {
        "newest_min": round(min(minutes), 3),
        "median_min": round(statistics.median(minutes), 3),
        "oldest_min": round(max(minutes), 3),
    }


def _enough(traffic: Traffic, learned: Positions, settings: LearningSettings) -> Cut:
    fresh = traffic.fresh(learned)
    if int(fresh.sum()) < settings.min_events:
        raise InvalidInput(
            f"there are {int(fresh.sum())} fresh interactions with videos and a round needs {settings.min_events} "
            "(learning.min_events); wait for more, or ask for less"
        )
    return traffic.cut(fresh, settings.held_out)


def _feedbacks(material: Material, cut: Cut) -> tuple[Feedback, Feedback, NDArray[np.int64]]:
    """Return what is learned from, the same with the held-out moments, and these moments' rows in it."""
    log = material.traffic.log
    tables: dict[str, Any] = {"item_table": material.item_table, "user_table": material.user_table}
    taught = replace(label(part(log, ~cut.test), material.rule), **tables)
    everything = replace(label(log, material.rule), **tables)
    asked, rows = with_later(taught, everything, newly_relevant(everything, taught))
    return taught, asked, rows


def _teach_generators(
    candidate: Recommender,
    taught: Feedback,
    is_new: NDArray[np.bool_],
    settings: LearningSettings,
    refit: bool,
    report: Report,
    stop: Callable[[], bool],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Teach every generator in its way; return which were refitted, and which stayed as they were."""
    torch.manual_seed(0)  # dropout: the same round again makes the same version
    refitted, kept = [], []
    generators: list[Any] = candidate.generators if isinstance(candidate, FullSystem) else [candidate]
    for generator in generators:
        if stop():
            raise Stopped("stopped between generators; nothing was kept, the next round begins where this one did")
        if isinstance(generator, TwoTower):
            rate = generator.config.learning_rate * settings.rate
            generator.fine_tune(taught, epochs=settings.tower_epochs, taught=is_new, learning_rate=rate, report=report)
        elif refit:
            generator.fit(taught, report)
            refitted.append(generator.name)
        else:
            kept.append(generator.name)
    return tuple(refitted), tuple(kept)


def _advanced(learned: Positions, further: Positions) -> dict[str, dict[str, int]]:
    positions = {epoch: dict(offsets) for epoch, offsets in learned.items()}
    for epoch, offsets in further.items():
        own = positions.setdefault(epoch, {})
        for partition, offset in offsets.items():
            own[partition] = max(offset, own.get(partition, 0))
    return positions
