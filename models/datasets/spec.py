"""What a data set is: where it comes from, what it may be used for, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "validation", "test"]
Progress = Callable[[str], None]
"""Called with one line of text before each step that takes time."""


@dataclass(frozen=True)
class LabelledImage:
    """One image and what is known about it.

    Two images of one `concept` show the same thing; `style` says who drew or photographed it. `category` groups
    concepts that look or mean alike (the emoji group, the stamp's folder).
    """

    path: Path
    concept: str
    style: str
    title: str
    tags: tuple[str, ...]
    category: str
    split: Split


@dataclass(frozen=True)
class DatasetSpec:
    """A data set that can be installed.

    `fetch(folder, progress)` fills an empty folder; `read(folder)` lists what an installed folder holds, in a fixed
    order. An installation with fewer than `minimum_images` is refused: the source has changed. A data set of something
    else than images names its `files` instead, and has a reader of its own.
    """

    name: str
    description: str
    source: str
    licence: str
    needs: str
    download_mb: int
    minimum_images: int
    fetch: Callable[[Path, Progress], None]
    read: Callable[[Path], list[LabelledImage]]
    files: tuple[str, ...] = ()
