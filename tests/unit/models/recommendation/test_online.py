"""Attribution of what people did to answers, and estimates of other policies from logged chances."""

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from core import events
from core.errors import InvalidInput
from core.events import Interaction, Watched
from models.recommendation.online import answer_of, figures, shown_rewards
from models.recommendation.policies import by_score, chances, compare, propensity, weighted

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def candidate(item: str, score: float, position: int | None = None, **more: Any) -> dict[str, Any]:
    place = {"place": "score", "propensity": 0.5} if position is not None else {}
    return (
        {"item_id": item, "score": score, "position": position, "generators": ["popular"], "objectives": {}}
        | place
        | more
    )


def answer(trace_id: str = "t", scored_by: str = "m/1", candidates: list[dict[str, Any]] | None = None) -> Any:
    some = [candidate("a", 0.9, 0, generators=["two-tower", "popular"]), candidate("b", 0.5, 1), candidate("c", 0.4)]
    return answer_of(trace_id, {"scored_by": scored_by, "candidates": candidates or some})


def did(kind: str, item: str, n: int, trace_id: str | None = "t", value: Any = None) -> Any:
    data = Interaction(user_id="u", item_id=item, trace_id=trace_id, value=value)
    return getattr(events, kind)(id=f"e{n}", source="t", time=NOW, subject="u", data=data)


def test_each_event_counts_once_for_its_version_and_for_every_generator_that_proposed_the_video():
    happened = [
        did("Impression", "a", 1),
        did("Impression", "b", 2),
        did("Click", "a", 3),
        did("Click", "a", 3),  # the same event again
        did("Watch", "a", 4, value=Watched(seconds=95, of_s=100)),
        did("Watch", "b", 5, value=Watched(seconds=10, of_s=100)),
        did("Like", "a", 6),
        did("Hide", "b", 7),
    ]
    found, _ = figures(happened, {"t": answer()})
    version = found.versions["m/1"]
    assert (version.impression, version.click, version.completed, version.like, version.dislike) == (2, 1, 1, 1, 1)
    assert version.watched_s == 105
    assert version.rates()["ctr"] == 0.5
    assert found.generators["two-tower"].impression == 1
    assert found.generators["popular"].impression == 2


def test_nothing_is_attributed_that_was_not_shown_or_names_no_answer():
    happened = [did("Click", "c", 1), did("Click", "a", 2, trace_id="other"), did("Click", "a", 3, trace_id=None)]
    found, kept = figures(happened, {"t": answer()})
    assert kept == []
    assert found.versions == {}
    assert sum(found.left_out.values()) == 3


def test_an_impression_earns_when_its_video_was_opened_in_the_same_answer():
    happened = [did("Impression", "a", 1), did("Impression", "a", 2), did("Impression", "b", 3), did("Click", "b", 4)]
    _, kept = figures(happened, {"t": answer()})
    shown, earned = shown_rewards(kept)
    assert [option.item_id for _, option in shown] == ["a", "b"]
    assert earned == [0.0, 1.0]


def test_the_chance_of_a_place_is_a_softmax_over_what_the_places_before_it_left():
    made = answer()
    b = made.options["b"]
    expected = 1 / (1 + math.exp((0.0 - 0.2) / 0.5))  # scaled: b .2, c 0
    assert propensity(made, b, by_score, 0.5) == pytest.approx(expected)
    left, chance = chances(made, 0, by_score, 0.0)
    assert dict(zip([one.item_id for one in left], chance, strict=True)) == {"a": 1.0, "b": 0.0, "c": 0.0}


def simulated(rng: np.random.Generator, rows: int, temperature: float) -> tuple[list[Any], list[float]]:
    """Answers of one place: two candidates with objectives; people open what is good, whatever its score."""
    shown, rewards = [], []
    for n in range(rows):
        good, bad = {"click": 1.0, "watch": 0.0}, {"click": 0.0, "watch": 1.0}
        chance_bad = 1 / (1 + math.exp(-1.0 / temperature))  # scored by watch: bad 1, good 0
        is_bad = rng.random() < chance_bad
        made = answer_of(
            f"t{n}",
            {
                "scored_by": "m/1",
                "candidates": [
                    candidate("good", 0.0, None if is_bad else 0, objectives=good, propensity=1 - chance_bad),
                    candidate("bad", 1.0, 0 if is_bad else None, objectives=bad, propensity=chance_bad),
                ],
            },
        )
        shown.append((made, made.options["bad" if is_bad else "good"]))
        rewards.append(float(rng.random() < (0.1 if is_bad else 0.6)))
    return shown, rewards


def test_a_better_scoring_is_estimated_as_what_it_would_really_earn():
    shown, rewards = simulated(np.random.default_rng(0), 8_000, 1.0)
    found = compare(shown, rewards, weighted({"click": 1.0}), policy="click=1", temperature=1.0)
    share_good = 1 / (1 + math.exp(-1.0))
    truth = share_good * 0.6 + (1 - share_good) * 0.1
    for estimate in (found.ips, found.snips, found.dr):
        assert estimate.low < truth < estimate.high
    assert found.logged < truth
    logged = compare(shown, rewards, by_score, policy="logged", temperature=1.0)
    assert logged.ips.value == pytest.approx(logged.logged)


def test_answers_made_without_chance_cannot_be_evaluated_off_policy():
    made = answer(candidates=[candidate("a", 1.0, 0, propensity=1.0), candidate("b", 0.5, 1, propensity=1.0)])
    shown = [(made, made.options["a"]), (made, made.options["b"])]
    with pytest.raises(InvalidInput, match=r"recommendation\.temperature"):
        compare(shown, [1.0, 0.0], by_score, policy="logged", temperature=0.01)


def test_an_objective_that_was_not_logged_is_refused():
    made = answer(candidates=[candidate("a", 1.0, 0, objectives={"click": 0.5})])
    with pytest.raises(InvalidInput, match="no objective watch; they know click"):
        propensity(made, made.options["a"], weighted({"watch": 1.0}), 0.1)
