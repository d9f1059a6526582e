"""The inbox: bounded, in order, and chunks that are cut still touch."""

import asyncio
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from streams.inbox import Chunk, Inbox


def chunk(start: int, offsets: list[int], sizes: list[int]) -> Chunk:
    records = [SimpleNamespace(offset=offset, value=b"x" * size) for offset, size in zip(offsets, sizes, strict=True)]
    return Chunk(("t", 0), records, start, offsets[-1] + 1, (1, 0), sum(sizes))


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), min_size=1, max_size=8), max_size=6),
    st.integers(1, 10),
    st.integers(1, 30),
)
def test_whatever_is_taken_the_chunks_touch_and_hold_every_record_in_order(fetches, records, size):
    inbox = Inbox(5, 50)
    at = 10
    expected = []
    for fetch in fetches:
        start, offsets = at, []
        for step, _ in fetch:  # a step above one: the broker removed what was between
            at += step
            offsets.append(at)
        at += 1
        expected += offsets
        inbox.put(chunk(start, offsets, [length for _, length in fetch]))
    taken = []
    position = 10
    while len(inbox):
        batch = inbox.take(records, size)
        assert 1 <= sum(len(one.records) for one in batch) <= records
        held = [len(record.value) for one in batch for record in one.records]
        assert sum(held[:-1]) < size, "only the last record goes over the bound"
        for one in batch:
            assert one.start == position
            assert one.bytes == sum(len(record.value) for record in one.records)
            position = one.end
            taken += [record.offset for record in one.records]
    assert taken == expected
    assert inbox.take(records, size) == []


async def test_who_fetches_waits_for_room_in_records_and_in_bytes_and_who_takes_waits_for_something():
    inbox = Inbox(max_records=2, max_bytes=100)
    waiting = asyncio.create_task(inbox.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put(chunk(0, [0, 1], [1, 1]))
    await asyncio.wait_for(waiting, 5)
    assert await inbox.wait_for_room(0.001) is False
    inbox.take(1, 1000)
    assert await inbox.wait_for_room(5) is True
    inbox.put(chunk(2, [2], [200]))
    inbox.take(1, 1)
    assert await inbox.wait_for_room(0.001) is False, "one record, but too many bytes"
    inbox.clear()
    assert await inbox.wait_for_room(5) is True
    assert len(inbox) == 0
