"""Snapshots: what is saved comes back, and what was damaged is not believed."""

import json
import random
import shutil
from pathlib import Path

import pytest

from core.entries import Version
from core.errors import IntegrityError
from core.settings import IndexSettings
from models.index import LiveIndex, load_snapshot
from models.index.snapshot_files import FORMAT, _body_hash
from tests.unit.models.index.entries import DIM, MODEL, clustered, entry

VECTORS = clustered(60, seed=2)
SETTINGS = IndexSettings(kind="flat", snapshots_kept=2)


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
    loaded = load_snapshot(folder, IndexSettings(kind="hnsw", train_at=8))
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


def test_nothing_to_load_is_none(tmp_path: Path) -> None:
    assert load_snapshot(tmp_path / "missing", SETTINGS) is None
    (tmp_path / "v1.tmp").mkdir()
    assert load_snapshot(tmp_path, SETTINGS) is None


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_snapshot_is_refused_or_equal_and_the_one_before_is_used(saved: tuple[Path, str], seed: int) -> None:
    folder, state = saved
    older = folder / "v1"
    newest = folder / "v2"
    shutil.copytree(older, newest)
    rng = random.Random(seed)
    victim = rng.choice(sorted(newest.iterdir()))
    data = bytearray(victim.read_bytes())
    damage = rng.choice(["flip", "flip", "truncate", "append", "remove", "empty"])
    if damage == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif damage == "truncate":
        del data[rng.randrange(len(data)) :]
    elif damage == "append":
        data += b"\0"
    elif damage == "empty":
        data.clear()
    victim.write_bytes(data)
    if damage == "remove":
        victim.unlink()
    loaded = load_snapshot(folder, SETTINGS)
    assert loaded is not None
    assert loaded.index.state_hash() == state
    assert (loaded.positions, loaded.epoch) == ({0: 12, 3: 99}, "topic-1")
    if victim.name != "manifest.json":
        assert loaded.path == older
        assert victim.name in loaded.skipped[0]
    loaded.index.close()


def test_when_every_snapshot_is_damaged_there_is_none(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    (folder / "v1" / "segment-0.vectors.f16").write_bytes(b"")
    assert load_snapshot(folder, SETTINGS) is None


def test_a_snapshot_of_a_newer_release_is_refused(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    manifest = folder / "v1" / "manifest.json"
    body = json.loads(manifest.read_text())["body"] | {"format": FORMAT + 1}
    manifest.write_text(json.dumps({"body": body, "sha256": _body_hash(body)}))
    with pytest.raises(IntegrityError, match="newer release"):
        load_snapshot(folder, SETTINGS)


def test_a_snapshot_of_another_model_is_passed_over(saved: tuple[Path, str]) -> None:
    folder, _ = saved
    assert load_snapshot(folder, SETTINGS, model_version="other") is None
