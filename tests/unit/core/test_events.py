import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import events
from core.errors import InvalidEvent, NotFound


def upload(**changes) -> dict:
    event = {
        "specversion": "1.0",
        "id": "evt-81",
        "source": "web",
        "type": "riverlight.upload.created",
        "time": "2026-11-22T10:00:00.120Z",
        "subject": "item-7",
        "data": {"item_id": "item-7", "owner_id": "user-3", "kind": "image", "media_id": "a" * 64},
    }
    return {**event, **changes}


def interaction(kind: str = "click", **data) -> dict:
    return {
        "specversion": "1.0",
        "id": "evt-82",
        "source": "web",
        "type": f"riverlight.interaction.{kind}",
        "time": "2026-11-22T10:00:01Z",
        "subject": "user-9",
        "data": {"user_id": "user-9", "item_id": "item-7", **data},
    }


def decode(event: dict, stream: str):
    return events.decode(json.dumps(event).encode(), stream)


def test_the_type_decides_the_class():
    event = decode(upload(), "uploads")
    assert isinstance(event, events.UploadCreated)
    assert event.time == datetime(2026, 11, 22, 10, 0, 0, 120_000, tzinfo=UTC)
    assert events.event_type(event) == "riverlight.upload.created"
    assert events.event_key(event) == "item-7"


def test_what_is_encoded_decodes_to_the_same_event():
    event = decode(interaction("watch", value={"seconds": 12.5, "of_s": 60}), "interactions")
    assert events.decode(events.encode(event), "interactions") == event
    frame = events.split_record(events.encode_frame([event, event]))
    assert [events.decode(raw, "interactions") for raw in frame] == [event, event]


def test_a_field_of_a_newer_producer_is_ignored():
    newer = upload()
    newer["data"]["colour_profile"] = "sRGB"
    assert isinstance(decode(newer, "uploads"), events.UploadCreated)


def test_a_change_tells_left_out_from_emptied():
    change = decode(upload(type="riverlight.upload.changed", data={"item_id": "item-7", "title": ""}), "uploads")
    assert change.data.title == ""
    assert change.data.description is msgspec.UNSET


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (upload(type="riverlight.upload.burnt"), "burnt"),
        (upload(time="2026-11-22T10:00:00"), "timezone"),
        (upload(time="yesterday"), "RFC3339"),
        (upload(id=""), "length >= 1"),
        (upload(subject="item-8"), "must equal"),
        (upload(specversion="0.3"), "specversion"),
        (upload(data={"item_id": "item-7"}), "owner_id"),
        (upload(data={**upload()["data"], "media_id": "../../etc/passwd"}), "media_id"),
        (upload(data={**upload()["data"], "item_id": "item\u0000-7"}), "item_id"),
        (upload(data={**upload()["data"], "blocked_regions": ["de"]}), "blocked_regions"),
    ],
)
def test_an_event_outside_the_schema_is_refused_with_the_reason(broken, says):
    with pytest.raises(InvalidEvent, match=says):
        decode(broken, "uploads")


def test_only_a_search_may_name_no_item():
    with pytest.raises(InvalidEvent, match="item_id"):
        decode(interaction("click", item_id=None), "interactions")
    assert isinstance(decode(interaction("search", item_id=None, value="zebra"), "interactions"), events.Search)


def test_an_event_of_another_stream_is_refused():
    with pytest.raises(InvalidEvent):
        decode(interaction(), "uploads")


def test_an_unknown_stream_is_named_with_those_that_exist():
    with pytest.raises(NotFound, match="uploads"):
        decode(upload(), "downloads")


def test_one_bad_event_does_not_spoil_its_frame():
    raw = events.split_record(b'[{"id": 1}, ' + json.dumps(upload()).encode() + b"]")
    assert isinstance(events.decode(raw[1], "uploads"), events.UploadCreated)
    with pytest.raises(InvalidEvent):
        events.decode(raw[0], "uploads")


@pytest.mark.parametrize("frame", [b"[", b'[{"a":1},]', b"[" * 200_000, b"  [1 2]"])
def test_a_broken_frame_is_refused(frame):
    with pytest.raises(InvalidEvent, match="frame"):
        for raw in events.split_record(frame):
            events.decode(raw, "uploads")


def test_a_frame_over_the_limit_is_refused():
    with pytest.raises(InvalidEvent, match="length <="):
        events.split_record(b"[" + b",".join([b"{}"] * (events.MAX_FRAME_EVENTS + 1)) + b"]")


@given(st.binary(max_size=300))
def test_no_bytes_make_the_decoder_fail_in_another_way(data):
    try:
        for raw in events.split_record(data):
            events.decode(raw, "interactions")
    except InvalidEvent:
        pass


def test_every_event_type_has_a_key_and_a_stream():
    import typing

    for stream, union in events.STREAM_EVENTS.items():
        for event_class in typing.get_args(union) or (union,):
            assert event_class.__struct_config__.tag.startswith("riverlight."), (stream, event_class)


@given(
    st.lists(
        st.sampled_from(
            [
                interaction(),
                interaction("watch", value={"seconds": 3}),
                interaction("comment", value="two\nlines"),
                interaction("search", item_id=None, value="quer\u007fy"),
                interaction(item_id=None),
                interaction(item_id="item\t7"),
                interaction(user_id="someone else"),
                {**interaction(), "id": "a\u007fb"},
                {**interaction(), "type": "riverlight.interaction.dance"},
                upload(),
            ]
        ),
        max_size=5,
    ),
    st.sampled_from(["frame", "single", "spaced frame", "cut frame"]),
)
def test_decoding_a_record_at_once_gives_what_decoding_event_by_event_gives_or_declines(chosen, form):
    value = json.dumps(chosen if form != "single" or not chosen else chosen[0], ensure_ascii=False).encode()
    value = {"spaced frame": b" " + value, "cut frame": value[:-1]}.get(form, value)
    try:
        one_by_one = [events.decode(raw, "interactions") for raw in events.split_record(value)]
    except InvalidEvent:
        one_by_one = None
    at_once = events.decode_all(value, "interactions")
    assert at_once is None or at_once == one_by_one
    if one_by_one is not None and not any(mark in value for mark in (b"\\", b"\x7f")) and form != "spaced frame":
        assert at_once == one_by_one, "records without escapes are not declined"


@pytest.mark.parametrize("text", ["a\nb", "ends\n", "\u0000", "a\u007fb"])
@pytest.mark.parametrize("field", ["id", "source", "subject", "user_id", "item_id"])
def test_an_id_with_a_control_character_is_refused_and_named(field, text):
    event = interaction()
    if field in ("id", "source"):
        event[field] = text
    elif field == "item_id":
        event["data"]["item_id"] = text
    else:
        event["subject"] = event["data"]["user_id"] = text
    with pytest.raises(InvalidEvent, match=r"control character"):
        decode(event, "interactions")
