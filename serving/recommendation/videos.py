"""All videos of the platform, as columns: what generators, the ranker and re-ranking read."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from core.events import Upload, UploadChange, UploadChanged, UploadCreated, UploadDeleted, UploadEvent, UploadHidden
from serving.recommendation.columns import MAX_TAGS, Columns
from serving.recommendation.ports import Rows, Scores
from serving.recommendation.postings import Postings
from serving.recommendation.ranked import TopList
from serving.recommendation.regions import RegionSets
from serving.recommendation.restricted_rows import RestrictedRows
from serving.recommendation.vocabulary import Vocabulary, primary_language
from serving.recommendation.words import content_vector, weighted_words, word_code
from serving.restrictions.restriction import Restriction
from serving.restrictions.served import Restrictions

HIDDEN, DELETED, UNLISTED, PRIVATE = 1, 2, 4, 8  # bits of `flags`; any of them keeps a video out
STATES = {DELETED: "deleted", HIDDEN: "hidden", PRIVATE: "private", UNLISTED: "unlisted"}

_VISIBILITY = {"public": 0, "unlisted": UNLISTED, "private": PRIVATE}
_WORD_BUCKETS = 2**18  # words share a bucket sometimes; what they propose is ranked by vector anyway
_NEWEST_KEPT = 2_048
_DELETED_FIELDS: dict[str, Any] = {"tags": -1, "regions": 0, "media": 0, "duration_s": np.nan, "content": 0.0}


class Videos:
    """Videos by row. A row belongs to one item for ever, so rows can be kept between requests.

    One writer at a time calls `apply`; readers need no lock. A reader sees a row only once all its columns
    are written. Of a video that is being changed it may see some fields before and some after; `flags` are one number
    and change at once. Columns are as long as `rows` was when they were asked for.

    Events of one item are applied in the order of their event times: an older one than the state there is changes
    nothing, as in the catalogue (`streams/agents/index_upload.py`).
    """

    def __init__(self, *, restrictions: Restrictions | None = None, withheld_kept: int = 100_000) -> None:
        """Make an object without videos.

        Args:
            restrictions: what verdicts take down and lower. They are looked up, never saved with the videos.
            withheld_kept: hidings and deletions of items not (yet) known that are remembered.
        """
        self._columns = Columns(1_024)
        self._rows = 0
        self._row_of: dict[str, int] = {}
        self._item_ids: list[str] = []
        self._titles: list[str] = []
        self._withheld: OrderedDict[str, tuple[int, int]] = OrderedDict()  # item -> event time in µs, flags
        self._withheld_kept = withheld_kept
        self.creators, self.languages, self.categories = Vocabulary(), Vocabulary(), Vocabulary()
        self.tag_names = Vocabulary()
        self.region_sets = RegionSets()
        self.by_word = Postings()  # bucket of a word -> rows
        self.by_creator = Postings()  # code of a creator -> rows
        self.newest = TopList(_NEWEST_KEPT)  # by creation time
        self.handed_over: list[int] = []  # rows whose creator changed
        self._restricted = RestrictedRows(self, restrictions or Restrictions())

    # Reading --------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """The number of rows: rows are 0 to `rows` - 1. Deleted videos keep theirs."""
        return self._rows

    def __len__(self) -> int:
        return self._rows

    def column(self, name: str) -> NDArray[Any]:
        """Return a column by its name in `columns.SPECIFICATION`, not to be written to."""
        rows = self._rows  # read before the columns: they are never shorter than the rows there were
        return self._columns.arrays[name][:rows]

    @property
    def creator(self) -> NDArray[np.int32]:
        return self.column("creator")

    @property
    def language(self) -> NDArray[np.int32]:
        return self.column("language")

    @property
    def category(self) -> NDArray[np.int32]:
        return self.column("category")

    @property
    def tags(self) -> NDArray[np.int32]:
        return self.column("tags")

    @property
    def media(self) -> NDArray[np.uint64]:
        return self.column("media")

    @property
    def created_s(self) -> NDArray[np.float64]:
        return self.column("created_s")

    @property
    def duration_s(self) -> NDArray[np.float32]:
        return self.column("duration_s")

    @property
    def flags(self) -> NDArray[np.uint8]:
        return self.column("flags")

    @property
    def content(self) -> NDArray[np.float32]:
        """`(rows, 64)`, each of length 1, or zero for a video without words."""
        return self.column("content")

    def item_id(self, row: int) -> str:
        """Return the id of the video in a row. Raises IndexError for a row that there is not."""
        return self._item_ids[row]

    def item_ids(self, rows: Iterable[int]) -> list[str]:
        """Return the ids of the videos in rows. Raises IndexError for a row that there is not."""
        ids = self._item_ids
        return [ids[row] for row in rows]

    def row_of(self, item_id: str) -> int | None:
        """Return the row of a video, or None for an id that is no video we know."""
        return self._row_of.get(item_id)

    def title(self, row: int) -> str:
        return self._titles[row]

    def creator_id(self, row: int) -> str:
        """Return the user id of a video's creator."""
        return self.creators.name(int(self.creator[row]))

    def state(self, row: int) -> str:
        """Return `active`, or the first reason why nobody is shown a video: `deleted`, `hidden`, `enforced` …"""
        flags = int(self.flags[row])
        if not flags & (DELETED | HIDDEN) and (found := self.restriction(row)) is not None and found.enforced:
            return "enforced"
        return next((name for bit, name in STATES.items() if flags & bit), "active")

    def restriction(self, row: int) -> Restriction | None:
        """Return what verdicts make of a video now, or None."""
        return self._restricted.of(row)

    def factors(self, rows: Rows) -> Scores:
        """Return what verdicts leave of the scores of rows `(n,)`, now: 1, less where demoted, 0 where enforced."""
        factors = self._restricted.factors(rows)
        return np.ones(len(rows), np.float32) if factors is None else factors

    def blocked(self, rows: Rows, region: str | None) -> NDArray[np.bool_]:
        """Return which rows are blocked in a region (ISO 3166-1 alpha-2); none where the region is not known."""
        if region is None:
            return np.zeros(len(rows), np.bool_)
        return self.region_sets.blocked(self.column("regions")[rows], region.upper())

    def admissible(self, rows: Rows, region: str | None) -> NDArray[np.bool_]:
        """Return which rows may be shown to somebody in a region: not hidden, deleted, enforced …, or blocked there."""
        mask: NDArray[np.bool_] = self.flags[rows] == 0
        if (factors := self._restricted.factors(rows)) is not None:
            mask &= factors > 0
        if region is not None and len(self.region_sets.sets) > 1:
            mask &= ~self.blocked(rows, region)
        return mask

    def words(self, row: int) -> dict[str, float]:
        """Return what describes a video, with weights (`words.weighted_words`)."""
        tags = [self.tag_names.name(code) for code in self.tags[row].tolist() if code >= 0]
        return weighted_words(self.title(row), tags, self.categories.name(int(self.category[row])))

    def rarest_buckets(self, words: Iterable[str]) -> list[int]:
        """Return the buckets of `by_word` for words, those with the fewest videos first."""
        return sorted({_bucket(word) for word in words}, key=lambda bucket: (self.by_word.length(bucket), bucket))

    # Writing --------------------------------------------------------------------------------------------------

    def apply(self, event: UploadEvent) -> str:
        """Apply one upload event.

        Returns:
            `applied`; `stale`: what is there is newer; `unknown`: about an item that is not here (a hiding or a
            deletion is remembered, in case the video comes after it); `other`: not about a video.
        """
        time_us = int(event.time.timestamp() * 1_000_000)
        if isinstance(event, UploadCreated):
            return self._create(event.data, time_us) if event.data.kind == "video" else "other"
        row = self._row_of.get(event.data.item_id)
        if row is None:
            return self._withhold(event, time_us)
        arrays = self._columns.arrays
        if time_us < arrays["version_us"][row]:
            return "stale"
        if isinstance(event, UploadDeleted):
            self._delete(row)
        elif arrays["flags"][row] & DELETED:
            return "unknown"
        elif isinstance(event, UploadHidden):
            kept = arrays["flags"][row] & ~np.uint8(HIDDEN)
            arrays["flags"][row] = kept | HIDDEN if event.data.hidden else kept
            self._list(row)
        else:
            self._change(row, event)
        arrays["version_us"][row] = time_us
        return "applied"

    def learn_duration(self, row: int, seconds: float) -> None:
        """Take the length of a video from a watch: the longest anybody said, whatever order they say it in."""
        durations = self._columns.arrays["duration_s"]
        if seconds > 0 and not durations[row] >= seconds:
            durations[row] = seconds

    def _create(self, data: Upload, time_us: int) -> str:
        row = self._row_of.get(data.item_id)
        flags = _VISIBILITY[data.visibility]
        if row is not None:
            arrays = self._columns.arrays
            if time_us < arrays["version_us"][row]:
                return "stale"
        else:
            withheld_us, withheld = self._withheld.get(data.item_id, (time_us, 0))
            if withheld_us > time_us and withheld & DELETED:
                return "stale"
            self._withheld.pop(data.item_id, None)
            if withheld_us > time_us:
                flags |= withheld
        created_us, version_us = time_us, time_us
        if row is None:
            version_us = max(time_us, withheld_us)
            row = self._rows
            if row == self._columns.capacity:
                self._columns = self._columns.grown(row)
            self._item_ids.append(data.item_id)
            self._titles.append(data.title)
            self._columns.arrays["created_s"][row] = created_us / 1e6
        arrays = self._columns.arrays
        arrays["version_us"][row] = version_us
        before, creator = int(arrays["creator"][row]), self.creators.add(data.owner_id)
        arrays["creator"][row] = creator
        if row < self._rows and before != creator:
            self.handed_over.append(row)
        arrays["flags"][row] = flags
        arrays["media"][row] = media_code(data.media_id)
        arrays["language"][row] = self.languages.add(primary_language(data.language))
        arrays["regions"][row] = self.region_sets.add(data.blocked_regions)
        self._describe(row, data.title, data.tags, data.category)
        self._rows = max(self._rows, row + 1)
        self._row_of[data.item_id] = row  # last: whoever finds the row may read it
        self.by_creator.add(int(arrays["creator"][row]), row)
        self._list(row)
        return "applied"

    def _change(self, row: int, event: UploadChanged) -> None:
        data: UploadChange = event.data
        arrays = self._columns.arrays
        if data.visibility is not UNSET:
            kept = arrays["flags"][row] & ~np.uint8(UNLISTED | PRIVATE)
            arrays["flags"][row] = kept | _VISIBILITY[data.visibility]
        if data.blocked_regions is not UNSET:
            arrays["regions"][row] = self.region_sets.add(data.blocked_regions)
        if data.media_id is not UNSET:
            arrays["media"][row] = media_code(data.media_id)
        if data.language is not UNSET:
            arrays["language"][row] = self.languages.add(primary_language(data.language))
        if data.title is not UNSET or data.tags is not UNSET or data.category is not UNSET:
            codes, category = arrays["tags"][row].tolist(), int(arrays["category"][row])
            self._describe(
                row,
                self._titles[row] if data.title is UNSET else data.title,
                [self.tag_names.name(code) for code in codes if code >= 0] if data.tags is UNSET else data.tags,
                self.categories.name(category) if data.category is UNSET else data.category,
            )
        self._list(row)

    def _describe(self, row: int, title: str, tags: Sequence[str], category: str) -> None:
        arrays = self._columns.arrays
        tags = tags[:MAX_TAGS]
        codes = np.full(MAX_TAGS, -1, np.int32)
        codes[: len(tags)] = [self.tag_names.add(tag) for tag in tags]
        words = weighted_words(title, tags, category)
        self._titles[row] = title
        arrays["tags"][row] = codes
        arrays["category"][row] = self.categories.add(category)
        arrays["content"][row] = content_vector(words)
        self.by_word.extend({_bucket(word) for word in words}, row)

    def _delete(self, row: int) -> None:
        """Empty a row but for who made it and when."""
        arrays = self._columns.arrays
        arrays["flags"][row] = DELETED
        for name, empty in _DELETED_FIELDS.items():
            arrays[name][row] = empty
        self._titles[row] = ""
        arrays["category"][row] = self.categories.add("")
        self._list(row)

    def _list(self, row: int) -> None:
        if self._columns.arrays["flags"][row]:
            self.newest.discard(row)
            self._refill_newest()
        else:
            self.newest.put(row, float(self._columns.arrays["created_s"][row]))

    def _refill_newest(self) -> None:
        if self.newest.thin:
            shown = np.flatnonzero(self.flags == 0)
            self.newest.replace(*greatest(shown, self.created_s[shown], self.newest.size))

    def _withhold(self, event: UploadChanged | UploadHidden | UploadDeleted, time_us: int) -> str:
        known_us, known = self._withheld.get(event.data.item_id, (-1, 0))
        if time_us < known_us or known & DELETED:
            return "stale"
        if isinstance(event, UploadDeleted):
            flags = DELETED
        elif isinstance(event, UploadHidden) and (event.data.hidden or known_us >= 0):
            flags = HIDDEN if event.data.hidden else 0
        else:
            return "unknown"
        self._withheld[event.data.item_id] = (time_us, flags)
        self._withheld.move_to_end(event.data.item_id)
        if len(self._withheld) > self._withheld_kept:
            self._withheld.popitem(last=False)
        return "unknown"

    # Saving ---------------------------------------------------------------------------------------------------

    def arrays(self, pause: Callable[[], None] = lambda: None) -> tuple[int, dict[str, NDArray[Any]]]:
        """Return the number of rows and all arrays, to be saved at once: the columns are the ones in use.

        May run beside the writer: what is saved half-written, the same events applied again make good. `pause` is
        called again and again, so that others get their turn.
        """
        rows = self._rows
        arrays = {name: array[:rows] for name, array in self._columns.arrays.items()}
        for name, postings in (("by_word", self.by_word), ("by_creator", self.by_creator)):
            packed, lengths = postings.packed(pause)
            arrays |= {f"{name}.rows": packed[packed < rows], f"{name}.lengths": lengths_below(packed, lengths, rows)}
        return rows, arrays

    def lists(self, rows: int) -> dict[str, Iterable[Any]]:
        """Return what is not in arrays, for the first `rows` rows. Ask once the arrays are saved: codes come first.

        What there is of every video is not copied: that would hold up everybody else.
        """
        return {
            "item_ids": islice(self._item_ids, rows),
            "titles": islice(self._titles, rows),
            "creators": list(self.creators.names),
            "languages": list(self.languages.names),
            "categories": list(self.categories.names),
            "tag_names": list(self.tag_names.names),
            "region_sets": [sorted(regions) for regions in list(self.region_sets.sets)],
            "withheld": [[item_id, *what] for item_id, what in list(self._withheld.items())],
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]], lists: Mapping[str, Any]) -> None:
        """Take over what `arrays` and `lists` returned. Only for an object never written to."""
        rows = len(lists["item_ids"])
        columns = Columns(max(1_024, rows))
        for name in columns.arrays:
            columns.arrays[name][:rows] = arrays[name]
        self._columns = columns
        self._item_ids, self._titles = list(lists["item_ids"]), list(lists["titles"])
        self._row_of = {item_id: row for row, item_id in enumerate(self._item_ids)}
        self.creators, self.languages = Vocabulary(lists["creators"]), Vocabulary(lists["languages"])
        self.categories, self.tag_names = Vocabulary(lists["categories"]), Vocabulary(lists["tag_names"])
        self.region_sets = RegionSets(lists["region_sets"])
        self._withheld = OrderedDict((item_id, (time_us, flags)) for item_id, time_us, flags in lists["withheld"])
        self.by_word.restore(arrays["by_word.rows"], arrays["by_word.lengths"])
        self.by_creator.restore(arrays["by_creator.rows"], arrays["by_creator.lengths"])
        self._rows = rows
        shown = np.flatnonzero(self.flags == 0)
        self.newest.replace(*greatest(shown, self.created_s[shown], self.newest.size))


def media_code(media_id: str) -> int:
    """Return 64 bits that stand for a media object."""
    return int(media_id[:16], 16)


def greatest(rows: Rows, values: NDArray[np.float64], size: int) -> tuple[Rows, NDArray[np.float64]]:
    """Return the `size` rows with the greatest values, in no order. Takes time proportional to their number."""
    if len(rows) <= size:
        return rows, values
    kept = np.argpartition(-values, size)[:size]
    return rows[kept], values[kept]


def _bucket(word: str) -> int:
    return word_code(word) % _WORD_BUCKETS


def lengths_below(packed: NDArray[np.int32], lengths: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Return the lengths of packed lists without the rows that came after `rows` was read."""
    late = np.searchsorted(np.cumsum(lengths), np.flatnonzero(packed >= rows), side="right")
    return lengths - np.bincount(late, minlength=lengths.size)
