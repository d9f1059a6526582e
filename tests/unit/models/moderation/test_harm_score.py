"""Scoring in numpy says what the trained networks say, and says when it does not know."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harm_networks import NOTHING, experts, networks, posts, scaling_of, write_model
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from core.errors import IntegrityError, InvalidInput
from core.moderation import HARM_CLASSES
from models.moderation.features import PostFeatures
from models.moderation.fit import logits_of
from models.moderation.score import HarmModel
from models.registry.manifest import WEIGHTS, file_sha256


@pytest.mark.parametrize("heads", ["task", "shared"])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_numpy_and_torch_agree(tmp_path: Path, heads: str, count: int):
    some = posts(count)
    scaling = scaling_of(posts(200, seed=1))
    members = networks(scaling, heads=heads)
    model = write_model(tmp_path / "m", members, scaling, heads=heads)
    batch = scaling.encode(some)
    expected = logits_of(members, batch.beside(experts=experts(scaling).opinions(batch)))
    assert np.abs(model.logits(model.encode(some)) - expected).max() < 1e-5


def test_scores_do_not_depend_on_the_neighbours(tmp_path: Path):
    some = posts(12)
    scaling = scaling_of(posts(200, seed=1))
    model = write_model(tmp_path / "m", networks(scaling), scaling)
    together = model.score(some)
    for post, score in zip(some, together, strict=True):
        alone = model.score([post])[0]
        assert alone.present == score.present
        for harm in HARM_CLASSES:
            assert alone.probabilities[harm] == pytest.approx(score.probabilities[harm], abs=2e-6)


def test_what_cannot_be_judged_is_unknown_and_not_harmless(tmp_path: Path):
    scaling = scaling_of(posts(200, seed=1))
    model = write_model(tmp_path / "m", networks(scaling), scaling)
    vector = np.ones(12, np.float32)
    nothing, picture, judged_picture, behaviour, text = model.score(
        [
            NOTHING,
            PostFeatures(image_vector=vector, n_images=1),
            PostFeatures(image_vector=vector, n_images=1, nsfw=0.9),
            PostFeatures(impressions=100.0, reports=50.0, author_violations=9.0),
            PostFeatures(text="a", text_vector=np.ones(24, np.float32)),
        ]
    )
    assert nothing.unknown == picture.unknown == behaviour.unknown == HARM_CLASSES
    assert nothing.present == () and picture.present == ("image",)
    assert set(judged_picture.unknown) == set(HARM_CLASSES) - {"nudity"}
    assert text.unknown == () and all(0.0 <= value <= 1.0 for value in text.probabilities.values() if value is not None)


def test_a_share_is_what_the_logit_loses_without_the_modality(tmp_path: Path):
    some = [post for post in posts(60) if "text" in post.present]
    scaling = scaling_of(posts(200, seed=1))
    model = write_model(tmp_path / "m", networks(scaling), scaling)
    batch = model.encode(some)
    lost = model.calibrated_logits(batch) - model.calibrated_logits(batch.without("author"))
    for row, (post, (_, shares)) in enumerate(zip(some, model.judge(some), strict=True)):
        assert set(shares) == set(HARM_CLASSES)
        for place, harm in enumerate(HARM_CLASSES):
            assert set(shares[harm]) == set(post.present)
            if "author" in post.present:
                assert shares[harm]["author"] == pytest.approx(lost[row, place], abs=1e-3)


def test_no_posts_have_no_scores(tmp_path: Path):
    scaling = scaling_of(posts(50))
    model = write_model(tmp_path / "m", networks(scaling), scaling)
    assert model.score([]) == [] and model.judge([]) == []


def test_scoring_needs_no_torch():
    code = "import sys, models.moderation.score, models.moderation.features; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "False"


def test_a_vector_of_another_width_is_refused_with_the_encoder_that_is_wanted(tmp_path: Path):
    scaling = scaling_of(posts(50))
    model = write_model(tmp_path / "m", networks(scaling), scaling)
    with pytest.raises(InvalidInput, match="e5/test"):
        model.score([PostFeatures(text="a", text_vector=np.ones(5, np.float32))])


def test_damaged_weights_are_refused(tmp_path: Path):
    scaling = scaling_of(posts(50))
    write_model(tmp_path / "m", networks(scaling), scaling)
    path = tmp_path / "m" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(IntegrityError, match="SHA-256"):
        HarmModel.load(tmp_path / "m")


@pytest.mark.parametrize("what", ["unnamed", "another-width"])
def test_weights_of_something_else_are_refused(tmp_path: Path, what: str):
    scaling = scaling_of(posts(50))
    write_model(tmp_path / "m", networks(scaling), scaling)
    path = tmp_path / "m" / WEIGHTS
    arrays = load_file(path)
    if what == "unnamed":
        save_file(arrays, path)  # the same arrays, without what says what they are
    else:  # as of a release whose networks read fewer columns
        with safe_open(path, framework="numpy") as file:
            described = file.metadata()
        name = next(name for name in arrays if name.endswith("encoders.text.weight"))
        save_file({**arrays, name: np.ascontiguousarray(arrays[name][:, :-3])}, path, described)
    manifest = tmp_path / "m" / "manifest.json"
    recorded = json.loads(manifest.read_text())["sha256"]
    manifest.write_text(manifest.read_text().replace(recorded, file_sha256(path)))
    with pytest.raises(IntegrityError, match="does not hold a harm model"):
        HarmModel.load(tmp_path / "m")
