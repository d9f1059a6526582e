"""Shares of counted things, with the interval that goes with the count."""

import math

from msgspec import Struct

_Z_95 = 1.959963984540054


class Proportion(Struct, kw_only=True, frozen=True, gc=False):
    """`hits` of `n`; `share` and the interval are None without any."""

    hits: int
    n: int
    share: float | None
    low: float | None
    high: float | None


def proportion(hits: int, n: int, z: float = _Z_95) -> Proportion:
    """Return a share with its Wilson score interval (Wilson 1927), 95 % unless `z` says otherwise.

    It stays within 0 and 1 and has a width even when all or none of a few are hits.
    """
    if n <= 0:
        return Proportion(hits=0, n=0, share=None, low=None, high=None)
    low, high = wilson(hits / n, n, z)
    return Proportion(hits=hits, n=n, share=hits / n, low=low, high=high)


def wilson(share: float, n: float, z: float = _Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a share of `n` (positive; an effective number need not be whole)."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
