"""Entries for index tests."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version, pack_vector

DIM = 16
MODEL = "visual-search/test"


def entry(item_id: str, vector: NDArray[np.float32], *, at: int = 1, seq: int = 0, **fields: Any) -> IndexEntry:
    defaults: dict[str, Any] = {
        "media_id": f"{sum(item_id.encode()):064x}",
        "owner_id": "owner-1",
        "model_version": MODEL,
        "event_id": f"evt-{item_id}-{at}",
    }
    return IndexEntry(
        item_id=item_id, version=Version(time_us=at, seq=seq), vector=pack_vector(vector), **{**defaults, **fields}
    )


def clustered(n: int, dim: int = DIM, *, seed: int = 0, spread: float = 0.8) -> NDArray[np.float32]:
    """Return `(n, dim)` unit rows in overlapping clusters."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(2, n // 50), dim))
    rows = centres[rng.integers(0, len(centres), n)] + spread * rng.standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
