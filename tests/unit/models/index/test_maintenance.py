"""Which segments are merged, and when."""

import threading
import time

from core.settings import IndexSettings
from models.index.live import LiveIndex
from models.index.maintenance import plan
from models.index.sealed import SealedSegment, seal
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


def test_a_writer_is_held_up_while_too_much_waits_to_be_sealed(monkeypatch) -> None:
    go = threading.Event()

    def wait_then_seal(*arguments: object, **options: object) -> SealedSegment:
        assert go.wait(60)
        return seal(*arguments, **options)

    monkeypatch.setattr("models.index.maintenance.seal", wait_then_seal)
    monkeypatch.setattr("models.index.live._LONGEST_WAIT_S", 60.0)
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"), fresh_rows=8)
    writer = threading.Thread(target=lambda: [index.apply(entry(f"item-{i}", VECTORS[i])) for i in range(100)])
    writer.start()
    deadline = time.monotonic() + 30
    while len(index) < 33 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(index) == 33  # four full segments wait, and the first row of a fifth is there
    assert index.search(VECTORS[32], 1)[0].entry.item_id == "item-32"
    go.set()
    writer.join(timeout=60)
    assert len(index) == 100
    assert index.settle(30)
    index.close()


def test_a_writer_is_not_held_up_for_ever_when_the_background_fails(monkeypatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("models.index.maintenance.seal", broken)
    monkeypatch.setattr("models.index.live._LONGEST_WAIT_S", 60.0)
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="flat"), fresh_rows=8)
    writer = threading.Thread(target=lambda: [index.apply(entry(f"item-{i}", VECTORS[i])) for i in range(100)])
    writer.start()
    writer.join(timeout=60)
    assert not writer.is_alive()
    assert index.stats().last_rebuild_error == "OSError: disk full"
    assert index.search(VECTORS[70], 1)[0].entry.item_id == "item-70"
    index.close()


def test_a_new_codebook_is_learnt_when_the_index_has_outgrown_the_old_one() -> None:
    index = LiveIndex(DIM, MODEL, IndexSettings(kind="ivf_sq8", train_at=64), fresh_rows=32)
    for i in range(96):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    assert index.settle(30)
    first = index.codebook
    assert first is not None and first.trained_rows == 64
    for i in range(96, 400):
        index.apply(entry(f"item-{i}", VECTORS[i]))
    assert index.settle(30)
    assert index.codebook is not None and index.codebook.trained_rows >= 256
    used = {segment.structure.codebook.id for segment in index.segments()[:-1]}
    assert used == {index.codebook.id}
    index.close()
