"""Ids of counted events: found again exactly, in files that memory does not grow with."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import seen_ids
from features.seen_ids import Run, digest, merge_runs, pack, runs_to_merge, search, unpack, write_run

DAY = 20_000


def ids(first: int, count: int, day: int = DAY) -> dict[bytes, int]:
    return {digest(f"evt-{number}"): day for number in range(first, first + count)}


def test_what_was_written_is_found_and_nothing_else(tmp_path: Path) -> None:
    kept = ids(0, 5_000)
    run = write_run(tmp_path / "a", kept, 0)
    assert run is not None
    asked = [*ids(4_000, 3_000)]
    random.Random(1).shuffle(asked)
    assert search([run], asked, 0) == set(ids(4_000, 1_000))
    reopened = Run.open(tmp_path / "a")
    assert search([reopened], [*kept], 0) == set(kept)
    assert bool((np.diff(reopened.high.astype(object)) >= 0).all())


def test_ids_that_share_the_half_that_is_searched_are_told_apart(tmp_path: Path) -> None:
    half = (7).to_bytes(8, "little")
    kept = {half + number.to_bytes(8, "little"): DAY for number in range(5)}
    run = write_run(tmp_path / "a", kept, 0)
    assert run is not None
    asked = [half + number.to_bytes(8, "little") for number in range(3, 9)]
    assert search([run], asked, 0) == set(asked[:2])


def test_merging_keeps_every_id_and_drops_what_is_forgotten(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", ids(0, 3_000, DAY), 0),
        write_run(tmp_path / "b", ids(3_000, 200, DAY + 1), 0),
        write_run(tmp_path / "c", ids(3_200, 7, DAY + 2), 0),
    ]
    merged = merge_runs(tmp_path / "d", [run for run in runs if run is not None], DAY + 1)
    assert merged is not None
    assert len(merged.high) == 207
    assert (tmp_path / "d").stat().st_size == 207 * seen_ids.ID_BYTES
    asked = [*ids(2_990, 300)]
    assert search([merged], asked, DAY + 1) == set(ids(3_000, 207))
    assert search([merged], asked, DAY + 2) == set(ids(3_200, 7)), "forgotten, though still in the file"
    assert merge_runs(tmp_path / "e", [merged], DAY + 3) is None
    assert not (tmp_path / "e").exists()


@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(0, 2**16 - 1), max_size=20))
def test_packed_ids_unpack_to_the_same(kept: dict[bytes, int]) -> None:
    packed = pack(kept)
    assert unpack(packed) == kept
    assert len(packed) == seen_ids.ID_BYTES * len(kept)


@given(st.lists(st.integers(50_000, 150_000), min_size=1, max_size=200))
def test_runs_stay_few_and_an_id_is_seldom_written_again(added: list[int]) -> None:
    sizes: list[int] = []
    written = 0
    for size in added:
        sizes.append(size)
        written += size
        count = runs_to_merge(sizes)
        if count > 1:
            together = sum(sizes[-count:])
            sizes = [*sizes[:-count], together]
            written += together
        assert all(older >= 2 * newer for older, newer in pairwise(sizes))
    assert sum(sizes) == sum(added)
    assert len(sizes) <= 10
    assert written <= 10 * sum(added)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert write_run(path, ids(0, 10), 0) is not None
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="179 bytes"):
        Run.open(path)
