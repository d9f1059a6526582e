"""What viewers must not be shown any more, as the log says it: what they saw, and what its owner took away."""

from collections.abc import Iterator, Mapping

from core import topics
from core.errors import InvalidInput
from core.events import Follow as Followed
from core.events import Interaction, Search, UploadDeleted, UploadHidden, decode, split_record
from core.ports import StoredRecord
from infra.chaos.answers import Follow, Restricted, of_viewer


def of_uploads(record: StoredRecord, at_s: float) -> Iterator[Restricted]:
    """Follow `content.uploads.v1`: what is hidden or deleted is in no answer."""
    try:
        events = [decode(part, "uploads") for part in split_record(record.value or b"")]
    except InvalidInput:
        return
    for event in events:
        match event:
            case UploadHidden(data=data):
                gone = (data.item_id,) if data.hidden else ()
                yield Restricted(at_s, f"hidden {data.item_id}", gone, data.hidden)
            case UploadDeleted(data=ref):
                yield Restricted(at_s, f"deleted {ref.item_id}", (ref.item_id,), True)


def of_interactions(record: StoredRecord, at_s: float) -> Iterator[Restricted]:
    """Follow `content.interactions.v1`: whoever did something with a video has seen it."""
    try:
        events = [decode(part, "interactions") for part in split_record(record.value or b"")]
    except InvalidInput:
        return
    for event in events:
        data = event.data
        if isinstance(data, Interaction) and data.item_id is not None and not isinstance(event, Search | Followed):
            seen = of_viewer(data.item_id, data.user_id)
            yield Restricted(at_s, f"seen {seen}", (seen,), True)


PASTS: Mapping[str, Follow] = {topics.UPLOADS.name: of_uploads, topics.INTERACTIONS.name: of_interactions}
