"""Models in Hugging Face's layout: how their tokens become one vector, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, CLIPModel

from core.errors import ConfigurationError
from models.text.huggingface import HuggingFaceTextEncoder
from tests.unit.models.text.tiny_models import (
    save_pooling,
    save_tokenizer,
    tiny_bert,
    tiny_clip,
    tiny_gpt2,
    tiny_roberta,
)

TEXTS = ["the cat sleeps", "a warm sofa is on a warm sofa", "short"]


def states(folder: Path, text: str) -> np.ndarray:
    """The last layer of one text alone, as `(tokens, dim)`."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].numpy()


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_the_mean_over_tokens_leaves_padding_out(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    rows = HuggingFaceTextEncoder(str(folder)).encode(TEXTS)
    for row, text in zip(rows, TEXTS, strict=True):
        np.testing.assert_allclose(row, unit(states(folder, text).mean(0)), atol=1e-5)


@pytest.mark.parametrize(
    "said", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}]
)
def test_a_model_that_wants_its_first_token_gets_it(tmp_path: Path, said: dict[str, object]) -> None:
    folder = tiny_bert(tmp_path / "bert")
    save_pooling(folder, word_embedding_dimension=32, **said)
    rows = HuggingFaceTextEncoder(str(folder)).encode(TEXTS)
    for row, text in zip(rows, TEXTS, strict=True):
        np.testing.assert_allclose(row, unit(states(folder, text)[0]), atol=1e-5)


def test_a_decoder_without_a_padding_token_gives_its_last_token(tmp_path: Path) -> None:
    folder = tiny_gpt2(tmp_path / "gpt2")
    save_pooling(folder, pooling_mode_lasttoken=True)
    rows = HuggingFaceTextEncoder(str(folder)).encode(TEXTS)
    for row, text in zip(rows, TEXTS, strict=True):
        np.testing.assert_allclose(row, unit(states(folder, text)[-1]), atol=1e-4)


def test_a_two_tower_model_gives_its_projected_text_features(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "clip")
    encoder = HuggingFaceTextEncoder(str(folder))
    assert encoder.dim == 24
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        features = model.get_text_features(**tokenizer([TEXTS[0]], return_tensors="pt"))
    expected = features if isinstance(features, torch.Tensor) else features.pooler_output
    np.testing.assert_allclose(encoder.encode(TEXTS)[0], unit(expected[0].numpy()), atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda folder: tiny_bert(folder, positions=10), lambda folder: tiny_roberta(folder, positions=12)]
)
def test_no_more_tokens_are_read_than_the_model_has_positions(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    rows = HuggingFaceTextEncoder(str(make(tmp_path / "model")), max_tokens=512).encode(["the cat " * 200])
    assert np.isfinite(rows).all()


def test_the_prefix_is_read_and_is_part_of_the_version(tmp_path: Path) -> None:
    folder = str(tiny_bert(tmp_path / "bert"))
    plain, prefixed = HuggingFaceTextEncoder(folder), HuggingFaceTextEncoder(folder, prefix="the post ")
    np.testing.assert_allclose(prefixed.encode(["cat"]), plain.encode(["the post cat"]), atol=1e-6)
    assert plain.version != prefixed.version


def test_the_version_names_the_folder_and_follows_the_weights(tmp_path: Path) -> None:
    first = HuggingFaceTextEncoder(str(tiny_bert(tmp_path / "a" / "bert"))).version
    again = HuggingFaceTextEncoder(str(tiny_bert(tmp_path / "b" / "bert"))).version
    other = HuggingFaceTextEncoder(str(tiny_bert(tmp_path / "c" / "bert", seed=4))).version
    assert first == again
    assert first.startswith("bert/")
    assert first != other


def test_what_cannot_be_loaded_is_said_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="safetensors weights and a tokenizer"):
        HuggingFaceTextEncoder(str(tmp_path))


def test_a_pooling_that_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    save_pooling(folder, pooling_mode_max_tokens=True)
    with pytest.raises(ConfigurationError, match="max_tokens"):
        HuggingFaceTextEncoder(str(folder))


def test_weights_that_would_be_unpickled_are_refused(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    state = AutoModel.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        HuggingFaceTextEncoder(str(folder))


def test_a_model_that_brings_its_own_code_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    save_tokenizer(folder)
    (folder / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}'
    )
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        HuggingFaceTextEncoder(str(folder))
    assert not (tmp_path / "ran").exists()
