import hashlib

from hypothesis import given
from hypothesis import strategies as st

from core.ids import derived_id, event_id, is_media_id, media_id, new_trace_id


def test_media_are_named_by_their_bytes():
    assert media_id(b"zebra") == hashlib.sha256(b"zebra").hexdigest()
    assert is_media_id(media_id(b"zebra"))


def test_nothing_but_a_hash_is_a_media_id():
    for name in ("", "a" * 63, "A" * 64, "a" * 64 + "\n", "../" + "a" * 61, "a" * 63 + "/", "g" * 64):
        assert not is_media_id(name), name


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_the_same_cause_gives_the_same_id_and_moving_a_boundary_does_not(producer, left, right):
    assert event_id(producer, left, right) == event_id(producer, left, right)
    if right:
        assert event_id(producer, left, right) != event_id(producer, left + right)


def test_derived_ids_differ_by_step_and_version():
    ids = {derived_id("evt-1", "embed"), derived_id("evt-1", "blur"), derived_id("evt-1", "embed", "2")}
    assert len(ids) == 3


def test_trace_ids_are_w3c_and_new():
    assert len({new_trace_id() for _ in range(100)}) == 100
    assert len(new_trace_id()) == 32
