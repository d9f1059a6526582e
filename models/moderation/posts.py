"""From labelled texts to posts with vectors and simulated surroundings: what networks are fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.moderation.data import HarmTexts
from models.moderation.features import PostFeatures
from models.moderation.sentences import comments
from models.moderation.simulation import simulate
from models.moderation.vectors import VectorCache
from models.moderation.wording import ProfaneWords
from models.progress import Report

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Surroundings:
    """What simulated posts are surrounded with: vectors of comments, and `(m, I)` of harmless images."""

    comments: dict[str, Floats]
    images: Floats


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
    return [_worded(post, language, words) for post, language in zip(posts, data.languages, strict=True)]


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
