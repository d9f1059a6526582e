"""An index that is opened from damaged snapshots, again and again: what the gateway does at its start, in a process.

`python -m infra.chaos.damaged_snapshots PLAN`: the plan is the JSON of a `TrialPlan`. The process follows the log with
the gateway's own follower, saves two snapshots, and then opens the index once for each trial, from a copy of both in
which the newer one was damaged or its writer killed. It writes one line of JSON for each trial. A crash of the native
code that reads the files would end this process, and nothing else.
"""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from core.clock import SystemClock
from core.errors import Unavailable
from core.settings import IndexSettings, child_environment
from core.topics import INDEX_ENTRIES
from infra.chaos.damage import damage
from infra.chaos.entries import EntryPlan, publish, write_entries
from models.index import LiveIndex, load_snapshot
from monitoring.logs import configure_logs
from monitoring.recorder import Recorder
from serving.follower import IndexFollower
from serving.following.topic_log import KafkaLogs
from serving.served_index import ServedIndex

#: Trained early, so that the snapshots have a structure and what it learnt; the follower saves nothing by itself.
SETTINGS = IndexSettings(train_at=1_000, snapshot_interval_s=1e9)
_OLDER, _NEWER = "v1", "v2"
_UP_TO_DATE_S = 30.0
_KILLED_WITHIN_S = 0.4  # of the writer's first snapshot


class TrialPlan(msgspec.Struct, frozen=True):
    """What to try, and where. `first` of the items are in the older snapshot."""

    bootstrap: str
    folder: str
    run: str
    seed: int
    items: int
    first: int
    dim: int
    start: datetime  # of the entries
    damaged: int  # trials with a damaged file
    killed: int  # trials in which the writer of a snapshot is killed

    @property
    def model_version(self) -> str:
        """A name of its own: what other runs have left in the log is not for this index."""
        return f"{self.run}/1"


class Trial(msgspec.Struct, frozen=True):
    """What came of one trial: the snapshot that was believed, and how the index differs from the whole one."""

    what: str
    believed: str  # newest, previous, none
    read_s: float  # until the index was up to date
    equal: bool
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    failure: str = ""  # why the index could not be opened at all

    @property
    def number_wrong(self) -> int:
        return len(self.missing) + len(self.extra) + len(self.different)


class _Replica:
    """The follower of the gateway with an index of its own, up to date."""

    def __init__(self, plan: TrialPlan, folder: Path) -> None:
        self.logs = KafkaLogs(plan.bootstrap)
        self.served = ServedIndex(LiveIndex(plan.dim, plan.model_version, SETTINGS))
        self.follower = IndexFollower(
            served=self.served,
            log=self.logs.topic(INDEX_ENTRIES.name),
            folder=folder,
            settings=SETTINGS,
            recorder=Recorder(),
            clock=SystemClock(),
        )
        self.follower.start()

    def wait_ready(self) -> None:
        """Wait until it has read the log to its end. Raises Unavailable."""
        self._until(lambda: self.follower.ready()[0])

    @property
    def read(self) -> int:
        """How many records it has read."""
        return sum(self.follower.counts.values())

    def wait_read(self, records: int) -> None:
        """Wait until so many records are read in all. Raises Unavailable."""
        self._until(lambda: self.read >= records)

    def close(self) -> None:
        self.follower.close()
        self.logs.close()
        self.served.current.close()

    def _until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _UP_TO_DATE_S
        while not holds():
            if time.monotonic() > deadline:
                raise Unavailable(f"not up to date within {_UP_TO_DATE_S:g} s: {self.follower.describe()}")
            time.sleep(0.01)


def prepare(plan: TrialPlan, folder: Path) -> tuple[_Replica, int]:
    """Save two snapshots, each of a part of the log; return who saved them, and how many records are between them."""
    entries = write_entries(plan.seed, plan.run, EntryPlan(plan.items, plan.dim, plan.model_version), start=plan.start)
    publish(plan.bootstrap, entries[: plan.first])
    replica = _Replica(plan, folder)
    replica.wait_ready()
    _save(replica, _OLDER)
    read = replica.read
    publish(plan.bootstrap, entries[plan.first :])
    replica.wait_read(read + len(entries) - plan.first)
    _save(replica, _NEWER)
    return replica, replica.read - read


def _save(replica: _Replica, name: str) -> None:
    if not replica.served.current.settle(_UP_TO_DATE_S):
        raise Unavailable("the index has not built its structure")
    saved = replica.follower.snapshot()
    if saved.name != name:
        raise Unavailable(f"the snapshot is {saved.name}, should be {name}: somebody else saves into its folder")


def try_once(plan: TrialPlan, whole: _Replica, between: int, folder: Path, what: str) -> Trial:
    """Open the index from what a folder holds and compare it with the whole one."""
    begun = time.monotonic()
    replica = _Replica(plan, folder)
    try:
        replica.wait_ready()
        took_s = time.monotonic() - begun
        ours, wanted = replica.served.current, whole.served.current
        found = ours.differences(wanted)
        return Trial(
            what=what,
            believed={0: "newest", between: "previous"}.get(replica.read, "none"),
            read_s=round(took_s, 3),
            equal=not found and ours.capture().tombstones == wanted.capture().tombstones,
            missing=found.missing,
            extra=found.extra,
            different=found.different,
        )
    except Unavailable as error:
        return Trial(what, "none", round(time.monotonic() - begun, 3), equal=False, failure=str(error))
    finally:
        replica.close()


def write_until_killed(folder: Path) -> None:
    """Load the newest snapshot of a folder and save it again, for ever; says "ready" when it begins to."""
    loaded = load_snapshot(folder, SETTINGS)
    assert loaded is not None
    print("ready", flush=True)  # noqa: T201 - whoever started this process waits for it
    while True:
        loaded.index.save_snapshot(folder, positions=loaded.positions, epoch=loaded.epoch)


def kill_a_writer(folder: Path, rng: random.Random) -> str:
    """Let a process save snapshots into a folder and kill it at some moment; return what was done."""
    command = [sys.executable, "-m", "infra.chaos.damaged_snapshots", "--write-into", str(folder)]
    with subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        if writer.stdout.readline().strip() != b"ready":
            raise Unavailable(f"the writer of snapshots ended with {writer.wait()} before it began")
        after_s = rng.uniform(0, _KILLED_WITHIN_S)
        time.sleep(after_s)
        writer.kill()
    left = sum(path.name.startswith(".writing-") for path in folder.iterdir())
    return f"writer killed after {1000 * after_s:.0f} ms, {left} unfinished"


def run(plan: TrialPlan, tell: Callable[[Trial], None]) -> None:
    """Make every trial."""
    folder = Path(plan.folder)
    whole, between = prepare(plan, folder / "whole")
    try:
        for number in range(plan.damaged + plan.killed):
            rng = random.Random(f"{plan.seed}/{number}")
            copy = folder / f"trial-{number}"
            for name in (_OLDER, _NEWER):
                shutil.copytree(folder / "whole" / name, copy / name)
            what = str(damage(copy / _NEWER, rng)) if number < plan.damaged else kill_a_writer(copy, rng)
            tell(try_once(plan, whole, between, copy, what))
            shutil.rmtree(copy)
    finally:
        whole.close()


def main(arguments: list[str]) -> None:
    """Run a plan, or write snapshots until killed."""
    if arguments[0] == "--write-into":
        write_until_killed(Path(arguments[1]))
    configure_logs("damaged-snapshots", "ERROR")
    run(msgspec.json.decode(arguments[0], type=TrialPlan), _tell)


def _tell(trial: Trial) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(trial) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
