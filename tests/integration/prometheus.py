"""Prometheus and promtool for tests: installed, or unpacked from the Debian package, else the test is skipped.

`scraping` runs a Prometheus over an exposition in which every metric of the catalogue has plausible, growing values.
"""

import itertools
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import RiverlightError
from core.settings import child_environment, load_settings
from infra.debian_packages import Program, fetch_program
from infra.ports import free_port
from infra.prometheus_server import PrometheusServer
from monitoring import catalogue, others, prometheus_config, rules
from monitoring.exposition import serve_metrics
from monitoring.objectives import ROUTE_WITHIN_S
from monitoring.recorder import Recorder

_WITHIN_S = 30.0

#: A value or more for every label there is, those that queries ask for among them.
LABEL_VALUES: dict[str, tuple[str, ...]] = {
    "system": ("visual_search", "recommendation", "moderation"),
    "effect": ("searchable", "gone", "demoted", "feature"),
    "outcome": (
        *("ok", "late", "applied", "dead_letter", "invalid", "other_model", "internal", "failed", "loaded", "refused"),
        *("impression", "click", "completed", "like", "dislike"),
    ),
    "agent": ("index-upload", "interactions"),
    "code": ("missing-media",),
    "topic": ("content.uploads.v1",),
    "table": ("inbox",),
    "kind": ("click", "search", "input", "embedding", "score"),
    "feature": ("text",),
    "verdict": ("same", "drift"),
    "surface": ("visual_search",),
    "window": ("day",),
    "route": tuple(ROUTE_WITHIN_S),
    "method": ("POST",),
    "status": ("200", "500"),
    "stage": ("embed", "search", "rerank"),
    "reason": ("hidden", "enforced"),
    "index": ("visual", "restrictions"),
    "state": ("active", "hidden", "enforced", "demoted", "open", "kept", "broken"),
    "action": ("allow", "review", "demote", "enforce"),
    "harm": ("violence", "any", "none"),
    "bound": ("value", "low", "high"),
    "what": ("enforced", "answered"),
    "quantile": ("p50", "p95"),
    "actor": ("model", "reviewer"),
    "viewer": ("known", "new"),
    "scored_by": ("blend", "ranker"),
    "degraded": ("yes", "no"),
    "generator": ("content", "popular"),
    "place": ("score", "exploration"),
    "version": ("visual-search/3f2a91c0",),
    "application": ("gateway",),
    "deployment": ("gateway",),
    "handle": ("gateway-1",),
}


class LivePrometheus:
    """Asks a running Prometheus."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10.0)

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the series with a value that an instant query finds; fail with Prometheus's words where it is none."""
        answer = self._http.get("/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", f"{expr}: {answer.get('error')}"
        return [one for one in answer["data"]["result"] if one["value"][1] != "NaN"]

    def eventually(self, expr: str) -> list[dict[str, Any]]:
        """Return what a query finds as soon as it finds something, or nothing after a while."""
        deadline = time.monotonic() + _WITHIN_S
        while not (found := self.query(expr)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def get(self, path: str) -> Any:
        """Return the data of another call of the API."""
        return self._http.get(path).json()["data"]

    def ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._http.close()


def program(name: str) -> Program:
    """Return `prometheus` or `promtool`; skip the test, saying why, where it cannot be had."""
    try:
        found = fetch_program("prometheus", load_settings().home)
    except RiverlightError as error:
        pytest.skip(f"no Prometheus here: {error}")
    beside = found.path.with_name(name)
    if not beside.exists():
        pytest.skip(f"there is a Prometheus here, but no {name} beside it")
    return Program(beside, found.environment)


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run promtool to its end."""
    tool = program("promtool")
    command: Sequence[str] = [str(tool.path), *map(str, arguments)]
    environment = child_environment(**tool.environment)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def scraping(folder: Path) -> Iterator[LivePrometheus]:
    """Run a Prometheus, with all of our rules, over every metric there is."""
    recorder, stop = Recorder(process_metrics=True), threading.Event()
    exposition = serve_metrics(recorder, "127.0.0.1", 0)
    writer = threading.Thread(target=_record_until, args=(recorder, stop), daemon=True)
    writer.start()
    server = PrometheusServer(program("prometheus"), folder / "prometheus", free_port())
    server.folder.mkdir()
    (folder / "rules.json").write_text(json.dumps(_evaluated_at_once(rules.rule_groups())))
    config = prometheus_config.render({"all": f"127.0.0.1:{exposition.port}"}, [folder / "rules.json"], 1.0)
    (folder / "prometheus" / "prometheus.yml").write_text(config)
    environment = child_environment(**server.program.environment)
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(server.command(), env=environment, stdout=log, stderr=log)
    live = LivePrometheus(f"http://127.0.0.1:{server.port}")
    try:
        deadline = time.monotonic() + _WITHIN_S
        while not live.ready():
            said = (folder / "prometheus.log").read_text(errors="replace")
            assert process.poll() is None and time.monotonic() < deadline, said[-3000:]
            time.sleep(0.1)
        yield live
    finally:
        live.close()
        process.terminate()
        process.wait(20)
        stop.set()
        writer.join()
        exposition.close()


def _evaluated_at_once(groups: dict[str, Any]) -> dict[str, Any]:
    """Return the rules without intervals of their own: as often as everything is scraped."""
    return {"groups": [{key: value for key, value in group.items() if key != "interval"} for group in groups["groups"]]}


def _record_until(recorder: Recorder, stop: threading.Event) -> None:
    while not stop.wait(0.2):
        for metric in (*catalogue.all_metrics(), *others.RAY_SERVE):
            for values in itertools.product(*(LABEL_VALUES[label] for label in metric.labels)):
                _record(recorder, metric, dict(zip(metric.labels, values, strict=True)))


def _record(recorder: Recorder, metric: catalogue.Metric, labels: dict[str, str]) -> None:
    match metric:
        case catalogue.Counter():
            recorder.count(metric, **labels)
        case catalogue.Histogram():
            recorder.observe(metric, metric.buckets[2], **labels)
        case _ if "timestamp" in metric.name:
            recorder.set(metric, time.time() - 60, **labels)
        case _:
            recorder.set(metric, 0.5, **labels)
