"""From labelled texts to posts with vectors and simulated surroundings: what networks are fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.ports import ImageEncoder
from models.datasets.catalogue import is_installed, list_images
from models.moderation.data import HarmTexts
from models.moderation.features import PostFeatures
from models.moderation.sentences import comments
from models.moderation.simulation import simulate
from models.moderation.vectors import VectorCache
from models.moderation.wording import ProfaneWords
from models.progress import Report
from models.visual_search.data import read_image

Floats = NDArray[np.float32]
IMAGE_DATASETS = ("photos", "stamps", "emoji")
_MOST_IMAGES = 200
_DISGUISED, _WITHOUT_LISTS = 0.1, 0.1  # shares of simulated posts


@dataclass(frozen=True)
class Surroundings:
    """What simulated posts are surrounded with: vectors of comments, and `(m, I)` of harmless images."""

    comments: dict[str, Floats]
    images: Floats


def harmless_images(home: Path, encoder: ImageEncoder) -> Floats:
    """Return vectors `(m, I)` of pictures from the installed data sets of images; m is 0 where none is installed."""
    found = [image.path for name in IMAGE_DATASETS if is_installed(name, home) for image in list_images(name, home)]
    chosen = found[:: max(1, len(found) // _MOST_IMAGES)][:_MOST_IMAGES]
    rows = [
        encoder.encode([read_image(path) for path in chosen[start : start + 16]]) for start in range(0, len(chosen), 16)
    ]
    return np.concatenate(rows) if rows else np.zeros((0, encoder.dim), np.float32)


def surroundings_of(
    vectors: VectorCache, images: Floats, report: Report = lambda stage, done, total: None
) -> Surroundings:
    """Embed the comments."""
    return Surroundings({name: vectors.encode(texts, report) for name, texts in comments().items()}, images)


def simulated_posts(
    data: HarmTexts, vectors: Floats, surroundings: Surroundings, words: ProfaneWords, *, seed: int = 0
) -> list[PostFeatures]:
    """Return a post for each text, with simulated surroundings."""
    posts = simulate(
        data.texts, vectors, data.targets, comments=surroundings.comments, images=surroundings.images, seed=seed
    )
    posts = [_worded(post, language, words) for post, language in zip(posts, data.languages, strict=True)]
    # Disguises, and texts without lists of words, have nothing to do with the labels: a model learns to bear both.
    generator = np.random.default_rng(seed + 1)
    for place in np.flatnonzero(generator.random(len(posts)) < _DISGUISED):
        posts[place] = replace(posts[place], obfuscated=float(generator.uniform(0.02, 0.4)))
    for place in np.flatnonzero(generator.random(len(posts)) < _WITHOUT_LISTS):
        posts[place] = replace(posts[place], profane_rate=float("nan"))
    return posts


def bare_posts(
    texts: Sequence[str], vectors: Floats, languages: Sequence[str], words: ProfaneWords
) -> list[PostFeatures]:
    """Return posts of which nothing but the text is known."""
    return [
        _worded(PostFeatures(text=text, text_vector=vector), language, words)
        for text, vector, language in zip(texts, vectors, languages, strict=True)
    ]


def _worded(post: PostFeatures, language: str, words: ProfaneWords) -> PostFeatures:
    rate = words.count(post.text, language).profane_rate
    return replace(post, profane_rate=rate, obfuscated=0.0, language=language)
