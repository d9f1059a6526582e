"""A modality that can only be learned by heart is found out, and gets little of the loss."""

import numpy as np
import pytest
import torch

from core.moderation import HARM_CLASSES
from models.moderation.blending import ALL, BlendSettings, blend_config, blend_weights, fit_blended, held_out_loss
from models.moderation.features import MODALITIES, FeatureBatch

WIDTHS = {"text": 6, "image": 40, "comments": 6, "reactions": 12, "author": 22, "context": 9}


def examples(count: int = 160, *, seed: int = 0) -> tuple[FeatureBatch, np.ndarray]:
    """Return posts whose text tells the label, and whose image is noise."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((count, len(HARM_CLASSES))) < 0.5).astype(np.float32)
    dense = {name: np.zeros((count, width), np.float32) for name, width in WIDTHS.items()}
    dense["text"][:, :5] = labels + generator.normal(size=labels.shape) * 0.6
    dense["image"] = generator.normal(size=(count, WIDTHS["image"])).astype(np.float32) * 2
    present = np.zeros((count, len(MODALITIES)), bool)
    present[:, :2] = True
    return FeatureBatch(dense, np.zeros((count, 2), np.int64), present), labels


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_noise_overfits_and_is_weighed_down_and_blending_generalises_better():
    batch, labels = examples()
    tested, true = examples(400, seed=9)
    config = blend_config(WIDTHS, ("text", "image"))
    settings = BlendSettings(epochs=25, batch_size=32)
    held = np.arange(len(batch)) % 4 == 0
    progress = blend_weights(batch, labels, held, config, settings)
    assert sum(one.weight for one in progress.values()) == pytest.approx(1.0)
    assert progress["image"].ratio > 5 * progress["text"].ratio
    assert progress["image"].weight < 0.1 < progress["text"].weight
    weights = {name: one.weight for name, one in progress.items()}
    blended = fit_blended(batch, labels, weights, config, settings)
    plain = fit_blended(batch, labels, {name: float(name == ALL) for name in weights}, config, settings)
    assert held_out_loss(blended, tested, true) < held_out_loss(plain, tested, true)
