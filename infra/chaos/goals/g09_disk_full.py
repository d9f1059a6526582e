"""G9: no file can grow any more, for a while."""

import threading
import time

import psutil

from core.errors import Unavailable
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.processes import Part
from infra.chaos.result import Outcome
from infra.chaos.stage import READY_S

LIMIT_BYTES = 48 * 1024
CATCH_UP_S = 60.0


def play(play: Play) -> Outcome:
    full_s, rate = play.pick(45, 6), play.pick(80, 60)
    with play.stage() as stage:
        stage.encoder()
        workers = stage.workers()
        ledger = stage.ledger(Plan(int(rate * full_s * 1.8)))
        producer = stage.produce(ledger.sent, rate=rate, batch=10)
        producer.wait_for(int(rate * 2), 60)
        play.timeline.add(f"no file of a worker may grow over {LIMIT_BYTES // 1024} KiB")
        with _FullDisk(workers):
            time.sleep(full_s)
            waiting = stage.lag()
        play.timeline.add("there is room again")
        begun = time.monotonic()
        for worker in workers:
            worker.wait_ready(READY_S)
        producer.wait(600)
        verdict, _ = stage.settle(ledger.model(), 180)
        caught_up_s = time.monotonic() - begun
        broken = () if waiting else ("nothing had to wait: the disk was not full enough to prove anything",)
        figures = {
            "full_s": full_s,
            "records_waiting_at_the_end": waiting,
            "workers_started_again": sum(worker.starts - 1 for worker in workers),
        }
        note = (
            f"a file-size limit (RLIMIT_FSIZE) of {LIMIT_BYTES // 1024} KiB on the worker processes stands for a full "
            "disk: databases, archive files and logs fail to grow; the broker's disk is not limited"
        )
        return Outcome(ledger.events, verdict, caught_up_s, broken, figures, stage.took_part(), (note,))


class _FullDisk:
    """Keeps the file sizes of processes limited, those of processes that are started meanwhile, too."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-full-disk", daemon=True)

    def __enter__(self) -> None:
        self._limit(LIMIT_BYTES)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._limit(psutil.RLIM_INFINITY)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self._limit(LIMIT_BYTES)

    def _limit(self, size: int) -> None:
        for part in self._parts:
            try:  # the soft limit alone, which can be raised again
                psutil.Process(part.pid).rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))
            except (Unavailable, psutil.Error):
                continue  # it is being started


def _missing() -> str:
    return "" if hasattr(psutil, "RLIMIT_FSIZE") else "only Linux can limit the files of a running process"


GOAL = Goal(
    name="G9",
    title="Disk full",
    what="For 45 s no file of the workers can grow: neither counts, catalogue, archive nor logs can be written.",
    promise="nothing lost, nothing applied twice, no dead letter for it; after there is room again, the workers catch "
    "up by themselves",
    play=play,
    missing=_missing,
)
