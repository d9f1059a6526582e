"""From `riverlight up` to the first answer, and what the system takes in memory and processor time once it rests.

The floor beside the start is Ray Serve alone: the same Ray, with one deployment that answers "ok".
"""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from core.errors import Unavailable
from core.settings import child_environment
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar
from infra.bench.system import START_TIMEOUT_S, scratch_home, scratch_settings
from infra.runtime import RuntimeState
from infra.supervisor.control import down, status, up_detached

REST_S = 20.0
WATCHED_S = 20.0
_BARE = """
import time
began = time.perf_counter()
import os
os.environ.update(RAY_SERVE_ENABLE_HA_PROXY="0", RAY_USAGE_STATS_ENABLED="0")
import ray
from ray import serve
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=150 * 1024**2, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": 0})

@serve.deployment
class Ok:
    async def __call__(self, request):
        return "ok"

serve.run(Ok.bind(), route_prefix="/")
print(time.perf_counter() - began, flush=True)
os._exit(0)
"""


def run(options: BenchOptions) -> BenchResult:
    answers: list[float] = []
    ready: list[float] = []
    floor: list[float] = []
    memory: dict[str, list[float]] = defaultdict(list)
    processor: dict[str, list[float]] = defaultdict(list)
    for number in range(1 if options.quick else options.repeats):
        floor.append(_bare_serve())
        with scratch_home() as home:
            settings = scratch_settings(home, monitoring={"canary": True})
            began = time.perf_counter()
            first: list[float] = []
            try:
                up_detached(settings, timeout_s=START_TIMEOUT_S, show=_first_answer(began, first))
                ready.append(time.perf_counter() - began)
                answers.append(first[0] if first else ready[-1])
                time.sleep(2.0 if options.quick else REST_S)
                for name, size in _memory(status(home).processes).items():
                    memory[name].append(size)
                for name, share in _processor(home, 2.0 if options.quick else WATCHED_S).items():
                    processor[name].append(share)
            finally:
                down(home)
        options.report(
            f"round {number + 1}: first answer {answers[-1]:.1f} s, all ready {ready[-1]:.1f} s, "
            f"Ray Serve alone {floor[-1]:.1f} s, {memory['all'][-1]:.2f} GB, "
            f"{processor['all'][-1]:.0f} ms of processor a second"
        )
    measurements = (
        Measurement("up → first answer", "s", "lower", tuple(answers)),
        Measurement("up → everything ready", "s", "lower", tuple(ready)),
        Measurement("floor: Ray Serve with one empty deployment", "s", "lower", tuple(floor)),
        Measurement("memory at rest, all processes", "GB", "lower", tuple(memory.pop("all"))),
        *(Measurement(f"memory at rest, {name}", "GB", "lower", tuple(sizes)) for name, sizes in memory.items()),
        Measurement("processor at rest, all processes", "ms/s", "lower", tuple(processor.pop("all"))),
        *(Measurement(f"processor at rest, {name}", "ms/s", "lower", tuple(ms)) for name, ms in processor.items()),
    )
    return BenchResult(
        name="start",
        title="Start, and the whole local profile at rest",
        command="riverlight bench run start",
        measurements=measurements,
        bars=(bar(measurements, "up → first answer", 45), bar(measurements, "memory at rest, all processes", 5)),
        details={"rest_s": REST_S},
        notes=(
            "A new home each time; packages and the broker's jars are there and in the file cache (the first start "
            "after a boot reads them from disk and takes longer).",
            f"Memory is proportional set size (PSS), {REST_S:g} s after everything was ready; a process counts with "
            "its children. Prometheus is not part of it.",
            f"Processor time is that of the {WATCHED_S:g} s after that, with nothing to do but the canary's rounds.",
        ),
    )


BENCHMARK = Benchmark("start", "up → first answer; memory and processor time at rest by process", run)


def _first_answer(began: float, found: list[float]) -> Callable[[RuntimeState, str], None]:
    """Return a function that notes, once, when the API has answered ready; called while the system starts."""

    def look(state: RuntimeState, _: str) -> None:
        if found or "http" not in state.urls:
            return
        try:
            if httpx.get(f"{state.urls['http']}/readyz", timeout=0.5).is_success:
                found.append(time.perf_counter() - began)
        except httpx.TransportError:
            pass

    return look


def _bare_serve() -> float:
    ended = subprocess.run(
        [sys.executable, "-c", _BARE], env=child_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    try:
        return float(ended.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Unavailable(f"Ray Serve alone did not start: {ended.stderr[-500:]}") from None
    finally:
        _end_bare_ray()


def _end_bare_ray() -> None:
    """End what the bare Ray left: it is killed with its driver, but takes a moment."""
    gone_by = time.monotonic() + 15
    while time.monotonic() < gone_by:
        if not any("raylet" in (process.info["name"] or "") for process in psutil.process_iter(["name"])):
            return
        time.sleep(0.3)


def _memory(processes: list[dict[str, object]]) -> dict[str, float]:
    """Return GB (PSS) by process of the system, its children counted with it, and of all."""
    return _by_process(processes, lambda process: process.memory_full_info().pss / 1e9)


def _processor(home: Path, seconds: float) -> dict[str, float]:
    """Return milliseconds of processor time a second, watched for so long, as `_memory` does."""
    before = _by_process(status(home).processes, _processor_ms)
    time.sleep(seconds)
    after = _by_process(status(home).processes, _processor_ms)
    return {name: (after[name] - before.get(name, 0.0)) / seconds for name in after}


def _processor_ms(process: psutil.Process) -> float:
    times = process.cpu_times()
    return 1e3 * float(times.user + times.system)


def _by_process(processes: list[dict[str, object]], measure: Callable[[psutil.Process], float]) -> dict[str, float]:
    """Return what was measured by process of the system, its children counted with it, and of all."""
    sizes: dict[str, float] = {}
    for entry in processes:
        pid = entry.get("pid")
        if not isinstance(pid, int):
            continue
        total = 0.0
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            try:
                total += measure(process)
            except psutil.Error:
                continue
        sizes[str(entry["name"])] = total
    sizes["all"] = sum(sizes.values())
    return sizes
