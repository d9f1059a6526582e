"""Runs benchmarks one after the other and keeps what each found as JSON."""

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from core.errors import InvalidInput, RiverlightError
from infra.bench.result import Benchmark, BenchOptions, BenchResult

#: Packages whose version moves the figures.
_PACKAGES = ("faiss-gpu", "faust-streaming", "feast", "ray", "torch")


def run_benchmarks(benchmarks: Sequence[Benchmark], options: BenchOptions) -> list[dict[str, Any]]:
    """Run each and write `<folder>/<name>.json`; return the documents written, in order.

    A benchmark that fails does not stop the others; at the end the first failure is raised.

    Raises:
        RiverlightError: what the first benchmark that failed said.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    documents: list[dict[str, Any]] = []
    failure: RiverlightError | None = None
    for benchmark in benchmarks:
        options.report(f"{benchmark.name}: {benchmark.title}")
        load_before = os.getloadavg()[0]
        began = time.perf_counter()
        try:
            result = benchmark.run(replace(options, report=_indented(options.report)))
        except RiverlightError as error:
            options.report(f"{benchmark.name}: failed: {error}")
            failure = failure or error
            continue
        document = _document(result, options, seconds=time.perf_counter() - began, load_before=load_before)
        path = options.folder / f"{benchmark.name}.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        documents.append(document)
    if failure is not None:
        raise failure
    return documents


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the documents of a folder, by name of the benchmark."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def chosen(benchmarks: Sequence[Benchmark], names: Sequence[str]) -> list[Benchmark]:
    """Return the named benchmarks, or all. Raises InvalidInput for a name that there is not."""
    known = {benchmark.name: benchmark for benchmark in benchmarks}
    if unknown := [name for name in names if name not in known]:
        raise InvalidInput(f"no benchmark is called {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(benchmarks)


def machine() -> dict[str, Any]:
    """Describe what the figures were taken on."""
    return {
        "cpus": os.cpu_count(),
        "cpu": _cpu_name(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def _document(result: BenchResult, options: BenchOptions, *, seconds: float, load_before: float) -> dict[str, Any]:
    document = asdict(result)
    for plain, measurement in zip(document["measurements"], result.measurements, strict=True):
        plain["median"] = measurement.median
    document["quick"] = options.quick
    document["taken_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    document["took_s"] = round(seconds, 1)
    document["load_average_before"] = round(load_before, 2)
    document["machine"] = machine()
    return document


def _indented(report: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: report(f"  {line}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
