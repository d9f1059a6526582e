"""What the catalogue knows of videos, put into an empty live state before the log is read.

The log keeps uploads for some weeks, the catalogue keeps items for ever. Without a snapshot, a state made of the log
alone would lack every older video, and what people did with them would wait for uploads that do not come.

An item is told as the events that would have made it what it is, at their times: created, then changed or hidden as of
its version. So what the log says from then on counts, and what it repeats of earlier is stale, whatever the catalogue
has read: ahead of the log or behind it, the state comes out the same.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import structlog

from core.entries import Version
from core.events import Upload, UploadChange, UploadChanged, UploadCreated, UploadEvent, UploadHidden, UploadHiding
from serving.recommendation.live_state import LiveState
from storage.catalogue import Catalogue, Item

_log = structlog.get_logger(__name__)

_PAGE = 1_000
_SOURCE = "riverlight-catalogue"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seed(state: LiveState, catalogue: Catalogue) -> int:
    """Put the videos of a catalogue into a state that has read nothing; return how many there were.

    Deleted ones are left out: nothing is known of them any more that a homepage could use. One that is made again
    later is new from then on.

    Raises:
        Unavailable: the catalogue does not answer.
    """
    count, after = 0, ""
    while page := catalogue.scan_items(after, _PAGE):
        for item in page:
            if item.kind == "video":
                count += _tell(state, item)
        after = page[-1].item_id
    return count


def _tell(state: LiveState, item: Item) -> bool:
    try:
        for event in _events(item):
            state.seed(event)
    except Exception:  # one item that makes no sense is not to keep the recommender from starting
        _log.exception("recommendation_item_not_seeded", item_id=item.item_id)
        return False
    return True


def _events(item: Item) -> Iterator[UploadEvent]:
    item_id, named = item.item_id, item.event_id
    upload = Upload(
        item_id=item_id,
        owner_id=item.owner_id,
        kind=item.kind,
        media_id=item.media_id,
        title=item.title,
        description=item.description,
        tags=list(item.tags),
        language=item.language,
        category=item.category,
        visibility=item.visibility,
        blocked_regions=list(item.blocked_regions),
    )
    yield UploadCreated(id=named, source=_SOURCE, time=item.created_at, subject=item_id, data=upload)
    now = _time_of(item)
    if item.state == "hidden":
        hiding = UploadHiding(item_id=item_id)
        yield UploadHidden(id=named, source=_SOURCE, time=now, subject=item_id, data=hiding)
    elif now > item.created_at:
        change = UploadChange(item_id=item_id)
        yield UploadChanged(id=named, source=_SOURCE, time=now, subject=item_id, data=change)


def _time_of(item: Item) -> datetime:
    """Return the time of the event that made an item what it is. Its version is that time, rounded to a float's."""
    if Version.of(item.updated_at, item.version.seq) == item.version:
        return item.updated_at
    return _EPOCH + timedelta(microseconds=item.version.time_us)
