"""A round: reports teach, people's decisions judge, nothing is on both sides, and what is worse is held."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from harm_words import (
    ENCODER,
    HARMLESS,
    HATE,
    base,
    example,
    harmful,
    labelled,
    posts,
    texts,
    unreported,
    write_champion,
)

from core.errors import IntegrityError, InvalidInput
from core.moderation import HARM_CLASSES
from models.moderation.learning.apart import apart
from models.moderation.learning.examples import less_likely
from models.moderation.learning.gate import GateRule
from models.moderation.learning.round import Material, Outcome, RoundRule, learn, post_hash
from models.moderation.learning.saved import TAUGHT, SavedModel, load_saved
from models.moderation.learning.tune import Stopped, TuneSettings
from models.moderation.learning.version import write_version
from models.moderation.score import HarmModel
from models.moderation.wording import ProfaneWords
from models.registry.manifest import Manifest, read_manifest, verify

TUNE = TuneSettings(steps=120, learning_rate=5e-4, taught_share=0.4)
RULE = RoundRule(min_posts=20, gate=GateRule(min_hand=40, calibration=0.05), tune=TUNE)
PARENT = Manifest("moderation", "0" * 64, "2026-11-22T00:00:00+00:00", "test", "test", 7)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> SavedModel:
    return write_champion(tmp_path_factory.mktemp("champion"))


@pytest.fixture(scope="module")
def material(champion: SavedModel) -> Material:
    """People report words of hate that the champion does not know; others judged posts with such words by hand."""
    generator = np.random.default_rng(11)
    natural = [example(f"r{n}", one, harmful(HATE, 0.75)) for n, one in enumerate(texts(generator, 80, "zorp"))]
    natural += [unreported(f"u{n}", one, 2_000) for n, one in enumerate(texts(generator, 150))]
    judged = [example(f"j{n}", one, harmful(HATE)) for n, one in enumerate(texts(generator, 40, "zorp"))]
    judged += [example(f"k{n}", one, HARMLESS) for n, one in enumerate(texts(generator, 60))]
    return Material(judged, natural, base(champion))


def run(champion: SavedModel, material: Material, rule: RoundRule = RULE, **more: Any) -> Outcome:
    return learn(champion, material, rule, ENCODER, ProfaneWords(), cut=lambda text: [text], **more)


@pytest.fixture(scope="module")
def outcome(champion: SavedModel, material: Material) -> Outcome:
    return run(champion, material)


def test_what_people_reported_is_learned_and_promoted(outcome: Outcome) -> None:
    verdict = outcome.verdict
    assert verdict.outcome == "promoted", verdict.reason
    assert verdict.difference is not None and verdict.difference.mean > 0.05
    assert (outcome.reported, outcome.fresh, outcome.harmful["hate"]) == (80, 80, 80)
    assert outcome.unreported == 150


def test_what_the_champion_knew_is_kept(outcome: Outcome) -> None:
    known = [one for one in outcome.verdict.compared if one.of == "own test posts"]
    assert {one.harm for one in known} == set(HARM_CLASSES)
    assert all(one.candidate_roc > one.champion_roc - 0.02 for one in known)


def test_labels_that_are_shuffled_make_a_candidate_that_is_held(champion: SavedModel, material: Material) -> None:
    """Reports of harmless posts, and harm that nobody reports: the lesson is the opposite of the truth."""
    generator = np.random.default_rng(5)
    wrong = [example(f"w{n}", one, harmful(HATE, 0.9)) for n, one in enumerate(texts(generator, 150))]
    wrong += [unreported(f"x{n}", one, 100_000) for n, one in enumerate(texts(generator, 150, "hate"))]
    rule = replace(RULE, tune=TuneSettings(steps=300, taught_share=0.9, learning_rate=5e-3))
    verdict = run(champion, replace(material, natural=wrong), rule).verdict
    assert verdict.outcome == "held"
    assert "hate" in verdict.reason


def test_too_few_judged_posts_hold_whatever_was_learned(champion: SavedModel, material: Material) -> None:
    few = [*material.judged[:10], *material.judged[-10:]]
    verdict = run(champion, replace(material, judged=few)).verdict
    assert verdict.outcome == "held"
    assert verdict.reason == "too few hand labels: 20 posts, and 40 are needed to tell"


def test_no_judged_posts_at_all_are_too_few(champion: SavedModel, material: Material) -> None:
    verdict = run(champion, replace(material, judged=[])).verdict
    assert (verdict.outcome, verdict.judged, verdict.difference) == ("held", 0, None)


def test_posts_like_judged_ones_teach_nothing_and_posts_like_learned_ones_ask_nothing(
    champion: SavedModel, material: Material
) -> None:
    copied = [replace(one, known=replace(one.known, post_id=f"copy-{n}", text=one.text.upper() + "!"))
              for n, one in enumerate(material.judged[:30])]  # fmt: skip
    learned = [one.text + " ." for one in material.judged[-5:]]
    made = run(champion, replace(material, natural=[*material.natural, *copied], learned_posts=learned))
    assert (made.kept_out, made.judged_left_out) == (30, 5)
    assert made.verdict.judged == len(material.judged) - 5
    taught = set(made.arrays[TAUGHT].tolist())
    assert taught.isdisjoint({post_hash(one.known.post_id) for one in (*copied, *material.judged)})
    assert {post_hash(one.known.post_id) for one in material.natural[:80]} <= taught


def test_sides_hold_for_any_mixture_of_near_duplicates() -> None:
    generator = np.random.default_rng(0)
    seeds = texts(generator, 40)
    for _ in range(20):
        picks = [
            [f"{seeds[n]}{'!' * int(generator.integers(3))}" for n in generator.integers(0, 40, 15)] for _ in "abc"
        ]
        judged, reported, learned = picks
        sides = apart(judged, reported, learned)
        plain = [[one.rstrip("!") for one in some] for some in picks]
        for one, asks in zip(plain[0], sides.asks, strict=True):
            assert asks == (one not in plain[2])
        for one, teaches in zip(plain[1], sides.teaches, strict=True):
            assert teaches == (one not in plain[0])


def test_what_taught_before_is_not_fresh(champion: SavedModel, material: Material, outcome: Outcome) -> None:
    again = replace(champion, taught=outcome.arrays[TAUGHT])
    with pytest.raises(InvalidInput, match=r"0 reported posts are fresh .* a round needs 20"):
        run(again, material)


def test_a_round_that_is_stopped_makes_nothing(champion: SavedModel, material: Material) -> None:
    with pytest.raises(Stopped):
        run(champion, material, stop=lambda: True)


def test_a_version_is_written_whole_and_goes_on_learning(
    champion: SavedModel, outcome: Outcome, tmp_path: Path
) -> None:
    folder = tmp_path / "version"
    write_version(
        outcome,
        champion,
        folder,
        parent=PARENT,
        anchors="400 texts of the base",
        command="riverlight learn moderation",
        code_version="test",
        created="2026-11-22T12:00:00+00:00",
    )
    assert verify(folder).parent == PARENT.version
    assert read_manifest(folder).metrics["gate"]["outcome"] == "promoted"
    assert "| judged posts | hate | 100 | 40 |" in (folder / "card.md").read_text()
    some, _ = labelled(np.random.default_rng(8), 3)
    rows = posts(some)
    served, written = HarmModel.load(folder), champion.scoring(outcome.arrays, "candidate")
    assert np.array_equal(served.probabilities(served.encode(rows)), written.probabilities(written.encode(rows)))
    assert np.array_equal(load_saved(folder).taught, outcome.arrays[TAUGHT])


@pytest.mark.parametrize("int8", [False, True])
def test_a_champion_is_read_back_as_it_scores(tmp_path: Path, int8: bool) -> None:
    saved = write_champion(tmp_path, int8=int8)
    rows = posts(labelled(np.random.default_rng(4), 5)[0])
    before, after = HarmModel.load(tmp_path), saved.scoring(saved.with_members(saved.members, saved.taught), "same")
    assert saved.int8 is int8
    assert np.allclose(before.probabilities(before.encode(rows)), after.probabilities(after.encode(rows)), atol=2e-3)


def test_weights_of_another_kind_are_refused_with_what_to_do(tmp_path: Path) -> None:
    write_champion(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(IntegrityError, match="Train a model again"):
        load_saved(tmp_path)


def test_that_nobody_reported_says_little_after_few_views_and_much_after_many() -> None:
    champion = np.array([[0.5, 0.5, 0.5, 0.5, 0.01]] * 3, np.float32)
    found = less_likely(champion, np.array([0, 50, 5_000]))
    assert found[0] == pytest.approx(champion[0])
    assert 0.45 < found[1, 0] < 0.5
    assert found[2, 0] < 1e-5
    assert (found <= champion).all()
