"""Whether the live index is what the log says: one built from the log's beginning is compared with it."""

from dataclasses import dataclass

from core.clock import Clock
from core.errors import Unavailable
from core.ports import StoredRecord
from models.index import LiveIndex
from models.index.capture import Capture
from models.index.verify import fingerprint
from serving.following.feed import Feed
from serving.following.topic_log import TopicLog
from serving.index_view import IndexView

_POLL_RECORDS = 500
_POLL_S = 0.2


@dataclass(frozen=True)
class Verification:
    """The live index beside one built from the log at the same place in it. Ids are item ids."""

    equal: bool
    items: int
    records: int
    live_hash: str
    rebuilt_hash: str
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]


def verify(
    feed: Feed[LiveIndex], view: IndexView, topic: str, log: TopicLog, clock: Clock, timeout_s: float
) -> Verification:
    """Build an index from the beginning of the log and compare it with the live one at the same offsets.

    Taking the two pictures that are compared holds the feed up for a moment; nothing else does.

    Raises:
        Unavailable: the log did not answer, or changed faster than it could be read.
    """
    rebuilt = view.to_compare()
    reader = log.open({})
    deadline = clock.monotonic() + timeout_s
    pending: list[StoredRecord] = []
    records = 0
    try:
        while clock.monotonic() < deadline:
            pending += reader.poll(_POLL_RECORDS, _POLL_S)
            if len(pending) < _POLL_RECORDS and not reader.caught_up():
                continue
            with feed.lock:
                ahead = [record for record in pending if not feed.place.has_read(topic, record)]
                records += len(pending) - len(ahead)
                for record in pending:
                    if feed.place.has_read(topic, record):
                        view.apply_quietly(rebuilt, record)
                pending = ahead
                pictures = None
                if feed.state is not None and reader.caught_up():
                    pictures = feed.state.capture(), rebuilt.capture()
            if pictures is not None:
                return _compare(*pictures, records)
    finally:
        reader.close()
        rebuilt.close()
    raise Unavailable(f"the log could not be read to its end in {timeout_s:g} s")


def _compare(live: Capture, rebuilt: Capture, records: int) -> Verification:
    ours, theirs = fingerprint(live), fingerprint(rebuilt)
    found = ours.differences(theirs)
    return Verification(
        equal=not found and ours.state_hash == theirs.state_hash,
        items=ours.items.size,
        records=records,
        live_hash=ours.state_hash,
        rebuilt_hash=theirs.state_hash,
        missing=found.missing,
        extra=found.extra,
        different=found.different,
    )
