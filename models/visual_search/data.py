"""Training data: images, and which of them belong together."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core.errors import InvalidInput, UndecodableMedia
from models.datasets.spec import LabelledImage
from models.visual_search.preprocess import on_white


@dataclass(frozen=True)
class Pair:
    """Two images that should lie close together, by their place in the list of images, and how much that counts."""

    left: int
    right: int
    weight: float = 1.0


@dataclass(frozen=True)
class TrainingData:
    """Images with concepts, and the positive pairs among them.

    Without pairs (nothing but images), every image is paired with itself: two augmented views of it are the positive
    pair, which is plain self-supervision.
    """

    images: tuple[Path, ...]
    concepts: tuple[str, ...]
    pairs: tuple[Pair, ...]
    validation_images: tuple[Path, ...]
    validation_concepts: tuple[str, ...]
    validation_pairs: tuple[Pair, ...]

    def __post_init__(self) -> None:
        leaked = set(self.concepts) & set(self.validation_concepts)
        if leaked:
            raise InvalidInput(f"concepts in training and in validation: {', '.join(sorted(leaked)[:5])}")
        if len(self.pairs) < 2 or len(self.validation_pairs) < 2:
            raise InvalidInput("training needs at least two pairs to learn from and two to validate on")
        for pairs, images in ((self.pairs, self.images), (self.validation_pairs, self.validation_images)):
            if any(not (0 <= index < len(images)) for pair in pairs for index in (pair.left, pair.right)):
                raise InvalidInput("a pair points outside the list of images")
            if any(not (np.isfinite(pair.weight) and pair.weight > 0) for pair in pairs):
                raise InvalidInput("the weight of a pair must be a finite number above 0")

    @property
    def digest(self) -> str:
        """A hash of the images' bytes and the pairs: what the manifest records and a resumed run must match."""
        hashed = hashlib.sha256()
        for path in (*self.images, *self.validation_images):
            hashed.update(hashlib.sha256(path.read_bytes()).digest())
        hashed.update(repr((self.concepts, self.pairs, self.validation_concepts, self.validation_pairs)).encode())
        return hashed.hexdigest()


def training_data(images: Sequence[LabelledImage], *, clicks: Sequence[tuple[Path, Path, float]] = ()) -> TrainingData:
    """Build training data from labelled images (test images are left out) and weighted clicks.

    Images of one concept in two styles are a pair. A click is `(query image, clicked image, weight)`: its images are
    added under concepts of their own, and the pair counts by its weight (`clicks.click_weights`).
    """
    train = [image for image in images if image.split == "train"]
    validation = [image for image in images if image.split == "validation"]
    paths, concepts = [image.path for image in train], [image.concept for image in train]
    pairs = _style_pairs(train)
    places: dict[Path, int] = {path.resolve(): place for place, path in enumerate(paths)}
    forbidden = {image.path.resolve() for image in images if image.split != "train"}
    for query, clicked, weight in clicks:
        query, clicked = query.resolve(), clicked.resolve()
        if query in forbidden or clicked in forbidden:
            continue  # a click must not carry a validation or test image into training
        for path in (query, clicked):
            if path not in places:
                places[path] = len(paths)
                paths.append(path)
                concepts.append(f"click/{path}")
        pairs.append(Pair(places[query], places[clicked], weight))
    return TrainingData(
        images=tuple(paths),
        concepts=tuple(concepts),
        pairs=tuple(pairs or [Pair(place, place) for place in range(len(paths))]),
        validation_images=tuple(image.path for image in validation),
        validation_concepts=tuple(image.concept for image in validation),
        validation_pairs=tuple(_style_pairs(validation) or [Pair(place, place) for place in range(len(validation))]),
    )


def _style_pairs(images: Sequence[LabelledImage]) -> list[Pair]:
    by_concept: dict[str, list[int]] = defaultdict(list)
    for place, image in enumerate(images):
        by_concept[image.concept].append(place)
    return [
        Pair(left, right)
        for places in by_concept.values()
        for left, right in combinations(places, 2)
        if images[left].style != images[right].style
    ]


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode a trusted local image file to `(H, W, 3)` RGB, transparency on white.

    Uploads are never read this way: they are decoded in a limited child process. Raises UndecodableMedia.
    """
    try:
        with Image.open(path) as image:
            return on_white(np.asarray(image.convert("RGBA")))
    except FileNotFoundError as error:
        raise UndecodableMedia(f"{path}: there is no such file") from error
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UndecodableMedia(f"{path} is not an image that can be read: {error}") from error
