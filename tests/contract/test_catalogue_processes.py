"""The SQLite catalogue among processes: many writers at once, and a writer that is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from core.entries import Version
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue, Item

BATCH = 40
WRITER = """
import sys
from core.settings import CatalogueSettings
from storage.catalogue import Catalogue
from tests.contract.test_catalogue_processes import write_batches
catalogue = Catalogue.open(sys.argv[1], CatalogueSettings())
print("ready", flush=True)
write_batches(catalogue, sys.argv[2], int(sys.argv[3]))
"""
ROOT = Path(__file__).parents[2]


def write_batches(catalogue: Catalogue, writer: str, batches: int) -> None:
    """Write batches of new items, each with its events and outgoing records, in one transaction a batch."""
    now = datetime.now(UTC)
    for number in range(batches):
        changes: list[tuple[str, Item | None]] = []
        for place in range(BATCH):
            name = f"{writer}-{number:05}-{place:02}"
            item = Item(
                item_id=name,
                owner_id="user-1",
                kind="image",
                media_id="a" * 64,
                title=name,
                description="",
                tags=(),
                language="en",
                category="",
                visibility="public",
                blocked_regions=(),
                state="active",
                unsafe=False,
                version=Version(1, 0),
                event_id=name,
                created_at=now,
                updated_at=now,
            )
            changes.append((name, item))
        catalogue.apply_items("writers", changes)


def start_writer(url: str, name: str, batches: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, name, str(batches)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_four_threads_and_two_processes_write_without_locking_each_other_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    catalogue = Catalogue.open(url, CatalogueSettings())
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            write_batches(catalogue, name, 25)
        except BaseException as error:
            failures.append(error)

    processes = [start_writer(url, f"process-{number}", 25) for number in range(2)]
    threads = [threading.Thread(target=write, args=(f"thread-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert failures == []
    assert catalogue.count_items()["active"] == 6 * 25 * BATCH
    catalogue.close()


def test_a_writer_that_is_killed_leaves_whole_batches_and_a_catalogue_that_works(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalogue.db'}"
    catalogue = Catalogue.open(url, CatalogueSettings())
    for kill in range(2):
        before = catalogue.count_items()["active"]
        process = start_writer(url, f"killed-{kill}", 100_000)
        deadline = time.monotonic() + 30
        while catalogue.count_items()["active"] < before + (kill + 1) * BATCH:  # another place in its work each time
            assert time.monotonic() < deadline, "the writer wrote nothing"
        os.kill(process.pid, signal.SIGKILL)
        assert process.communicate(timeout=30) and process.returncode == -signal.SIGKILL
        written: dict[str, int] = {}
        after = ""
        while page := catalogue.scan_items(after=after):
            for item in page:
                written[item.item_id[:-3]] = written.get(item.item_id[:-3], 0) + 1
            after = page[-1].item_id
        assert set(written.values()) == {BATCH}
        events = [f"{batch}-{place:02}" for batch in written for place in range(BATCH)]
        assert catalogue.seen("writers", events) == set(events)
        number = max(int(batch.rsplit("-", 1)[1]) for batch in written if batch.startswith(f"killed-{kill}-"))
        unwritten = [f"killed-{kill}-{number + 1:05}-{place:02}" for place in range(BATCH)]
        assert catalogue.seen("writers", unwritten) == set()
    write_batches(catalogue, "survivor", 1)
    assert catalogue.item("survivor-00000-00") is not None
    catalogue.close()
