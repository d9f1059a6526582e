"""Every event of the platform, as CloudEvents 1.0 in msgspec Structs.

A Kafka record holds one event (a JSON object) or a frame (a JSON array of events, the CloudEvents JSON batch
format). `decode_record` reads either. The classes are a tagged union on `type`, so decoding is also dispatch:
what comes out is the right class or an `InvalidEvent`. Schemas only ever grow; unknown fields are ignored, so an
older consumer reads a newer producer.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from core.errors import InvalidEvent, NotFound
from core.ids import MEDIA_ID_PATTERN

#: No control characters. Checked by `decode`, and only where JSON can hold one: a pattern here costs 0.5 µs a field.
Id = Annotated[str, Meta(min_length=1, max_length=128, extra_json_schema={"pattern": r"^[^\x00-\x1f\x7f]+$"})]
MediaId = Annotated[str, Meta(pattern=MEDIA_ID_PATTERN)]
Time = Annotated[datetime, Meta(tz=True)]
Title = Annotated[str, Meta(max_length=300)]
Text = Annotated[str, Meta(max_length=20_000)]
Tags = Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=50)]
Language = Annotated[str, Meta(max_length=35)]  # BCP 47
Region = Annotated[str, Meta(min_length=2, max_length=2, pattern="^[A-Z]{2}$")]  # ISO 3166-1 alpha-2
Category = Annotated[str, Meta(max_length=100)]
Visibility = Literal["public", "unlisted", "private"]
Seconds = Annotated[float, Meta(ge=0, le=1e7)]

MAX_FRAME_EVENTS = 10_000


class Event(Struct, kw_only=True, frozen=True, tag_field="type", gc=False):
    """The CloudEvents envelope all events share. `time` is when the thing happened, in UTC."""

    specversion: Literal["1.0"] = "1.0"
    id: Id
    source: Id
    time: Time
    subject: Id
    datacontenttype: str | None = None
    traceparent: Annotated[str, Meta(max_length=64)] | None = None  # W3C; CloudEvents tracing extension


# --- uploads ---------------------------------------------------------------------------------------------------


class Upload(Struct, kw_only=True, frozen=True, gc=False):
    """An image or video somebody uploaded. The bytes are in the object store under `media_id`."""

    item_id: Id
    owner_id: Id
    kind: Literal["image", "video"]
    media_id: MediaId
    title: Title = ""
    description: Text = ""
    tags: Tags = []
    language: Language = "und"
    category: Category = ""
    visibility: Visibility = "public"
    blocked_regions: list[Region] = []


class UploadChange(Struct, kw_only=True, frozen=True, gc=False):
    """New values for some fields of an item; a field left out keeps its value."""

    item_id: Id
    media_id: MediaId | UnsetType = UNSET
    title: Title | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    language: Language | UnsetType = UNSET
    category: Category | UnsetType = UNSET
    visibility: Visibility | UnsetType = UNSET
    blocked_regions: list[Region] | UnsetType = UNSET


class UploadHiding(Struct, kw_only=True, frozen=True, gc=False):
    """An item taken out of every answer, or (`hidden` false) put back."""

    item_id: Id
    hidden: bool = True
    reason: Title = ""


class ItemRef(Struct, kw_only=True, frozen=True, gc=False):
    item_id: Id


class UploadCreated(Event, tag="riverlight.upload.created", frozen=True, gc=False):
    data: Upload


class UploadChanged(Event, tag="riverlight.upload.changed", frozen=True, gc=False):
    data: UploadChange


class UploadHidden(Event, tag="riverlight.upload.hidden", frozen=True, gc=False):
    data: UploadHiding


class UploadDeleted(Event, tag="riverlight.upload.deleted", frozen=True, gc=False):
    data: ItemRef


UploadEvent = UploadCreated | UploadChanged | UploadHidden | UploadDeleted


# --- interactions ----------------------------------------------------------------------------------------------


class Watched(Struct, kw_only=True, frozen=True, gc=False):
    """How much of a video (or how long an image) was looked at."""

    seconds: Seconds
    of_s: Seconds | None = None


class Interaction(Struct, kw_only=True, frozen=True, gc=False):
    """What a user did with an item, where it was shown, and the trace of the answer that showed it."""

    user_id: Id
    item_id: Id | None = None  # only a search has none; for a follow, the user who is followed
    surface: Annotated[str, Meta(max_length=64)] = ""
    position: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    trace_id: Annotated[str, Meta(max_length=64)] | None = None
    value: Watched | Text | None = None  # seconds watched; or comment text, query, harm class
    device: Annotated[str, Meta(max_length=64)] | None = None


class Impression(Event, tag="riverlight.interaction.impression", frozen=True, gc=False):
    data: Interaction


class Click(Event, tag="riverlight.interaction.click", frozen=True, gc=False):
    data: Interaction


class Watch(Event, tag="riverlight.interaction.watch", frozen=True, gc=False):
    data: Interaction


class Like(Event, tag="riverlight.interaction.like", frozen=True, gc=False):
    data: Interaction


class Dislike(Event, tag="riverlight.interaction.dislike", frozen=True, gc=False):
    data: Interaction


class Share(Event, tag="riverlight.interaction.share", frozen=True, gc=False):
    data: Interaction


class Save(Event, tag="riverlight.interaction.save", frozen=True, gc=False):
    data: Interaction


class Comment(Event, tag="riverlight.interaction.comment", frozen=True, gc=False):
    data: Interaction


class Search(Event, tag="riverlight.interaction.search", frozen=True, gc=False):
    data: Interaction


class Follow(Event, tag="riverlight.interaction.follow", frozen=True, gc=False):
    data: Interaction


class Hide(Event, tag="riverlight.interaction.hide", frozen=True, gc=False):
    data: Interaction


class Report(Event, tag="riverlight.interaction.report", frozen=True, gc=False):
    data: Interaction


InteractionEvent = (
    Impression | Click | Watch | Like | Dislike | Share | Save | Comment | Search | Follow | Hide | Report
)


# --- posts, users, street images -------------------------------------------------------------------------------


class Post(Struct, kw_only=True, frozen=True, gc=False):
    """A post: text, media and links by an author. `item_ids` are uploads of the author that share its fate."""

    post_id: Id
    author_id: Id
    text: Text = ""
    media_ids: Annotated[list[MediaId], Meta(max_length=100)] = []
    item_ids: Annotated[list[Id], Meta(max_length=100)] = []
    links: list[Annotated[str, Meta(max_length=2_000)]] = []
    language: Language = "und"
    device: Annotated[str, Meta(max_length=64)] | None = None
    ip_prefix: Annotated[str, Meta(max_length=64)] | None = None


class PostRef(Struct, kw_only=True, frozen=True, gc=False):
    post_id: Id


class PostCreated(Event, tag="riverlight.post.created", frozen=True, gc=False):
    data: Post


class PostChanged(Event, tag="riverlight.post.changed", frozen=True, gc=False):
    data: Post


class PostDeleted(Event, tag="riverlight.post.deleted", frozen=True, gc=False):
    data: PostRef


PostEvent = PostCreated | PostChanged | PostDeleted


class UserProfile(Struct, kw_only=True, frozen=True, gc=False):
    """Demographics a user gave; a field left out is unknown."""

    user_id: Id
    age_band: Annotated[str, Meta(max_length=16)] | None = None
    gender: Annotated[str, Meta(max_length=32)] | None = None
    city: Annotated[str, Meta(max_length=100)] | None = None
    country: Region | None = None
    language: Language | None = None
    joined_at: Time | None = None


class UserRef(Struct, kw_only=True, frozen=True, gc=False):
    user_id: Id


class UserChanged(Event, tag="riverlight.user.changed", frozen=True, gc=False):
    data: UserProfile


class UserErased(Event, tag="riverlight.user.erased", frozen=True, gc=False):
    data: UserRef


UserEvent = UserChanged | UserErased


class StreetImage(Struct, kw_only=True, frozen=True, gc=False):
    """A street photo with the camera's position (degrees) and attitude (degrees)."""

    image_id: Id
    media_id: MediaId
    lat: Annotated[float, Meta(ge=-90, le=90)]
    lng: Annotated[float, Meta(ge=-180, le=180)]
    pitch: Annotated[float, Meta(ge=-180, le=180)] = 0.0
    yaw: Annotated[float, Meta(ge=-360, le=360)] = 0.0
    roll: Annotated[float, Meta(ge=-180, le=180)] = 0.0


class StreetImageCreated(Event, tag="riverlight.street-image.created", frozen=True, gc=False):
    data: StreetImage


AnyEvent = UploadEvent | InteractionEvent | PostEvent | UserEvent | StreetImageCreated

#: The union of events that each collector stream accepts.
STREAM_EVENTS: dict[str, object] = {
    "uploads": UploadEvent,
    "posts": PostEvent,
    "interactions": InteractionEvent,
    "users": UserEvent,
    "street-images": StreetImageCreated,
}

_DECODERS: dict[str, msgspec.json.Decoder] = {
    name: msgspec.json.Decoder(union) for name, union in STREAM_EVENTS.items()
}
_FRAME_DECODERS: dict[str, msgspec.json.Decoder] = {
    name: msgspec.json.Decoder(Annotated[list[union], Meta(max_length=MAX_FRAME_EVENTS)])  # type: ignore[valid-type]
    for name, union in STREAM_EVENTS.items()
}
_FRAME_DECODER = msgspec.json.Decoder(Annotated[list[msgspec.Raw], Meta(max_length=MAX_FRAME_EVENTS)])
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ID_FIELDS = ("user_id", "item_id", "owner_id", "post_id", "author_id", "image_id")
_ENCODER = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """Return the event as one CloudEvents JSON object."""
    return _ENCODER.encode(event)


def encode_frame(events: Sequence[Event]) -> bytes:
    """Return the events as one CloudEvents JSON batch (an array)."""
    return _ENCODER.encode(events)


def decode(data: bytes | msgspec.Raw, stream: str) -> AnyEvent:
    """Decode one event of `stream` (a key of `STREAM_EVENTS`) and check what the schema cannot say.

    Raises:
        InvalidEvent: not JSON, not of the stream's schema, or a subject that is not the id in the data.
        NotFound: there is no such stream.
    """
    decoder = _decoder(stream)
    try:
        event = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"not a valid event of stream {stream!r}: {error}") from error
    raw = bytes(data)
    _check(event, control_characters=b"\\" in raw or b"\x7f" in raw)
    return event


def decode_all(value: bytes, stream: str) -> list[AnyEvent] | None:
    """Decode a record, an event or a frame, in one go: the fast way for records in which nothing is wrong.

    Returns:
        The events in order, as `split_record` and `decode` would give them one by one; None where any of those
        would raise, or where it takes them to tell.

    Raises:
        NotFound: there is no such stream.
    """
    decoder = _decoder(stream)
    if b"\\" in value or b"\x7f" in value:
        return None
    try:
        events = _FRAME_DECODERS[stream].decode(value) if value[:1] == b"[" else [decoder.decode(value)]
        for event in events:
            _check(event, control_characters=False)
    except (InvalidEvent, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return events


def split_record(value: bytes) -> list[bytes | msgspec.Raw]:
    """Split a record's value into the raw bytes of its events: one for an object, n for a frame.

    A frame is cut without looking inside its events, so that one bad event is one dead letter and its neighbours
    are handled.

    Raises:
        InvalidEvent: a frame that is not a JSON array, or longer than `MAX_FRAME_EVENTS`.
    """
    if value.lstrip()[:1] != b"[":
        return [value]
    try:
        return list(_FRAME_DECODER.decode(value))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"not a valid frame (a JSON array of events): {error}") from error


def event_key(event: AnyEvent) -> str:
    """Return the id the event is about: the key of its record, hence its order."""
    data = event.data
    match data:
        case Interaction() | UserProfile() | UserRef():
            return data.user_id
        case Upload() | UploadChange() | UploadHiding() | ItemRef():
            return data.item_id
        case Post() | PostRef():
            return data.post_id
        case StreetImage():
            return data.image_id
    raise TypeError(f"no key is defined for {type(data).__name__}")  # a new event type without a key


def event_type(event: Event) -> str:
    """Return the CloudEvents `type` of an event, e.g. `riverlight.interaction.click`."""
    return str(event.__struct_config__.tag)


def _check(event: AnyEvent, *, control_characters: bool) -> None:
    """Raise InvalidEvent for what the schema cannot say.

    Args:
        control_characters: the event's JSON has an escape or a DEL, without which no text in it can hold one.
    """
    data = event.data
    if control_characters:
        texts = [(name, getattr(event, name)) for name in ("id", "source", "subject")]
        texts += [(f"data.{name}", getattr(data, name, None)) for name in _ID_FIELDS]
        for name, text in texts:
            if isinstance(text, str) and _CONTROL.search(text):
                raise InvalidEvent(f"{name} {text!r} has a control character")
    if type(data) is Interaction:
        key = data.user_id
        if data.item_id is None and type(event) is not Search:
            raise InvalidEvent(f"{event_type(event)} needs data.item_id")
    else:
        key = event_key(event)
    if event.subject != key:
        raise InvalidEvent(f"subject {event.subject!r} must equal the id in data, {key!r}")


def _decoder(stream: str) -> msgspec.json.Decoder:
    try:
        return _DECODERS[stream]
    except KeyError:
        raise NotFound(f"there is no stream {stream!r}; streams are {', '.join(STREAM_EVENTS)}") from None
