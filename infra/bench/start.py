"""From `riverlight up` to the first answer, and what the system takes in memory once it rests.

The floor beside the start is Ray Serve alone: the same Ray, with one deployment that answers "ok".
"""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable

import httpx
import psutil

from core.errors import Unavailable
from core.settings import child_environment
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar
from infra.bench.system import START_TIMEOUT_S, scratch_home, scratch_settings
from infra.runtime import RuntimeState
from infra.supervisor.control import down, status, up_detached

REST_S = 20.0
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
            finally:
                down(home)
        options.report(
            f"round {number + 1}: first answer {answers[-1]:.1f} s, all ready {ready[-1]:.1f} s, "
            f"Ray Serve alone {floor[-1]:.1f} s, {memory['all'][-1]:.2f} GB"
        )
    measurements = (
        Measurement("up → first answer", "s", "lower", tuple(answers)),
        Measurement("up → everything ready", "s", "lower", tuple(ready)),
        Measurement("floor: Ray Serve with one empty deployment", "s", "lower", tuple(floor)),
        Measurement("memory at rest, all processes", "GB", "lower", tuple(memory.pop("all"))),
        *(Measurement(f"memory at rest, {name}", "GB", "lower", tuple(sizes)) for name, sizes in memory.items()),
    )
    return BenchResult(
        name="start",
        title="Start and memory of the whole local profile",
        command="riverlight bench run start",
        measurements=measurements,
        bars=(bar(measurements, "up → first answer", 45), bar(measurements, "memory at rest, all processes", 5)),
        details={"rest_s": REST_S},
        notes=(
            "A new home each time; packages and the broker's jars are there and in the file cache (the first start "
            "after a boot reads them from disk and takes longer).",
            f"Memory is proportional set size (PSS), {REST_S:g} s after everything was ready; a process counts with "
            "its children. Prometheus is not part of it.",
        ),
    )


BENCHMARK = Benchmark("start", "up → first answer, and memory at rest by process", run)


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
    sizes: dict[str, float] = {}
    for entry in processes:
        pid = entry.get("pid")
        if not isinstance(pid, int):
            continue
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        total = 0
        for process in tree:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        sizes[str(entry["name"])] = total / 1e9
    sizes["all"] = sum(sizes.values())
    return sizes
