"""The item half of the two towers as a live index: of the videos training knew, or of those that came since."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.entries import IndexEntry, Version, pack_vector
from core.settings import IndexSettings
from models.index import LiveIndex
from models.recommendation.two_tower import TwoTower
from serving.recommendation.ports import Rows
from serving.recommendation.trained.items import UNKNOWN, TrainedItems
from serving.recommendation.trained.system import TrainedSystem
from serving.recommendation.videos import DELETED, Videos

_BATCH = 1_024


class TowerIndex:
    """Vectors of one model version over one live state. One thread calls `catch_up`; anybody searches `index`."""

    def __init__(
        self, model: TwoTower, system: TrainedSystem, items: TrainedItems, videos: Videos, *, new: bool
    ) -> None:
        """`new`: of the videos that training did not know, by their features; else of those that it knew."""
        self.index = LiveIndex(model.config.dim, system.version, IndexSettings())
        self._model = model
        self._encoder = system.item_encoder
        self._version = system.version
        self._items = items
        self._videos = videos
        self._known = None if new else model.item_vectors()
        self._done = np.zeros(0, np.int64)  # by row: `version_us` of the state that is in the index

    def catch_up(self, limit: int | None = None) -> int:
        """Embed the videos that came or changed since the last time, at most `limit`; return how many there were."""
        rows = self._changed()[:limit]
        for start in range(0, len(rows), _BATCH):
            self._put(rows[start : start + _BATCH])
        return len(rows)

    def close(self) -> None:
        self.index.close()

    def _changed(self) -> Rows:
        versions = self._videos.column("version_us")
        if versions.size > self._done.size:
            larger = np.full(max(1_024, versions.size + versions.size // 2), -1, np.int64)
            larger[: self._done.size] = self._done
            self._done = larger
        rows = np.flatnonzero(versions != self._done[: versions.size])
        is_new = self._items.numbers(rows) == UNKNOWN
        skipped = rows[is_new if self._known is not None else ~is_new]
        self._done[skipped] = versions[skipped]
        return rows[~is_new if self._known is not None else is_new]

    def _put(self, rows: Rows) -> None:
        versions = self._videos.column("version_us")[rows].copy()  # before the rest: a change meanwhile is seen next
        gone = (self._videos.flags[rows] & DELETED) != 0
        for row, version in zip(rows[gone].tolist(), versions[gone].tolist(), strict=True):
            self.index.remove(self._videos.item_id(row), Version(version, 0))
        there = rows[~gone]
        if len(there):
            for row, version, vector in zip(
                there.tolist(), versions[~gone].tolist(), self._vectors(there), strict=True
            ):
                self.index.apply(self._entry(self._videos.item_id(row), version, vector))
        self._done[rows] = versions

    def _vectors(self, rows: Rows) -> NDArray[np.float32]:
        if self._known is not None:
            return self._known[self._items.numbers(rows)]
        assert self._encoder is not None
        return self._model.new_item_vectors(
            self._encoder.encode([video_cells(self._videos, row) for row in rows.tolist()])
        )

    def _entry(self, item_id: str, time_us: int, vector: NDArray[np.float32]) -> IndexEntry:
        return IndexEntry(
            item_id=item_id,
            version=Version(time_us, 0),
            kind="video",
            media_id="",
            owner_id="",
            vector=pack_vector(vector),
            model_version=self._version,
            event_id="",
        )


def embeds_new(system: TrainedSystem) -> bool:
    """Tell whether a system can place videos that it was not trained on."""
    encoder, tower = system.item_encoder, system.tower
    return tower is not None and tower.config.features and encoder is not None and len(encoder.columns) > 0


def video_cells(videos: Videos, row: int) -> dict[str, str]:
    """Return a video as the cells of an items table: what `models/recommendation/described.py` makes of an upload."""
    language = videos.languages.name(int(videos.language[row]))
    tags: Sequence[str] = [videos.tag_names.name(code) for code in videos.tags[row].tolist() if code >= 0]
    return {
        "title": videos.title(row),
        "tags": "|".join(tag.replace("|", " ") for tag in tags),
        "category": videos.categories.name(int(videos.category[row])),
        "language": "" if language == "und" else language,
        "creator": videos.creator_id(row),
    }
