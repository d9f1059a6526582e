"""What is known of a post → the arrays that a harm model reads. One transform for training, stream and serving.

Six modalities: `text` (vector and surface), `image` (vector, NSFW score), `comments` (averaged vector), `reactions`,
`author`, `context`. What is missing is zeros and a mask, never a guess. Language is no input: training data has harm
mostly in English, and a model would learn that other languages are harmless.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.moderation.lexical import hashed
from models.moderation.surface import SURFACE, surface_of

Floats = NDArray[np.float32]

MODALITIES = ("text", "image", "comments", "reactions", "author", "context")
SIMULATED = ("comments", "reactions", "author", "context")
"""Modalities of which no public data exists: the packaged model learned them from `simulation.py`."""

HOURS = ("night", "morning", "noon", "afternoon", "evening")
DEVICES = ("phone", "tablet", "desktop", "tv")
GENDERS = ("female", "male", "other")
AGE_BANDS = ("13-17", "18-24", "25-34", "35-44", "45-54", "55-64", "65+")
WITH_TEXT = ("words", "experts")
PLACE_ROWS = 64  # rows of the table that cities and countries are hashed into; row 0 is `unknown`

_REACTIONS = ("impressions", "likes", "shares", "comments", "reports", "report_rate")
_AUTHOR = ("violations", "reports_received", "profane_rate", "posts", "followers", "account_age_days")
COUNTS: Mapping[str, tuple[str, ...]] = {"reactions": _REACTIONS, "author": _AUTHOR}
IMAGE = ("n_images", "nsfw", "nsfw_known")


@dataclass(frozen=True)
class PostFeatures:
    """One post as the models see it. None and NaN are unknown, which is another thing than zero.

    Vectors are float32 and of length 1 (an average of several need not be). `nsfw` is the highest of its images.
    `profane_rate` is the share of profane words in the text, `obfuscated` that of characters which normalising changed.
    """

    text: str = ""
    text_vector: Floats | None = None
    profane_rate: float = math.nan
    obfuscated: float = math.nan
    links: int = 0
    image_vector: Floats | None = None
    n_images: int = 0
    nsfw: float = math.nan
    comments_vector: Floats | None = None
    impressions: float = math.nan
    likes: float = math.nan
    shares: float = math.nan
    comments: float = math.nan
    reports: float = math.nan
    author_violations: float = math.nan
    author_reports: float = math.nan
    author_profane_rate: float = math.nan
    author_posts: float = math.nan
    author_followers: float = math.nan
    author_account_age_days: float = math.nan
    author_age_band: str | None = None
    author_gender: str | None = None
    author_city: str | None = None
    author_country: str | None = None
    hour: int | None = None
    device: str | None = None
    language: str = "und"  # for tables by language; no input of the model

    @property
    def present(self) -> tuple[str, ...]:
        """The modalities that are there, in the order of `MODALITIES`."""
        return tuple(name for name, there in zip(MODALITIES, _present(self), strict=True) if there)


@dataclass(frozen=True)
class FeatureBatch:
    """Arrays of n posts. `dense[modality]` is `(n, width)` float32, `present` `(n, 6)`, `places` `(n, 2)` int64.

    `dense["words"]` are the hashed words of the text, and `dense["experts"]`, where a model has asked its experts,
    their opinions of it; both go with the text.
    """

    dense: dict[str, Floats]
    places: NDArray[np.int64]
    present: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.present)

    def rows(self, chosen: NDArray[Any]) -> "FeatureBatch":
        """Return the posts of these rows (indices or a mask)."""
        return FeatureBatch(
            {name: values[chosen] for name, values in self.dense.items()}, self.places[chosen], self.present[chosen]
        )

    def beside(self, **dense: Floats) -> "FeatureBatch":
        """Return the same posts with more arrays."""
        return FeatureBatch({**self.dense, **dense}, self.places, self.present)

    def lacking(self, name: str) -> "FeatureBatch":
        """Return the same posts without one array."""
        return FeatureBatch(
            {key: values for key, values in self.dense.items() if key != name}, self.places, self.present
        )

    def without(self, *modalities: str) -> "FeatureBatch":
        """Return the same posts as if these modalities were not known."""
        dense, present, places = dict(self.dense), self.present.copy(), self.places
        for name in modalities:
            for part in (name, *(WITH_TEXT if name == "text" else ())):
                if part in dense:
                    dense[part] = np.zeros_like(dense[part])
            present[:, MODALITIES.index(name)] = False
            places = np.zeros_like(places) if name == "author" else places
        return FeatureBatch(dense, places, present)


@dataclass(frozen=True)
class FeatureScaling:
    """How features are brought to one scale, `(x - mean) / deviation`, learned on training posts.

    Counts are scaled as `log(1 + x)`; of vectors each dimension is (encoders leave theirs near one point, so that a
    network would see mostly the point). `mean` and `deviation` have a list for `text` and `image` (their vectors),
    `reactions` and `author` (their counts). Comments are scaled as texts.
    """

    text_dim: int
    image_dim: int
    mean: Mapping[str, Sequence[float]] = field(default_factory=dict)
    deviation: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def fit(cls, posts: Sequence[PostFeatures], *, text_dim: int, image_dim: int) -> "FeatureScaling":
        """Learn mean and deviation of each dimension and count over the posts that have it."""
        mean: dict[str, list[float]] = {}
        deviation: dict[str, list[float]] = {}
        for name, raw in _counts(posts).items():
            known = np.ma.masked_invalid(raw)
            mean[name] = [round(float(value), 6) for value in known.mean(axis=0).filled(0.0)]
            deviation[name] = [round(max(float(value), 1e-3), 6) for value in known.std(axis=0).filled(1.0)]
        for name, width in (("text", text_dim), ("image", image_dim)):
            found = [vector for post in posts if (vector := getattr(post, f"{name}_vector")) is not None]
            rows = np.stack(found).astype(np.float64) if len(found) > 1 else np.zeros((1, width))
            mean[name] = [round(float(value), 6) for value in rows.mean(axis=0)]
            deviation[name] = [round(float(value), 6) if value > 1e-4 else 1.0 for value in rows.std(axis=0)]
        return cls(text_dim, image_dim, mean, deviation)

    @property
    def widths(self) -> dict[str, int]:
        """Columns of each modality."""
        return {
            "text": self.text_dim + len(SURFACE),
            "image": self.image_dim + len(IMAGE),
            "comments": self.text_dim,
            "reactions": 2 * len(_REACTIONS),
            "author": 2 * len(_AUTHOR) + len(AGE_BANDS) + len(GENDERS),
            "context": len(HOURS) + len(DEVICES),
        }

    def encode(self, posts: Sequence[PostFeatures]) -> FeatureBatch:
        """Return the arrays of posts; raises ValueError where a vector has another width than the model's."""
        n, counts = len(posts), _counts(posts)
        dense = {name: np.zeros((n, width), np.float32) for name, width in self.widths.items()}
        for row, post in enumerate(posts):
            if post.text_vector is not None:
                dense["text"][row, : self.text_dim] = self._scaled("text", post.text_vector)
                dense["text"][row, self.text_dim :] = surface_of(
                    post.text, links=post.links, profane_rate=post.profane_rate, obfuscated=post.obfuscated
                )
            if post.image_vector is not None:
                dense["image"][row, : self.image_dim] = self._scaled("image", post.image_vector)
            dense["image"][row, self.image_dim :] = _image_facts(post)
            if post.comments_vector is not None:
                dense["comments"][row] = self._scaled("text", post.comments_vector)
            dense["context"][row] = [*_one_hot(_hour_bucket(post.hour), HOURS), *_one_hot(post.device, DEVICES)]
        for name, raw in counts.items():
            known = np.isfinite(raw)
            scaled = (raw - np.asarray(self.mean[name])) / np.asarray(self.deviation[name])
            scaled = np.clip(np.where(known, scaled, 0.0), -6.0, 6.0)
            dense[name][:, : raw.shape[1]] = scaled
            dense[name][:, raw.shape[1] : 2 * raw.shape[1]] = known
        start = 2 * len(_AUTHOR)
        for row, post in enumerate(posts):
            who = [*_one_hot(post.author_age_band, AGE_BANDS), *_one_hot(post.author_gender, GENDERS)]
            dense["author"][row, start:] = who
        dense["words"] = hashed([post.text if post.text_vector is not None else "" for post in posts])
        places = np.array([[_place(post.author_city), _place(post.author_country)] for post in posts], np.int64)
        present = np.array([_present(post) for post in posts], bool).reshape(n, len(MODALITIES))
        for column, name in enumerate(MODALITIES):
            dense[name][~present[:, column]] = 0.0
        return FeatureBatch(dense, places.reshape(n, 2), present)

    def _scaled(self, name: str, vector: Floats) -> NDArray[np.float64]:
        mean, deviation = self._vectors[name]
        scaled: NDArray[np.float64] = (vector - mean) / deviation
        return scaled

    @cached_property
    def _vectors(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return {name: (np.asarray(self.mean[name]), np.asarray(self.deviation[name])) for name in ("text", "image")}


def _present(post: PostFeatures) -> tuple[bool, ...]:
    """Which modalities are there, in the order of `MODALITIES`."""
    seen = (post.impressions, post.likes, post.shares, post.comments, post.reports)
    counted = (
        post.author_violations,
        post.author_reports,
        post.author_profane_rate,
        post.author_posts,
        post.author_followers,
        post.author_account_age_days,
    )
    told = (post.author_age_band, post.author_gender, post.author_city, post.author_country)
    return (
        post.text_vector is not None,
        post.image_vector is not None or math.isfinite(post.nsfw),
        post.comments_vector is not None,
        any(map(math.isfinite, seen)),
        any(map(math.isfinite, counted)) or any(told),
        post.hour is not None or post.device is not None,
    )


def _counts(posts: Sequence[PostFeatures]) -> dict[str, NDArray[np.float64]]:
    """Return `(n, counts)` a modality, on a logarithmic scale; NaN is unknown."""
    reactions = [[p.impressions, p.likes, p.shares, p.comments, p.reports, _report_rate(p)] for p in posts]
    author = [
        [
            p.author_violations,
            p.author_reports,
            100.0 * p.author_profane_rate,
            p.author_posts,
            p.author_followers,
            p.author_account_age_days,
        ]
        for p in posts
    ]
    raw = {
        "reactions": np.array(reactions, np.float64).reshape(len(posts), len(_REACTIONS)),
        "author": np.array(author, np.float64).reshape(len(posts), len(_AUTHOR)),
    }
    return {name: np.log1p(np.maximum(values, 0.0)) for name, values in raw.items()}  # maximum keeps NaN


def _report_rate(post: PostFeatures) -> float:
    """Reports for a thousand impressions, smoothed towards none: one report of three viewers is little evidence."""
    return 1000.0 * post.reports / (post.impressions + 100.0)


def _image_facts(post: PostFeatures) -> tuple[float, float, float]:
    if not math.isfinite(post.nsfw):
        return math.log1p(max(post.n_images, 0)), 0.0, 0.0
    score = min(max(post.nsfw, 1e-3), 1.0 - 1e-3)
    return math.log1p(max(post.n_images, 0)), math.log(score / (1.0 - score)) / 3.0, 1.0


def _one_hot(value: str | None, known: Sequence[str]) -> list[float]:
    return [float(value == name) for name in known]


def _hour_bucket(hour: int | None) -> str | None:
    """Return night (22 to 5), morning (to 11), noon (to 14), afternoon (to 18) or evening (to 22)."""
    if hour is None:
        return None
    for name, until in (("night", 5), ("morning", 11), ("noon", 14), ("afternoon", 18), ("evening", 22)):
        if hour % 24 < until:
            return name
    return "night"


def _place(name: str | None) -> int:
    """Return the row of a city or country: 0 where it is unknown, else a hash. Two may share a row."""
    return 0 if not name else 1 + zlib.crc32(name.strip().lower().encode("utf-8", "replace")) % (PLACE_ROWS - 1)
