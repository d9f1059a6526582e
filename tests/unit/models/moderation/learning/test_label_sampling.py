"""Posts to be labelled: the least sure first, of every class and language, rare harm not forgotten, none twice."""

from collections import Counter

import numpy as np
import pytest

from core.moderation import HARM_CLASSES
from models.moderation.learning.sampling import ScoredPost, entropy, nearness, pick

THRESHOLDS = {harm: [0.5, 0.9] for harm in HARM_CLASSES}


def post(post_id: str, language: str = "en", group: int | None = None, **scores: float | None) -> ScoredPost:
    known = dict.fromkeys(HARM_CLASSES, 0.001) | scores
    return ScoredPost(post_id, language, known, hash(post_id) if group is None else group)  # type: ignore[arg-type]


def many(count: int, seed: int = 0) -> list[ScoredPost]:
    generator = np.random.default_rng(seed)
    return [
        ScoredPost(
            f"p{number}",
            str(generator.choice(["en", "de", "pt"], p=[0.9, 0.08, 0.02])),
            {harm: float(generator.beta(0.3, 3.0)) for harm in HARM_CLASSES},
            number,
        )
        for number in range(count)
    ]


def test_entropy_is_greatest_at_one_half_and_nothing_where_it_is_sure() -> None:
    assert (entropy(0.5), entropy(0.0), entropy(1.0)) == (1.0, 0.0, 0.0)
    assert entropy(0.1) == pytest.approx(entropy(0.9)) == pytest.approx(0.469, abs=1e-3)


def test_a_post_at_a_threshold_is_worth_most_however_sure_the_model_is() -> None:
    assert nearness(0.9, [0.5, 0.9]) == 1.0
    assert nearness(0.9, [0.5, 0.9]) > entropy(0.9)
    assert nearness(0.01, [0.5, 0.9]) < 0.01
    assert nearness(0.5, []) == 0.0


def test_the_least_sure_are_picked_with_the_reason() -> None:
    posts = [post("sure"), post("edge", hate=0.9), post("half", hate=0.47)]
    picks = pick(posts, THRESHOLDS, {}, 2, rare_share=0.0)
    assert [(one.post_id, one.harm, one.why) for one in picks] == [
        ("edge", "hate", "near-threshold"),
        ("half", "hate", "uncertain"),
    ]


def test_the_budget_is_kept_and_no_post_is_picked_twice() -> None:
    for budget in (0, 1, 7, 40, 5_000):
        picks = pick(many(400), THRESHOLDS, {}, budget)
        assert len(picks) == budget or (budget == 5_000 and 300 < len(picks) <= 400)
        assert len({one.post_id for one in picks}) == len(picks)


def test_of_near_duplicates_one_is_picked() -> None:
    posts = [post(f"copy{number}", group=7, spam=0.5) for number in range(20)] + [post("other", group=8, spam=0.45)]
    assert {one.post_id for one in pick(posts, THRESHOLDS, {}, 10)} >= {"other"}
    assert len(pick(posts, THRESHOLDS, {}, 10)) == 2


def test_every_class_and_language_has_its_turn() -> None:
    picks = pick(many(3_000), THRESHOLDS, dict.fromkeys(HARM_CLASSES, 10), 60)
    classes, languages = Counter(one.harm for one in picks), Counter(one.language for one in picks)
    assert set(classes) == set(HARM_CLASSES)
    assert max(classes.values()) <= 20
    assert min(languages[name] for name in ("en", "de", "pt")) >= 12  # of the posts, pt are one in fifty


def test_probable_harm_of_the_class_with_the_fewest_labels_comes_first() -> None:
    posts = [post(f"hate{number}", hate=0.5) for number in range(50)]
    posts += [post("rare", self_harm=0.97), post("rarer", self_harm=0.99)]
    labelled = {"violence": 80, "nudity": 80, "hate": 90, "self_harm": 1, "spam": 70}
    picks = pick(posts, THRESHOLDS, labelled, 8)  # type: ignore[arg-type]
    assert [(one.post_id, one.why) for one in picks[:2]] == [("rarer", "rare"), ("rare", "rare")]
    assert Counter(one.why for one in picks)["rare"] == 2


def test_classes_that_are_unknown_say_nothing() -> None:
    unknown = ScoredPost("unknown", "en", dict.fromkeys(HARM_CLASSES, None), 1)
    assert pick([unknown], THRESHOLDS, {}, 5) == []
    assert [one.harm for one in pick([post("some", hate=None, spam=0.5)], THRESHOLDS, {}, 5)] == ["spam"]


def test_the_same_posts_are_picked_in_whatever_order_they_come() -> None:
    posts = many(500)
    assert pick(posts, THRESHOLDS, {}, 30) == pick(posts[::-1], THRESHOLDS, {}, 30)
