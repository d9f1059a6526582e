"""Snapshots: what is saved comes back, and what was damaged is not believed."""

import json
import random
import shutil
import threading
from pathlib import Path

import pytest

from core.entries import IndexEntry, Version
from core.errors import IntegrityError
from core.settings import IndexSettings
from infra.chaos.damage import damage
from models.index import LiveIndex, load_snapshot
from models.index.snapshot_files import FORMAT
from models.index.snapshot_folder import body_hash
from tests.unit.models.index.entries import DIM, MODEL, clustered, entry

VECTORS = clustered(60, seed=2)
MANY = clustered(640, seed=6)
SETTINGS = IndexSettings(kind="flat", snapshots_kept=2)
TRAINED = IndexSettings(kind="ivf_sq8", train_at=64)


def filled(n: int = 30) -> LiveIndex:
    index = LiveIndex(DIM, MODEL, SETTINGS, fresh_rows=8)
    for i in range(n):
        index.apply(entry(f"item-{i}", VECTORS[i], tags=["red"], blocked_regions=["AT"], title=f"title {i}"))
    index.remove("item-0", Version(time_us=9, seq=1))
    index.apply(entry("item-1", VECTORS[1], at=2, state="hidden"))
    return index


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, str]:
    index = filled()
    index.save_snapshot(tmp_path, positions={0: 12, 3: 99}, epoch="topic-1")
    index.close()
    return tmp_path, index.state_hash()


def test_an_index_comes_back_with_its_items_removals_and_positions(saved: tuple[Path, str]) -> None:
    folder, state = saved
    loaded = load_snapshot(folder, SETTINGS, model_version=MODEL)
    assert loaded is not None
    assert (loaded.positions, loaded.epoch, loaded.path.name) == ({0: 12, 3: 99}, "topic-1", "v1")
    assert loaded.index.state_hash() == state
    assert not loaded.index.apply(entry("item-0", VECTORS[0], at=8))
    kept = loaded.index.get("item-5")
    assert kept is not None and (kept.title, kept.tags, kept.blocked_regions) == ("title 5", ["red"], ["AT"])
    [hit] = loaded.index.search(VECTORS[5], 1)
    assert hit.entry.item_id == "item-5"
    loaded.index.close()


def test_an_empty_index_comes_back_empty(tmp_path: Path) -> None:
    index = LiveIndex(DIM, MODEL, SETTINGS)
    index.save_snapshot(tmp_path, positions={}, epoch="e")
    index.close()
    loaded = load_snapshot(tmp_path, SETTINGS)
    assert loaded is not None and len(loaded.index) == 0
    assert loaded.index.apply(entry("a", VECTORS[0]))
    loaded.index.close()


def test_a_loaded_index_builds_its_structure_in_the_background(saved: tuple[Path, str]) -> None:
    folder, state = saved
    loaded = load_snapshot(folder, IndexSettings(kind="hnsw", train_at=1))  # segments of any size
    assert loaded is not None
    assert loaded.index.settle(30)
    assert loaded.index.stats().structured_rows == 29
    assert loaded.index.state_hash() == state
    loaded.index.close()


def test_the_newest_snapshots_are_kept_and_abandoned_ones_cleared(tmp_path: Path) -> None:
    index = filled()
    (tmp_path / ".writing-crashed").mkdir()
    paths = [index.save_snapshot(tmp_path, positions={0: n}, epoch="e") for n in range(4)]
    index.close()
    assert [path.name for path in paths] == ["v1", "v2", "v3", "v4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v3", "v4"]


def test_two_replicas_that_save_into_one_folder_at_once_both_succeed(tmp_path: Path) -> None:
    indexes = [filled(), filled(20)]
    threads = [
        threading.Thread(
            target=lambda index=index: [index.save_snapshot(tmp_path, positions={0: 1}, epoch="e") for _ in range(5)]
        )
        for index in indexes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v10", "v9"]
    loaded = load_snapshot(tmp_path, SETTINGS)
    assert loaded is not None and loaded.skipped == ()
    assert loaded.index.state_hash() in {index.state_hash() for index in indexes}
    for one in (*indexes, loaded.index):
        one.close()


def test_nothing_to_load_is_none(tmp_path: Path) -> None:
    assert load_snapshot(tmp_path / "missing", SETTINGS) is None
    (tmp_path / "v1.tmp").mkdir()
    assert load_snapshot(tmp_path, SETTINGS) is None


def logged() -> list[IndexEntry]:
    """A log of entries: the place of each is its offset."""
    rng = random.Random(11)
    return [
        entry(f"item-{rng.randrange(150)}", VECTORS[i % 60], at=i + 1, tags=[f"tag-{i % 3}"], title=f"title {i}")
        for i in range(300)
    ]


@pytest.fixture(scope="module")
def two_snapshots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Snapshots after 200 and after 300 records of the log, with trained structures; and the state in the end."""
    folder = tmp_path_factory.mktemp("snapshots")
    index = LiveIndex(DIM, MODEL, TRAINED, fresh_rows=32, folder=folder)
    for offset, given in enumerate(logged()):
        index.apply(given)
        if offset + 1 in (200, 300):
            assert index.settle(30)
            index.save_snapshot(folder, positions={0: offset + 1}, epoch="topic-1")
    index.close()
    return folder, index.state_hash()


@pytest.mark.parametrize("seed", range(200))
def test_a_damaged_snapshot_is_refused_and_the_one_before_with_the_log_gives_the_same_state(
    two_snapshots: tuple[Path, str], tmp_path: Path, seed: int
) -> None:
    whole, state = two_snapshots
    for name in ("v1", "v2"):
        shutil.copytree(whole / name, tmp_path / name)
    victim = damage(tmp_path / "v2", random.Random(seed)).file
    loaded = load_snapshot(tmp_path, TRAINED)
    assert loaded is not None
    assert loaded.path.name == "v1"
    assert victim.name in loaded.skipped[0] or victim.name == "manifest.json"
    for given in logged()[loaded.positions[0] :]:
        loaded.index.apply(given)
    assert loaded.index.state_hash() == state
    loaded.index.close()


def test_snapshots_that_follow_each_other_share_no_file_but_every_other_one_does(tmp_path: Path) -> None:
    index = LiveIndex(DIM, MODEL, TRAINED, fresh_rows=32, folder=tmp_path)
    for given in logged():
        index.apply(given)
    assert index.settle(30)
    paths = [index.save_snapshot(tmp_path, positions={0: 300}, epoch="e") for _ in range(3)]
    index.close()
    inodes = [{file.stat().st_ino for file in path.glob("segment-0.*")} for path in paths]
    assert not inodes[0] & inodes[1]
    assert not inodes[1] & inodes[2]
    assert inodes[0] == inodes[2]


def test_a_loaded_index_goes_on_when_its_snapshot_and_its_folder_are_removed(tmp_path: Path) -> None:
    index = LiveIndex(DIM, MODEL, TRAINED, fresh_rows=32)
    for given in logged():
        index.apply(given)
    index.save_snapshot(tmp_path / "a", positions={0: 300}, epoch="e")
    loaded = load_snapshot(tmp_path / "a", TRAINED)
    assert loaded is not None
    while (tmp_path / "a").exists():  # the index's own thread makes and removes files in it meanwhile
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
    state = loaded.index.state_hash()
    assert state == index.state_hash()
    loaded.index.save_snapshot(tmp_path / "b", positions={0: 300}, epoch="e")
    again = load_snapshot(tmp_path / "b", TRAINED)
    assert again is not None and again.index.state_hash() == state
    for one in (index, loaded.index, again.index):
        one.close()


@pytest.mark.parametrize("kind", ["tree", "lsh", "ivf_flat", "ivf_sq8", "ivf_pq", "hnsw"])
def test_structures_come_back_trained_and_find_the_same(kind: str, tmp_path: Path) -> None:
    settings = IndexSettings(kind=kind, train_at=64, pq_m=8)
    index = LiveIndex(DIM, MODEL, settings, fresh_rows=64)
    for i in range(640):
        index.apply(entry(f"item-{i}", MANY[i]))
    assert index.settle(30)
    for i in range(0, 20, 2):
        index.remove(f"item-{i}", Version(time_us=9, seq=0))
    index.save_snapshot(tmp_path, positions={}, epoch="e")
    loaded = load_snapshot(tmp_path, settings)
    assert loaded is not None
    loaded.index.close()  # before its background thread could build anything
    before, after = index.stats(), loaded.index.stats()
    assert after.structured_rows >= 512
    assert (after.items, after.probe) == (before.items, before.probe)
    for query in MANY[:20]:
        ours, theirs = index.search(query, 10), loaded.index.search(query, 10)
        assert [(hit.entry.item_id, hit.score) for hit in ours] == [(hit.entry.item_id, hit.score) for hit in theirs]
    index.close()


def test_a_snapshot_of_another_kind_is_loaded_and_built_anew(two_snapshots: tuple[Path, str]) -> None:
    folder, state = two_snapshots
    loaded = load_snapshot(folder, IndexSettings(kind="hnsw", train_at=64))
    assert loaded is not None
    assert loaded.index.settle(30)
    assert loaded.index.stats().structured_rows >= 64
    assert loaded.index.state_hash() == state
    loaded.index.close()


def test_a_snapshot_of_the_format_before_is_passed_over_and_said_so(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    manifest = folder / "v1" / "manifest.json"
    body = json.loads(manifest.read_text())["body"] | {"format": 1}
    manifest.write_text(json.dumps({"body": body, "sha256": body_hash(body)}))
    reasons: list[str] = []
    assert load_snapshot(folder, SETTINGS, on_skipped=reasons.append) is None
    assert reasons == ["v1: snapshot format 1 is not read any more"]


def test_when_every_snapshot_is_damaged_there_is_none(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    (folder / "v1" / "segment-0.vectors.f16").write_bytes(b"")
    assert load_snapshot(folder, SETTINGS) is None


def test_a_snapshot_of_a_newer_release_is_refused(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    manifest = folder / "v1" / "manifest.json"
    body = json.loads(manifest.read_text())["body"] | {"format": FORMAT + 1}
    manifest.write_text(json.dumps({"body": body, "sha256": body_hash(body)}))
    with pytest.raises(IntegrityError, match="newer release"):
        load_snapshot(folder, SETTINGS)


def test_a_snapshot_of_another_model_is_passed_over(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    assert load_snapshot(folder, SETTINGS, model_version="other") is None
