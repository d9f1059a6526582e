"""The live index against the oracle, under any order of operations, and under load."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.entries import Version
from core.errors import InvalidVector
from core.ports import SearchFilter
from core.settings import IndexSettings
from models.index import LiveIndex, load_snapshot
from tests.fakes.vector_index import DictIndex
from tests.unit.models.index.entries import DIM, MODEL, clustered, entry

VECTORS = clustered(64, seed=1)
ITEMS = st.sampled_from([f"item-{i}" for i in range(12)])
TIMES = st.integers(1, 30)
FILTERS = st.one_of(
    st.none(),
    st.builds(
        SearchFilter,
        owner_id=st.sampled_from([None, "ann", "bob"]),
        category=st.sampled_from([None, "cats"]),
        tags_any=st.sampled_from([(), ("red",), ("red", "blue")]),
        region=st.sampled_from([None, "AT"]),
        include_private_of=st.sampled_from([None, "ann"]),
        exclude_item_ids=st.lists(ITEMS, max_size=3).map(tuple),
    ),
)


class AgainstTheOracle(RuleBasedStateMachine):
    """Whatever is applied, removed, repeated, late, merged, saved and loaded: the index agrees with a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = IndexSettings(kind="hnsw", train_at=4, hnsw_m=4, hnsw_ef_construction=16, snapshots_kept=2)
        self.live = LiveIndex(DIM, MODEL, self.settings, fresh_rows=4)
        self.folder = TemporaryDirectory()
        self.oracle = DictIndex(DIM)
        self.given: list = []

    def teardown(self) -> None:
        self.live.close()
        self.folder.cleanup()

    @rule(
        item=ITEMS,
        at=TIMES,
        vector=st.integers(0, 63),
        state=st.sampled_from(["active", "active", "hidden"]),
        visibility=st.sampled_from(["public", "public", "private"]),
        unsafe=st.sampled_from([False, False, True]),
        owner=st.sampled_from(["ann", "bob"]),
        category=st.sampled_from(["cats", "dogs"]),
        tags=st.lists(st.sampled_from(["red", "blue"]), max_size=2),
        regions=st.sampled_from([[], ["AT"]]),
    )
    def apply(self, item, at, vector, state, visibility, unsafe, owner, category, tags, regions) -> None:
        given = entry(
            item,
            VECTORS[vector],
            at=at,
            state=state,
            visibility=visibility,
            unsafe=unsafe,
            owner_id=owner,
            category=category,
            tags=tags,
            blocked_regions=regions,
        )
        self.given.append(given)
        assert self.live.apply(given) == self.oracle.apply(given)

    @precondition(lambda self: self.given)
    @rule(choice=st.integers(0, 1000))
    def apply_an_earlier_entry_again(self, choice) -> None:
        repeated = self.given[choice % len(self.given)]
        assert self.live.apply(repeated) == self.oracle.apply(repeated)

    @rule(item=ITEMS, at=TIMES)
    def remove(self, item, at) -> None:
        version = Version(time_us=at, seq=0)
        assert self.live.remove(item, version) == self.oracle.remove(item, version)

    @rule(vector=st.integers(0, 63), k=st.integers(1, 15), where=FILTERS, exact=st.booleans())
    def search(self, vector, k, where, exact) -> None:
        # With at most 12 items, a graph search of breadth 128 visits every one: approximate answers are exact too.
        got = self.live.search(VECTORS[vector], k, where, exact=exact)
        wanted = self.oracle.search(VECTORS[vector], k, where)
        assert [hit.score for hit in got] == pytest.approx([hit.score for hit in wanted], abs=2e-3)
        everything = {hit.entry.item_id for hit in self.oracle.search(VECTORS[vector], 100, where)}
        assert {hit.entry.item_id for hit in got} <= everything

    @rule()
    def let_the_background_finish(self) -> None:
        assert self.live.settle(30)
        assert self.live.stats().last_rebuild_error is None

    @rule()
    def save_and_load(self) -> None:
        before = self.live.state_hash()
        folder = Path(self.folder.name)
        self.live.save_snapshot(folder, positions={0: 7}, epoch="e")
        self.live.close()
        loaded = load_snapshot(folder, self.settings)
        assert loaded is not None
        self.live = loaded.index
        assert self.live.state_hash() == before

    @invariant()
    def the_same_items_are_there(self) -> None:
        assert len(self.live) == len(self.oracle)
        for i in range(12):
            ours, theirs = self.live.get(f"item-{i}"), self.oracle.get(f"item-{i}")
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                assert (ours.version, ours.state, ours.event_id) == (theirs.version, theirs.state, theirs.event_id)


TestAgainstTheOracle = AgainstTheOracle.TestCase
TestAgainstTheOracle.settings = hypothesis_settings(max_examples=40, stateful_step_count=40, deadline=None)


def test_an_entry_of_another_model_is_refused() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"))
    with pytest.raises(InvalidVector, match="embedded by 'other'"):
        index.apply(entry("a", VECTORS[0], model_version="other"))
    index.close()


def test_a_removal_is_remembered_up_to_the_limit_and_forgetting_is_counted() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat", tombstones_kept=3))
    for i in range(5):
        index.remove(f"item-{i}", Version(time_us=9, seq=0))
    assert (index.stats().tombstones, index.stats().tombstones_forgotten) == (3, 2)
    assert not index.apply(entry("item-4", VECTORS[4], at=5))
    assert index.apply(entry("item-0", VECTORS[0], at=5))
    index.close()


def test_removed_rows_leave_memory_once_they_are_a_tenth() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"), fresh_rows=16)
    for i in range(64):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    assert index.settle(30)
    for i in range(20):
        index.remove(f"item-{i}", Version(time_us=9, seq=0))
    assert index.settle(30)
    assert index.stats().rows < 64
    assert index.stats().items == 44
    index.close()


def test_media_leads_to_the_item_that_shows_it_visible_ones_first() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"))
    media = "ab" * 32
    index.apply(entry("shown", VECTORS[0], media_id=media))
    index.apply(entry("hidden", VECTORS[0], media_id=media, state="hidden"))
    found = index.by_media(media)
    assert found is not None and found.item_id == "shown"
    index.remove("shown", Version(time_us=5, seq=0))
    found = index.by_media(media)
    assert found is not None and found.item_id == "hidden"
    assert index.by_media("cd" * 32) is None
    index.close()


def test_media_leads_to_what_is_not_refused_and_else_to_what_is() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"))
    media = "ab" * 32
    for name, state in (("shown", "active"), ("refused", "active"), ("hidden", "hidden")):
        index.apply(entry(name, VECTORS[0], media_id=media, state=state))
    refused = {"refused"}
    for expected in ("shown", "refused"):
        found = index.by_media(media, lambda one: one.item_id in refused)
        assert found is not None and found.item_id == expected
        refused.add("shown")
        index.remove("shown", Version(time_us=5, seq=0))
    index.close()


def test_two_indexes_are_equal_whatever_the_order_and_kind_and_their_differences_are_named() -> None:
    one = LiveIndex(DIM, MODEL, IndexSettings(kind="hnsw", train_at=8), fresh_rows=8)
    two = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"))
    for i in range(40):
        one.apply(entry(f"item-{i}", VECTORS[i]))
        two.apply(entry(f"item-{39 - i}", VECTORS[39 - i]))
    assert one.settle(30)
    assert one.state_hash() == two.state_hash()
    assert not one.differences(two)
    one.remove("item-1", Version(time_us=2, seq=0))
    one.apply(entry("item-2", VECTORS[2], at=2, state="hidden"))
    one.apply(entry("new", VECTORS[3]))
    assert one.state_hash() != two.state_hash()
    found = one.differences(two)
    assert (found.missing, found.extra, found.different) == (("item-1",), ("new",), ("item-2",))
    one.close()
    two.close()


def test_an_index_rebuilt_from_its_own_entries_is_the_same_to_the_bit() -> None:
    one = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"))
    two = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"))
    for i in range(40):
        one.apply(entry(f"item-{i}", VECTORS[i] * np.float32(7)))
        kept = one.get(f"item-{i}")
        assert kept is not None
        two.apply(kept)
    assert one.state_hash() == two.state_hash()
    one.close()
    two.close()


@pytest.mark.parametrize("kind", ["hnsw", "ivf_sq8", "tree"])
def test_readers_and_writers_at_once_neither_crash_nor_miss_nor_see_what_is_gone(kind: str) -> None:
    """In a process of its own, because what FAISS does to a broken rule is end the process."""
    script = Path(__file__).with_name("stress.py")
    root = Path(__file__).parents[4]
    run = subprocess.run(
        [sys.executable, str(script), kind, "4"],
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
