"""The built-in tests of visual search: queries, a gallery, and which gallery images are right answers.

None of their concepts is ever trained on, and two of the three sources are styles no training image has.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError
from models.datasets.catalogue import is_installed, list_images
from models.datasets.spec import LabelledImage

TEST_CONCEPTS = 400
_SYMBOLS = ("symbols", "town/flags", "town/roadsigns")  # letters, coins, flags: one folder, but nothing looks alike


@dataclass(frozen=True)
class Task:
    """One test. `grades[i, j]` is how right gallery image j is for query i; NaN takes j out of query i's ranking."""

    name: str
    question: str
    queries: tuple[Path, ...]
    gallery: tuple[Path, ...]
    grades: NDArray[np.float64]  # (queries, gallery)


def built_in_tasks(home: Path) -> list[Task]:
    """Return the tests that the installed data sets allow.

    Raises:
        ConfigurationError: no data set to test on is installed.
    """
    tasks: list[Task] = []
    emoji = list_images("emoji", home) if is_installed("emoji", home) else []
    tested = concepts_under_test(emoji)
    google = [image for image in emoji if image.style == "google" and image.concept in tested]
    twitter = [image for image in emoji if image.style == "twitter" and image.concept in tested]
    if emoji:
        tasks += [
            _same_concept("google-to-twitter", "Google's drawing finds Twitter's of the same thing", google, twitter),
            _same_concept("twitter-to-google", "Twitter's drawing finds Google's of the same thing", twitter, google),
        ]
        if is_installed("openmoji", home):
            third = [image for image in list_images("openmoji", home) if image.concept in tested]
            tasks += [
                _same_concept("new-style-to-twitter", "a drawing in a style never trained on", third, twitter),
                _same_concept("new-style-to-google", "a drawing in a style never trained on", third, google),
            ]
    if is_installed("stamps", home):
        stamps = [image for image in list_images("stamps", home) if not image.category.startswith(_SYMBOLS)]
        photos = [image for image in stamps if image.style == "stamp"]
        drawn = [image for image in stamps if image.style == "stamp-cartoon"]
        tasks += [
            _same_category("stamps-same-folder", "a stamp finds the other stamps of its folder", stamps, stamps),
            _same_category("stamps-cartoon-to-photo", "a cartoon finds the photographs of its folder", drawn, photos),
        ]
    if not tasks:
        raise ConfigurationError(
            "there is nothing to evaluate on: run `riverlight data install emoji` (and openmoji, stamps), or judge "
            "images of your own with --judgements FILE.csv"
        )
    return tasks


def concepts_under_test(emoji: Sequence[LabelledImage]) -> frozenset[str]:
    """Return the 400 tested concepts: a fixed draw, by hash, from the test split."""
    concepts = {image.concept for image in emoji if image.split == "test"}
    drawn = sorted(concepts, key=lambda concept: hashlib.sha256(concept.encode()).digest())
    return frozenset(drawn[:TEST_CONCEPTS])


def _same_concept(name: str, question: str, queries: Sequence[LabelledImage], gallery: Sequence[LabelledImage]) -> Task:
    grades = np.array([[float(a.concept == b.concept) for b in gallery] for a in queries])
    return _task(name, f"{question}, among {len(gallery)}", queries, gallery, grades)


def _same_category(
    name: str, question: str, queries: Sequence[LabelledImage], gallery: Sequence[LabelledImage]
) -> Task:
    grades = np.array(
        [[np.nan if a.path == b.path else float(a.category == b.category) for b in gallery] for a in queries]
    )
    return _task(name, f"{question}, among {len(gallery)}", queries, gallery, grades)


def _task(
    name: str,
    question: str,
    queries: Sequence[LabelledImage],
    gallery: Sequence[LabelledImage],
    grades: NDArray[np.float64],
) -> Task:
    answerable = np.nansum(grades, axis=1) > 0
    return Task(
        name=name,
        question=question,
        queries=tuple(image.path for image, keep in zip(queries, answerable, strict=True) if keep),
        gallery=tuple(image.path for image in gallery),
        grades=grades[answerable],
    )
