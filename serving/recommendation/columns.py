"""Arrays with one entry a video, that grow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.words import CONTENT_DIM

MAX_TAGS = 8  # of a video that are kept

#: name -> type, further dimensions, what a new row holds
SPECIFICATION: dict[str, tuple[type[np.generic], tuple[int, ...], Any]] = {
    "creator": (np.int32, (), -1),  # code in `Videos.creators`
    "language": (np.int32, (), -1),  # code in `Videos.languages`: the language without script and region
    "category": (np.int32, (), -1),  # code in `Videos.categories`
    "tags": (np.int32, (MAX_TAGS,), -1),  # codes in `Videos.tag_names`; -1 where there are no more
    "regions": (np.int32, (), 0),  # number in `Videos.region_sets`: where it is blocked
    "media": (np.uint64, (), 0),  # first 64 bits of the media's hash: equal for the same bytes
    "created_s": (np.float64, (), 0.0),  # event time of its creation, seconds since 1970
    "version_us": (np.int64, (), 0),  # event time of its newest state, microseconds since 1970
    "duration_s": (np.float32, (), np.nan),  # NaN until somebody's watch says it
    "flags": (np.uint8, (), 0),  # HIDDEN, DELETED, …; 0 for a video that may be shown
    "content": (np.float32, (CONTENT_DIM,), 0.0),  # of length 1, or zero
}


class Columns:
    """All columns at one capacity. Growing makes another object, so arrays of one object are always of one length."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.arrays: dict[str, NDArray[Any]] = {}
        for name, (dtype, shape, fill) in SPECIFICATION.items():
            array = np.zeros((capacity, *shape), dtype)
            if fill != 0:
                array[:] = fill
            self.arrays[name] = array

    def grown(self, rows: int) -> "Columns":
        """Return columns of half as much capacity again, with the first `rows` rows copied."""
        larger = Columns(max(1_024, self.capacity + self.capacity // 2))
        for name, array in self.arrays.items():
            larger.arrays[name][:rows] = array[:rows]
        return larger
