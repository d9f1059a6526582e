"""Which segments are merged, and when."""

from core.settings import IndexSettings
from models.index.live import LiveIndex
from models.index.maintenance import plan
from models.index.segments import SealedSegment
from tests.unit.models.index.entries import DIM, MODEL, clustered, entry

VECTORS = clustered(400, seed=5)


def test_an_index_of_many_rows_has_few_segments() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"), fresh_rows=8)
    for i in range(400):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    assert index.settle(30)
    assert index.stats().segments <= 7
    assert index.stats().items == 400
    index.close()


def test_a_segment_that_is_still_being_filled_is_left_alone() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"), fresh_rows=8)
    for i in range(5):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    assert plan(index.segments(), index.settings) == ()
    index.close()


def test_a_structure_is_built_once_there_are_rows_enough_to_train_it() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="ivf_flat", train_at=64), fresh_rows=32)
    for i in range(32):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    assert index.settle(30)
    assert index.stats().structured_rows == 0
    for i in range(32, 200):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    assert index.settle(30)
    assert index.stats().structured_rows >= 128
    index.close()


def test_closing_does_not_wait_for_a_long_build_and_searching_still_works() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="hnsw", train_at=8, hnsw_ef_construction=400), fresh_rows=64)
    for i in range(400):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    index.close()
    assert index.search(VECTORS[3], 1)[0].entry.item_id == "item-3"
    assert index.apply(entry("late", VECTORS[4]))


def test_an_error_in_the_background_is_shown_and_searches_go_on(monkeypatch) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(SealedSegment, "__init__", broken)
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"), fresh_rows=8)
    for i in range(30):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    assert index.settle(30)
    assert index.stats().last_rebuild_error == "MemoryError: no room"
    assert index.search(VECTORS[3], 1)[0].entry.item_id == "item-3"
    index.close()
