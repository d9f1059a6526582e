"""What of a post is watched for drift: inputs of the harm model, vectors, and what it says.

`write_reference` makes the reference when a model is trained. Of authors, images, comments and reactions no public data
exists, so training has only simulated ones: comparing live posts with those would say nothing, and the first live posts
are the reference for them (`models.drift.monitor`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES, HarmClass
from models.drift.reference import Reference, Rows, reference_of
from models.moderation.features import PostFeatures
from models.moderation.wording import ProfaneWords
from models.text.language import detect_language

SYSTEM = "moderation"


@dataclass(frozen=True)
class WatchedPost:
    """A post that was scored: the features of its first passage, its scores, and the characters of all passages."""

    features: PostFeatures
    scores: Mapping[HarmClass, float | None]
    text_length: int


def rows_of(posts: Sequence[WatchedPost], *, text_dim: int, image_dim: int) -> Rows:
    """Return what is watched of posts, as columns. The hour is not: any hour of the day differs from the day."""
    features = [post.features for post in posts]
    numbers = np.array([_numbers(post) for post in posts], np.float64).reshape(len(posts), len(_NUMBERS))
    scores = np.array([[_number(post.scores.get(harm)) for harm in HARM_CLASSES] for post in posts], np.float64)
    return Rows(
        numbers=dict(zip(_NUMBERS, numbers.T, strict=True)),
        categories={
            "language": [one.language for one in features],
            "device": [one.device for one in features],
            "author_age_band": [one.author_age_band for one in features],
            "author_country": [one.author_country for one in features],
        },
        vectors={
            "text": _vectors([one.text_vector for one in features], text_dim),
            "image": _vectors([one.image_vector for one in features], image_dim),
            "comments": _vectors([one.comments_vector for one in features], text_dim),
        },
        scores=dict(zip(HARM_CLASSES, scores.reshape(len(posts), len(HARM_CLASSES)).T, strict=True)),
    )


def training_reference(
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    words: ProfaneWords,
    probabilities: NDArray[np.float64],
    *,
    source: str = "",
) -> Reference:
    """Return the reference of n training texts (disguises undone, as `HarmTexts` has them).

    `vectors` `(n, D)` are theirs, `probabilities` `(n, 5)` calibrated ones of models that did not see the text, in the
    order of `HARM_CLASSES`. Languages are detected, as they are of live posts.
    """
    languages = [detect_language(text) for text in texts]
    rates = [words.count(text, language).profane_rate for text, language in zip(texts, languages, strict=True)]
    rows = Rows(
        numbers={"text_length": _lengths(texts), "profane_rate": np.array(rates, np.float64)},
        categories={"language": languages},
        vectors={"text": vectors},
        scores={harm: probabilities[:, place].round(6) for place, harm in enumerate(HARM_CLASSES)},
    )
    return reference_of(rows, system=SYSTEM, source=source or f"{len(texts):,} training texts")


def write_reference(
    folder: Path,
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    words: ProfaneWords,
    probabilities: NDArray[np.float64],
    *,
    sha256: str,
) -> Path:
    """Write `drift.safetensors` beside the weights of `folder`. In `train_moderation`, where all of it is at hand:

        write_reference(out, prepared.data.texts, prepared.vectors, prepared.words, calibration.apply(logits),
                        sha256=manifest.sha256)

    with `logits` the held-out ones. The registry copies the file with the weights; the moderator finds it there.
    """
    return training_reference(texts, vectors, words, probabilities).save(folder, made_for=sha256)


_NUMBERS = (
    "text_length",
    "profane_rate",
    "obfuscated",
    "links",
    "images",
    "nsfw",
    "report_rate",
    "author_violations",
    "author_reports",
    "author_profane_rate",
    "author_posts",
    "author_followers",
    "author_account_age_days",
)


def _numbers(watched: WatchedPost) -> tuple[float, ...]:
    post = watched.features
    return (
        float(watched.text_length) if post.text_vector is not None else math.nan,
        post.profane_rate,
        post.obfuscated,
        float(post.links),
        float(post.n_images),
        post.nsfw,
        1000.0 * post.reports / (post.impressions + 100.0),
        post.author_violations,
        post.author_reports,
        post.author_profane_rate,
        post.author_posts,
        post.author_followers,
        post.author_account_age_days,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _lengths(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([len(text) for text in texts], np.float64)


def _vectors(found: Sequence[NDArray[np.float32] | None], dim: int) -> NDArray[np.float32]:
    """Return `(n, dim)`; a row of NaN where a vector is missing or of another width."""
    rows = np.full((len(found), dim), np.nan, np.float32)
    for row, vector in enumerate(found):
        if vector is not None and vector.shape == (dim,):
            rows[row] = vector
    return rows
