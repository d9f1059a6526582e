"""Damage to a snapshot's files: seeded, of every kind, and never none at all."""

import random
from pathlib import Path

from infra.chaos.damage import damage

FILES = {"manifest.json": b"{}", "segment-0.rows": bytes(100)}


def snapshot(folder: Path) -> Path:
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_seed_changes_exactly_the_file_it_names_and_all_kinds_come_up(tmp_path: Path) -> None:
    kinds = set()
    for seed in range(60):
        folder = snapshot(tmp_path / str(seed))
        done = damage(folder, random.Random(seed))
        found = read(folder)
        changed = {name for name in FILES if found.get(name) != FILES[name]}
        assert changed == {done.file.name}, done
        kinds.add((done.how, done.file.name))
    assert kinds == {(how, name) for how in ("flip", "truncate", "append", "remove", "empty") for name in FILES}


def test_the_same_seed_does_the_same(tmp_path: Path) -> None:
    folders = [snapshot(tmp_path / name) for name in ("a", "b")]
    assert len({str(damage(folder, random.Random(7))) for folder in folders}) == 1
    assert read(folders[0]) == read(folders[1])
