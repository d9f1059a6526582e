from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.entries import IndexEntry, Version, decode_entry, encode_entry, pack_vector, unpack_vector
from core.errors import InvalidEvent, InvalidVector


def test_the_newer_event_time_wins_and_the_offset_breaks_ties():
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    later = datetime(2026, 11, 22, 12, 0, 0, 1, tzinfo=UTC)
    assert Version.of(noon, seq=9) < Version.of(later, seq=0)
    assert Version.of(noon, seq=9) < Version.of(noon, seq=10)


@given(st.integers(0, 2**60), st.integers(0, 2**60))
def test_a_version_survives_its_header(time_us, seq):
    version = Version(time_us=time_us, seq=seq)
    assert Version.from_header(version.header()) == version


@pytest.mark.parametrize("header", [b"", b"12", b"a:b", b"\xff:1", b"1:2:3"])
def test_a_broken_version_header_is_refused(header):
    with pytest.raises(InvalidEvent):
        Version.from_header(header)


def test_an_entry_survives_its_record():
    vector = np.array([0.6, 0.8], dtype=np.float32)
    entry = IndexEntry(
        item_id="i",
        version=Version(1, 2),
        media_id="a" * 64,
        owner_id="o",
        vector=pack_vector(vector),
        model_version="m/1",
        event_id="e",
    )
    read = decode_entry(encode_entry(entry))
    assert read == entry
    np.testing.assert_array_equal(unpack_vector(read.vector), vector)


@pytest.mark.parametrize(
    "vector", [np.array([np.nan, 1]), np.array([np.inf, 1]), np.zeros(2), np.zeros(0), np.ones((2, 2))]
)
def test_a_vector_without_a_direction_is_refused(vector):
    with pytest.raises(InvalidVector):
        pack_vector(vector.astype(np.float32))


def test_bytes_that_are_no_entry_are_refused():
    for value in (b"", b"{}", b"null", b"[1]"):
        with pytest.raises(InvalidEvent):
            decode_entry(value)
    with pytest.raises(InvalidVector):
        unpack_vector(b"abc")
