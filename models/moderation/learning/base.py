"""What a champion's line was first trained on, where it is installed: anchors to keep, and texts to be asked about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError
from core.ports import TextEncoder
from models.moderation.data import HarmTexts, harm_texts, training_texts
from models.moderation.features import FeatureBatch, FeatureScaling
from models.moderation.posts import bare_posts, simulated_posts, surroundings_of
from models.moderation.sentences import own_posts
from models.moderation.vectors import VectorCache
from models.moderation.wording import ProfaneWords
from models.progress import Report

Floats = NDArray[np.float32]
OWN, BASE = "own test posts", "base texts"
_HELD = 10  # one of so many groups of base texts is no anchor: both versions are asked about it


@dataclass(frozen=True)
class Question:
    """Texts that both versions are asked about; targets `(n, 5)`, NaN where nobody judged."""

    batch: FeatureBatch
    targets: Floats
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class Base:
    """`anchors` are what the candidate keeps, `asked` what it may not become worse at, `texts` what was learned.

    `installed`: the data sets that a packaged model is trained on are there; without them the anchors are the
    project's own sentences alone.
    """

    anchors: FeatureBatch
    asked: dict[str, Question]
    texts: Sequence[str]
    installed: bool


def load_base(
    home: Path,
    encoder: TextEncoder,
    scaling: FeatureScaling,
    words: ProfaneWords,
    *,
    images: Floats | None = None,
    seed: int = 0,
    report: Report = lambda stage, done, total: None,
) -> Base:
    """Read the texts, embed what is new, and make arrays as the champion's `scaling` has them.

    `images` `(m, I)` are vectors of harmless images, for posts with pictures.
    """
    cache = VectorCache(home, encoder)
    try:
        data, installed = training_texts(home), True
    except ConfigurationError:  # the data sets are not here
        data, installed = harm_texts(own_posts("train")), False
    vectors = cache.encode(data.texts, report)
    pictures = images if images is not None else np.zeros((0, scaling.image_dim), np.float32)
    posts = simulated_posts(data, vectors, surroundings_of(cache, pictures, report), words, seed=seed)
    held = data.groups % _HELD == 0 if installed else np.zeros(len(data), bool)
    asked = {OWN: _bare(harm_texts(own_posts("test")), cache, scaling, words)}
    if installed:
        asked[BASE] = _bare(data.rows(held), cache, scaling, words)
    anchors = scaling.encode([post for post, out in zip(posts, held, strict=True) if not out])
    return Base(anchors, asked, data.texts, installed)


def _bare(data: HarmTexts, cache: VectorCache, scaling: FeatureScaling, words: ProfaneWords) -> Question:
    posts = bare_posts(data.texts, cache.encode(data.texts), data.languages, words)
    return Question(scaling.encode(posts), data.targets, data.groups)
