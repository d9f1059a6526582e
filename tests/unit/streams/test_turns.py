"""Turns by key: the order of a key is kept, and nothing else waits."""

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.turns import Turns


class Workers:
    """Works on keys for as long as it is told to; knows who was at work on what, and in which order they began."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.order: dict[str, list[int]] = {}
        self.busy: set[str] = set()
        self.most = 0

    async def work(self, number: int, keys: Sequence[str], rounds: int) -> None:
        async with self.turns.of(keys):
            assert not self.busy & set(keys), "two at a time with the same key"
            self.busy |= set(keys)
            self.most = max(self.most, len(self.busy))
            for key in set(keys):
                self.order.setdefault(key, []).append(number)
            try:
                for _ in range(rounds):
                    await asyncio.sleep(0)
            finally:
                self.busy -= set(keys)


work = st.tuples(st.lists(st.sampled_from("abcde"), max_size=3), st.integers(0, 5), st.sampled_from([None, 0, 1, 3]))


@settings(max_examples=200, deadline=None)
@given(st.lists(work, max_size=12))
async def test_of_each_key_work_is_done_in_order_one_at_a_time_whoever_is_cancelled(asked):
    workers = Workers()
    tasks = [asyncio.create_task(workers.work(n, keys, rounds)) for n, (keys, rounds, _) in enumerate(asked)]
    for n, (_, _, cancelled_after) in enumerate(asked):
        for _ in range(cancelled_after or 0):
            await asyncio.sleep(0)
        if cancelled_after is not None:
            tasks[n].cancel()
    async with asyncio.timeout(5):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ended), ended
    for key, numbers in workers.order.items():
        assert numbers == sorted(numbers)
        wanted = {n for n, (keys, _, cancelled) in enumerate(asked) if key in keys and cancelled is None}
        assert wanted <= set(numbers)
    for _ in range(3 * len(asked)):
        await asyncio.sleep(0)  # those that were cancelled leave when those before them have
    assert workers.turns._last == {}


async def test_work_on_different_keys_is_done_side_by_side():
    workers = Workers()
    await asyncio.gather(*(workers.work(n, [key], 3) for n, key in enumerate("abcd")))
    assert workers.most == 4


async def test_who_is_cancelled_while_waiting_lets_nobody_pass_who_is_before():
    turns, gate, entered = Turns(), asyncio.Event(), list[str]()

    async def first() -> None:
        async with turns.of(["a"]):
            await gate.wait()
            entered.append("first ends")

    async def other(name: str) -> None:
        async with turns.of(["a"]):
            entered.append(name)

    tasks = [asyncio.create_task(one) for one in (first(), other("second"), other("third"))]
    await asyncio.sleep(0)
    tasks[1].cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert entered == []
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert entered == ["first ends", "third"]
