"""Which real images the demo plays: what is uploaded, and what each of them is then looked for with.

Only concepts that no model of ours was trained on are used. Where a machine can install two vendors' drawings of the
same things, one vendor's are uploaded and the other's are the queries; where it can only have one style, each upload is
looked for with a rotated and cropped copy of itself, which is easier, and the report says so.
"""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import ConfigurationError, RiverlightError
from models.datasets.catalogue import install, list_images
from models.datasets.spec import LabelledImage
from models.visual_search.data import read_image

NEAR_DUPLICATE_BITS = 6  # of 64; a little more than what re-ranking calls a near-duplicate


@dataclass(frozen=True)
class Pair:
    """One thing to upload and one image to find it with."""

    item: LabelledImage
    query: LabelledImage
    augmented: bool  # the query is a changed copy of the upload, made by `query_bytes`

    def upload_bytes(self) -> bytes:
        return self.item.path.read_bytes()

    def item_pixels(self) -> NDArray[np.uint8]:
        """Return the upload decoded, `(H, W, 3)` RGB on white."""
        return read_image(self.item.path)

    def query_pixels(self) -> NDArray[np.uint8]:
        """Return the query decoded, `(H, W, 3)` RGB on white."""
        if not self.augmented:
            return read_image(self.query.path)
        with Image.open(io.BytesIO(self.query_bytes())) as image:
            return np.asarray(image.convert("RGB"))

    def query_bytes(self) -> bytes:
        if not self.augmented:
            return self.query.path.read_bytes()
        with Image.open(self.query.path) as opened:
            image = Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened.convert("RGBA"))
        turned = image.convert("RGB").rotate(12, expand=False, fillcolor="white", resample=Image.Resampling.BICUBIC)
        inset = round(0.08 * turned.width)
        out = io.BytesIO()
        turned.crop((inset, inset, turned.width - inset, turned.height - inset)).save(out, "PNG")
        return out.getvalue()


@dataclass(frozen=True)
class DemoImages:
    """The pairs, and in words what they are."""

    pairs: Sequence[Pair]
    description: str


def demo_images(home: Path, limit: int, progress: Callable[[str], None]) -> DemoImages:
    """Install the best data this machine can have and return up to `limit` pairs from it.

    Raises:
        ConfigurationError: no data set could be installed; each reason is named.
    """
    problems: list[str] = []
    for name, choose in (("emoji", _two_vendors), ("openmoji", _changed_copies)):
        try:
            install(name, home, progress)
            images = choose(list_images(name, home))
        except RiverlightError as error:
            problems.append(f"{name}: {error}")
            progress(f"{name} cannot be had here: {error}")
            continue
        if images.pairs:
            mixed = random.Random(7).sample(images.pairs, len(images.pairs))  # a data set begins with all its flags
            return DemoImages(_distinct(mixed, limit), images.description)
        problems.append(f"{name}: no test images in it")
    raise ConfigurationError("the demo has no images to play:\n  " + "\n  ".join(problems))


def _distinct(pairs: Sequence[Pair], limit: int) -> list[Pair]:
    """Return up to `limit` pairs whose uploads differ to the eye: some flags, say, are drawn exactly alike.

    Of two near-duplicates an answer shows one; which of them a query meant, nobody could tell.
    """
    chosen: list[Pair] = []
    hashes: list[imagehash.ImageHash] = []
    for pair in pairs:
        phash = imagehash.phash(Image.fromarray(pair.item_pixels()))
        if all(phash - other > NEAR_DUPLICATE_BITS for other in hashes):
            chosen.append(pair)
            hashes.append(phash)
        if len(chosen) == limit:
            break
    return chosen


def _two_vendors(images: Sequence[LabelledImage]) -> DemoImages:
    by_style: dict[str, dict[str, LabelledImage]] = {}
    for image in images:
        if image.split == "test":
            by_style.setdefault(image.style, {})[image.concept] = image
    styles = sorted(by_style)
    if len(styles) < 2:
        return DemoImages([], "")
    query_style, item_style = styles[0], styles[1]
    shared = [concept for concept in by_style[item_style] if concept in by_style[query_style]]
    pairs = [Pair(by_style[item_style][concept], by_style[query_style][concept], False) for concept in shared]
    return DemoImages(pairs, f"{item_style} drawings, looked for with {query_style} drawings")


def _changed_copies(images: Sequence[LabelledImage]) -> DemoImages:
    test = [image for image in images if image.split == "test"]
    return DemoImages(
        [Pair(image, image, True) for image in test],
        "drawings of one style, looked for with changed copies of themselves",
    )
