"""64-bit perceptual hashes: as text, as numbers, and as changes to lists."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.errors import InvalidInput

Hashes = NDArray[np.uint64]

#: A picture of one colour has a hash of hardly any bits; listed, it would find every blank picture.
_FEWEST_BITS = 8


class HashChange(Struct, kw_only=True, frozen=True, gc=False):
    """A hash put on a list, or taken off."""

    list_name: str
    phash: str  # 16 hex characters
    op: Literal["add", "remove"] = "add"


class Hit(Struct, kw_only=True, frozen=True, gc=False):
    """A listed hash that is near to one that was looked up."""

    list_name: str
    known: str  # 16 hex characters
    distance: int  # bits that differ


def parse_hash(text: str) -> int:
    """Return a hash as a number. Raises InvalidInput."""
    if len(text) == 16 and text.isascii() and text.isalnum():
        try:
            return int.from_bytes(bytes.fromhex(text))
        except ValueError:
            pass
    raise InvalidInput(f"{text[:40]!r} is no perceptual hash; write its 64 bits as 16 hex characters")


def format_hash(value: int) -> str:
    """Return a hash as 16 hex characters."""
    return f"{value:016x}"


def parse_hashes(texts: Iterable[str]) -> Hashes:
    """Return hashes as numbers, `(n,)`. Raises InvalidInput for the first that is none."""
    return np.fromiter((parse_hash(text) for text in texts), dtype=np.uint64)


def check_listable(text: str) -> str:
    """Return a hash that may be put on a list, in small letters. Raises InvalidInput for one that says too little."""
    bits = parse_hash(text).bit_count()
    if bits < _FEWEST_BITS or bits > 64 - _FEWEST_BITS:
        raise InvalidInput(
            f"{text} is the hash of a picture without content ({bits} of 64 bits are set); on a list it would match "
            "every blank picture. Leave it out"
        )
    return text.lower()
