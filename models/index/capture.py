"""A picture of an index at one moment, for what reads all of it: snapshots, hashes, comparisons."""

from dataclasses import dataclass

from core.entries import Version
from models.index.segment_files import Rows
from models.index.segments import Segment


@dataclass(frozen=True)
class Capture:
    """A consistent picture of an index: its segments, oldest first, with the rows alive in each, and the tombstones."""

    parts: tuple[tuple[Segment, Rows], ...]
    tombstones: dict[str, Version]
