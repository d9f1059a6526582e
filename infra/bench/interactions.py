"""How fast interactions are validated, deduplicated, counted and durably stored by one worker process.

Four consumers drain the same kind of events from one broker, in turns: the interactions agent of a real worker, an
event a record and in frames; a Faust worker as the tutorial has it; and a bare client that only decodes. A rate is
events over the time from the first one consumed (for the worker: from when it may begin, already warm) until the
group's committed offsets are the ends of the topic.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

import psutil

from core import topics
from core.errors import IntegrityError, Unavailable
from core.ports import OutgoingRecord
from core.settings import BrokerSettings, child_environment
from core.topics import Topic
from features.interactions import VIEW_IDS
from features.schema import BUCKET_WIDTHS_US
from features.state import FeatureState, feature_folder
from infra.bench.interaction_load import Expected, Totals, interactions, records
from infra.bench.producing import produce
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar, compare
from infra.bench.scratch_broker import scratch_broker
from infra.broker.capabilities import running
from infra.ports import free_port
from storage.log.admin import apply_topics, group_lag

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
SINGLE, FRAMED = "one event a record", "frames of 100"
PLAIN, RAW = "plain Faust, one event a record", "bare client, decoding only"
FRAME = 100
TIMEOUT_S = 300.0
_PLAIN_TOPIC = Topic("bench.plain-faust", key="user id", holds="interactions for the baseline")
_RAW_TOPIC = Topic("bench.raw", key="user id", holds="interactions for the ceiling")
_AGENT, _GROUP = "interactions", "riverlight-interactions"
_PENDING = "riverlight_features_pending_rows"
_PUSHES = "riverlight_features_push_seconds_count"


@dataclass(frozen=True)
class _Drained:
    events: int
    wall_s: float
    cpu_s: float
    pushed_after_s: float = 0.0  # from the last commit until the online store had everything


def run(options: BenchOptions) -> BenchResult:
    """Drain in turns, `options.repeats` times each.

    Raises:
        IntegrityError: something was counted wrongly.
        Unavailable: a consumer did not finish.
    """
    sizes = {SINGLE: 900_000, FRAMED: 2_000_000, PLAIN: 30_000, RAW: 300_000}
    if options.quick:
        sizes = {name: size // 50 for name, size in sizes.items()}
    expected = Expected()
    # Fresh, whatever an earlier run has left: its events have the same ids, and would make all of these duplicates.
    scratch = Path(mkdtemp(prefix="interactions-", dir=options.folder))
    found, note = _drain(replace(options, folder=scratch), sizes, expected)
    shutil.rmtree(scratch)  # after a failure its logs are wanted
    return _result(found, note)


def _drain(
    options: BenchOptions, sizes: Mapping[str, int], expected: Expected
) -> tuple[Mapping[str, list[_Drained]], str]:
    """Drain in turns in a folder that is empty; return what was found, and a note about the broker."""
    found: dict[str, list[_Drained]] = defaultdict(list)
    home = options.folder / "home"
    broker, note = scratch_broker(options.folder / "broker")
    with running(broker, options.folder / "broker.log"):
        apply_topics(broker.bootstrap, (*topics.ALL, _PLAIN_TOPIC, _RAW_TOPIC), BrokerSettings())
        for number in range(1 if options.quick else options.repeats):
            for name, frame in ((SINGLE, 1), (FRAMED, FRAME)):
                load = interactions(sizes[name], _seed(number, frame), expected)
                outgoing = list(records(load, topics.INTERACTIONS, frame))
                found[name].append(_ours(broker.bootstrap, home, sizes[name], outgoing))
                options.report(_line(name, found[name][-1]))
            for name, topic, drain in ((PLAIN, _PLAIN_TOPIC, _plain), (RAW, _RAW_TOPIC, _raw)):
                load = interactions(sizes[name], _seed(number, 0), Expected())
                produce(broker.bootstrap, records(load, topic, 1))
                found[name].append(drain(broker.bootstrap, options.folder, sizes[name], number))
                options.report(_line(name, found[name][-1]))
    _check(home, expected)
    return found, note


def _result(found: Mapping[str, list[_Drained]], note: str) -> BenchResult:
    measurements = []
    for name, drains in found.items():
        rates = tuple(drained.events / drained.wall_s for drained in drains)
        costs = tuple(drained.cpu_s / drained.events * 1e6 for drained in drains)
        measurements += [
            Measurement(name, "events/s", "higher", rates),
            Measurement(f"{name}, CPU", "µs/event", "lower", costs),
        ]
    return BenchResult(
        name="interactions",
        title="Interactions through one worker process",
        command="riverlight bench run interactions",
        measurements=tuple(measurements),
        comparisons=tuple(
            compare(measurements, *pair) for pair in ((SINGLE, PLAIN), (FRAMED, PLAIN), (SINGLE, RAW), (FRAMED, RAW))
        ),
        bars=(bar(measurements, SINGLE, 10_000), bar(measurements, FRAMED, 60_000)),
        details={
            "online store up to date after the last commit, s": {
                name: [round(drained.pushed_after_s, 2) for drained in found[name]] for name in (SINGLE, FRAMED)
            }
        },
        notes=(
            note,
            "The worker runs the interactions agent alone, with its push to the online store (SQLite); archive is off. "
            "Under load it rests three times as long as a push took, so the store is up to date later: "
            f"{_after(found, SINGLE)}; {_after(found, FRAMED)}.",
            "Every count of every item and user was compared with a plain loop over the events: all equal.",
            "The baseline counts one number per item in a Table, without windows, users, surfaces or duplicates.",
            "Broker and load share the machine's cores with the worker; nothing is produced while it drains.",
        ),
    )


def _after(found: Mapping[str, list[_Drained]], name: str) -> str:
    seconds = statistics.median(drained.pushed_after_s for drained in found[name])
    return f"{name}, {seconds:.1f} s after the last commit"


def _ours(bootstrap: str, home: Path, events: int, outgoing: Sequence[OutgoingRecord]) -> _Drained:
    """Drain with a worker as the supervisor starts it, and stop it once the online store is up to date.

    The worker is warm, then stands still while the events are produced, so that neither its imports nor the producer
    share the processors with the drain.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    arguments = ["-m", "infra.entry.worker", "--agents", _AGENT, "--metrics-port", str(port), "--name", "bench"]
    settings = {
        "RIVERLIGHT_HOME": str(home),
        "RIVERLIGHT_BROKER__BOOTSTRAP": bootstrap,
        "RIVERLIGHT_STREAMS__SESSION_TIMEOUT_S": "60",
    }
    with _process(arguments, settings, home / "worker.log") as process:
        _wait(process, lambda: _metric(port, _PENDING) == 0 and _ready(port), 0.2)
        process.send_signal(signal.SIGSTOP)
        try:
            produce(bootstrap, outgoing)
            cpu, started = _cpu_s(process), time.perf_counter()
        finally:
            process.send_signal(signal.SIGCONT)
        _, ended = _wait(process, lambda: _lag(bootstrap, _GROUP, topics.INTERACTIONS.name) == 0, 0.1)
        spent = _cpu_s(process) - cpu
        pushes = _metric(port, _PUSHES)  # the one that runs now may have begun before the end; the next has everything
        _, pushed = _wait(process, lambda: _metric(port, _PUSHES) >= pushes + 2 and _metric(port, _PENDING) == 0, 0.1)
    return _Drained(events, ended - started, spent, pushed - ended)


def _plain(bootstrap: str, folder: Path, events: int, number: int) -> _Drained:
    """Drain with the tutorial's worker."""
    first, data = folder / f"plain-first-{number}", folder / "plain-faust"
    first.unlink(missing_ok=True)
    settings = {"BOOTSTRAP": bootstrap, "TOPIC": _PLAIN_TOPIC.name, "FOLDER": str(data), "FIRST_SEEN": str(first)}
    arguments = [str(PROGRAMS / "plain_faust.py"), "worker", "--loglevel=error", "--without-web"]
    with _process(arguments, settings, folder / "plain-faust.log") as process:
        started, _ = _wait(process, first.exists, 0.02)
        cpu = _cpu_s(process)
        _, ended = _wait(process, lambda: _lag(bootstrap, "plain-faust", _PLAIN_TOPIC.name) == 0, 0.1)
        return _Drained(events, ended - started, _cpu_s(process) - cpu)


def _raw(bootstrap: str, folder: Path, events: int, number: int) -> _Drained:
    """Read the topic from its start with the bare client."""
    read = events * (number + 1)
    command = [sys.executable, str(PROGRAMS / "raw_consumer.py"), bootstrap, _RAW_TOPIC.name, str(read)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=_environment({})
    )
    if done.returncode:
        raise Unavailable(f"the bare client failed: {done.stderr[-500:]}")
    wall, cpu = (float(part) for part in done.stdout.split())
    return _Drained(read, wall, cpu)


def _check(home: Path, expected: Expected) -> None:
    """Compare the counts in the state with those of the plain loop."""
    state = FeatureState.open(feature_folder(home) / "state.db")
    try:
        for view, totals in (("item_stats", expected.items), ("user_stats", expected.users)):
            found: Totals = {}
            names, buckets = state.totals(VIEW_IDS[view])
            days = buckets.width_us == max(BUCKET_WIDTHS_US)
            for index, counts in zip(buckets.group[days].tolist(), buckets.counts[days].tolist(), strict=True):
                row = found.setdefault(names[index], [0, 0, 0])
                row[:] = [a + b for a, b in zip(row, counts, strict=True)]
            wrong = {name for name in totals.keys() | found.keys() if _of(totals, name) != _of(found, name)}
            if wrong:
                name = min(wrong)
                raise IntegrityError(
                    f"{len(wrong)} of {len(totals)} rows of {view} are counted wrongly, {name!r} for one:"
                    f" {_of(found, name)} instead of {_of(totals, name)}"
                )
    finally:
        state.close()


def _of(totals: Totals, name: str) -> list[int]:
    return totals.get(name, [0, 0, 0])


@contextmanager
def _process(arguments: list[str], settings: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=_environment(settings), stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(settings: dict[str, str]) -> dict[str, str]:
    return child_environment(OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT), **settings)


def _wait(process: "subprocess.Popen[bytes]", done: Callable[[], bool], every_s: float) -> tuple[float, float]:
    """Poll until `done`; return the times of the last poll before it and of the first after it.

    A rate from the first of a start to the second of an end is too low by a poll, never too high.
    """
    deadline = time.perf_counter() + TIMEOUT_S
    before = time.perf_counter()
    while time.perf_counter() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"{process.args!r} ended with {process.returncode} in the middle; see its log")
        now = time.perf_counter()
        if done():
            return before, time.perf_counter()
        before = now
        time.sleep(every_s)
    raise Unavailable(f"{process.args!r} was not done within {TIMEOUT_S:g} s; see its log")


def _metric(port: int, name: str) -> float:
    """Return the sum of a metric over its labels, -1 while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return -1.0
    values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name]
    return sum(values) if values else -1.0


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _lag(bootstrap: str, group: str, topic: str) -> int:
    try:
        return sum(group_lag(bootstrap, group, [topic]).values())
    except Unavailable:
        return -1


def _cpu_s(process: "subprocess.Popen[bytes]") -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


def _seed(number: int, variant: int) -> int:
    return number * 1_000 + variant


def _line(name: str, drained: _Drained) -> str:
    load = os.getloadavg()[0]
    return (
        f"{name}: {drained.events / drained.wall_s:,.0f} events/s, {drained.cpu_s / drained.events * 1e6:.1f} µs of CPU"
        f" an event, online store up to date {drained.pushed_after_s:.1f} s later; load {load:.1f}"
    )


BENCHMARK = Benchmark("interactions", "Interactions through one worker process", run)
