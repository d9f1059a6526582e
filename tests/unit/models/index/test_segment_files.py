"""The files of a segment, and the folder they are in."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from models.index.segment_files import CHUNK_ROWS, Chunk, write_rows
from models.index.segment_folder import SegmentFolder


def chunk(start: int, stop: int) -> Chunk:
    numbers = range(start, stop)
    texts = [b"entry %d" % number for number in numbers]
    vectors = np.array([[number % 1_000, 1] for number in numbers], dtype=np.float16)
    return Chunk(vectors, np.array([len(text) for text in texts]), b"".join(texts))


def test_rows_are_read_one_by_one_in_runs_and_in_chunks(tmp_path: Path) -> None:
    n_rows = CHUNK_ROWS + 900
    files = write_rows(tmp_path, "s", 2, [chunk(0, 1_000), chunk(1_000, n_rows)])
    assert files.n_rows == n_rows
    assert files.entries(np.array([4_321, 9, 9])) == [b"entry 4321", b"entry 9", b"entry 9"]
    assert files.entries(np.array([], dtype=np.int64)) == []
    assert files.entries_between(9, 12) == b"entry 9entry 10entry 11"
    assert files.vectors(np.array([7, 2_005]))[:, 0].tolist() == [7, 5]
    assert files.vectors_between(998, 1_002)[:, 0].tolist() == [998, 999, 0, 1]
    chosen = np.array([3, 4_000, CHUNK_ROWS, n_rows - 1])
    parts = list(files.chunks(chosen))
    assert b"".join(part.entries for part in parts) == b"".join(b"entry %d" % row for row in chosen)
    assert np.concatenate([part.vectors for part in parts])[:, 0].tolist() == [row % 1_000 for row in chosen]
    assert [part.lengths.tolist() for part in parts] == [[7, 10], [10, 10]]


def test_files_go_when_nothing_refers_to_them_and_stay_when_asked_to(tmp_path: Path) -> None:
    gone = write_rows(tmp_path, "gone", 2, [chunk(0, 3)])
    kept = write_rows(tmp_path, "kept", 2, [chunk(0, 3)], keep=True)
    del gone, kept
    gc.collect()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.entries.bin", "kept.vectors.f16"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield chunk(0, 3)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_rows(tmp_path, "s", 2, broken())
    assert list(tmp_path.iterdir()) == []


def killed_with_a_folder(argument: str, temporary: Path) -> Path:
    """Return the folder that a process had when it got SIGKILL; `argument` is what SegmentFolder was given."""
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom models.index.segment_folder import SegmentFolder\n"
        f"folder = SegmentFolder({argument})\n(folder.path / 'segment').write_bytes(b'x')\n"
        "print(folder.path, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[4]
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(root), "PATH": os.defpath, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL
    left = Path(ended.stdout.strip())
    assert left.is_dir()
    return left


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the system's folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_folder_in_use_stays_and_one_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = killed_with_a_folder(f"Path({str(tmp_path)!r})", tmp_path)
    mine = SegmentFolder(tmp_path)
    assert not left.exists()
    other = SegmentFolder(tmp_path)
    assert mine.path.is_dir() and other.path.is_dir()
    path = mine.path
    del mine
    gc.collect()
    assert not path.exists()


def test_what_a_killed_process_left_among_the_systems_temporary_files_is_removed(temporary: Path) -> None:
    left = killed_with_a_folder("None", temporary)
    assert left.parent == temporary
    mine = SegmentFolder(None)
    assert not left.exists()
    other = SegmentFolder(None)
    assert [path.is_dir() for path in (mine.path, other.path)] == [True, True]
    assert sorted(temporary.iterdir()) == sorted([mine.path, other.path])


def test_nothing_of_others_is_removed_from_the_systems_temporary_files(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = ".riverlight-live-"
    (temporary / ".live-stream").mkdir()  # of another program
    (temporary / f"{prefix}file").write_bytes(b"x")
    (tmp_path / "elsewhere").mkdir()
    (temporary / f"{prefix}link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    os.mkfifo(temporary / f"{prefix}pipe")  # opening it for reading would wait for ever
    before = sorted(temporary.iterdir())
    kept = SegmentFolder(None)
    assert sorted(set(temporary.iterdir()) - {kept.path}) == before
    assert (tmp_path / "elsewhere").is_dir()

    theirs = temporary / f"{prefix}theirs"
    theirs.mkdir()
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    SegmentFolder(None)
    assert theirs.is_dir()
    monkeypatch.setattr(os, "geteuid", lambda: us)
    SegmentFolder(None)
    assert not theirs.exists()


def test_a_folder_that_somebody_removed_is_made_again_and_in_use_again(tmp_path: Path) -> None:
    mine = SegmentFolder(tmp_path)
    path = mine.path
    path.rmdir()
    assert mine.ready() == path
    SegmentFolder(tmp_path)
    assert path.is_dir()
    del mine
    gc.collect()
    assert not path.exists()
