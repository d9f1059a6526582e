"""What this machine has and lacks for Riverlight: each finding says what a lack costs and what to do about it."""

import importlib.metadata
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from core.errors import RiverlightError
from core.settings import Settings
from infra.broker import embedded, jars, kafka, probe
from infra.broker.jars import Progress
from infra.debian_packages import can_fetch, fetch_program, find_program
from infra.ports import holder
from infra.runtime import running
from infra.supervisor.control import down, status

GIB = 1024**3


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fix` mends it, where `doctor --fix` can."""

    name: str
    level: Literal["ok", "warn", "fail"]
    found: str
    cost: str = ""
    todo: str = ""
    fix: Callable[[Progress], object] | None = None


def examine(settings: Settings) -> list[Finding]:
    """Look at everything. Changes nothing and takes a second or two."""
    home = settings.home.resolve()
    return [
        _python(),
        _packages(),
        *_kafka(home),
        _embedded(home),
        _tool("npm", "the Twemoji and Noto images of the data sets", "npm (Debian: npm)"),
        _debian("prometheus", home, "no history of metrics; /metrics of every process still works"),
        _debian("redis-server", home, "the Redis online store is not tested here; SQLite is the default"),
        _disk(home),
        _memory(),
        *_ports(settings),
        _broker(settings),
        harm_model(settings),
        _leftovers(home),
    ]


def mend(findings: list[Finding], progress: Progress) -> list[str]:
    """Apply every fix there is; return what did not work."""
    failures = []
    for finding in findings:
        if finding.fix is None or finding.level == "ok":
            continue
        progress(f"{finding.name}: {finding.todo}")
        try:
            finding.fix(progress)
        except RiverlightError as error:
            failures.append(f"{finding.name}: {error}")
    return failures


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    try:
        wanted = importlib.metadata.metadata("riverlight")["Requires-Python"] or ""
    except importlib.metadata.PackageNotFoundError:
        wanted = ""
    if SpecifierSet(wanted).contains(version):
        return Finding("python", "ok", version)
    return Finding("python", "fail", version, "packages may not install or not work", f"use Python {wanted}")


def _packages() -> Finding:
    try:
        required = importlib.metadata.requires("riverlight") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("packages", "fail", "riverlight is not installed", "nothing runs", "make setup")
    wrong = [problem for line in required if (problem := _requirement_problem(line))]
    if wrong:
        return Finding("packages", "fail", "; ".join(wrong), "some commands fail", "make setup")
    return Finding("packages", "ok", f"{len(required)} requirements met")


def _requirement_problem(line: str) -> str | None:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return f"{line} cannot be read"
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return None
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    return None if requirement.specifier.contains(version, prereleases=True) else f"{line} wanted, {version} found"


def _kafka(home: Path) -> list[Finding]:
    cost = "Apache Kafka cannot run here: the embedded broker forgets every event when it stops"
    libs = home / "kafka" / "libs"
    here, java, maven = jars.installed(libs), kafka.find_java(), shutil.which("mvn")
    java_fits = java is not None and java.major >= kafka.MIN_JAVA
    found = f"{java.version} ({java.command})" if java else "not installed"
    todo = f"install Java {kafka.MIN_JAVA} or newer (Debian: apt-get install openjdk-17-jre-headless)"
    findings = [Finding("java", "ok", found) if java_fits else Finding("java", "warn", found, cost, todo)]
    if maven or here:
        findings.append(Finding("maven", "ok", maven or "not installed, and not needed: the jars are here"))
    else:
        findings.append(
            Finding("maven", "warn", "not installed", cost, "install Maven (Debian: apt-get install maven)")
        )
    if here:
        findings.append(Finding("kafka", "ok", f"{jars.kafka_version()} in {libs}"))
    elif java_fits and maven:
        findings.append(
            Finding("kafka", "warn", "not fetched yet", "the first `riverlight up` fetches 45 MB", "fetch it now",
                    fix=lambda progress: jars.install(libs, progress))
        )  # fmt: skip
    return findings


def _embedded(home: Path) -> Finding:
    if not (missing := embedded.what_is_missing()):
        return Finding("embedded broker", "ok", str(embedded.find_binary()))
    kafka_runs = not kafka.what_is_missing(home / "kafka" / "libs")
    cost = "no fallback without Java" if kafka_runs else "no broker can be started here"
    return Finding("embedded broker", "warn" if kafka_runs else "fail", "not installed", cost, f"install {missing[0]}")


def _tool(name: str, use: str, todo: str) -> Finding:
    if path := shutil.which(name):
        return Finding(name, "ok", path)
    return Finding(name, "warn", "not installed", f"not available: {use}", f"install {todo}")


def _debian(name: str, home: Path, cost: str) -> Finding:
    if program := find_program(name, home):
        return Finding(name, "ok", str(program.path))
    if can_fetch():
        todo = "unpack the Debian package below the home folder, without root (`riverlight doctor --fix`)"
        return Finding(name, "warn", "not installed", cost, todo, fix=lambda _: fetch_program(name, home))
    return Finding(name, "warn", "not installed", cost, f"install {name}")


def _disk(home: Path) -> Finding:
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.1f} GiB free at {folder}"
    if free < 2:
        return Finding("disk", "fail", found, "logs, events and data sets do not fit", "free some space")
    if free < 5:
        return Finding("disk", "warn", found, "enough to try it, not for a week of events", "free some space")
    return Finding("disk", "ok", found)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    found = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available, {psutil.cpu_count()} CPUs"
    if memory.available < 2 * GIB:
        return Finding("memory", "fail", found, "Ray and the model need about 2 GiB", "close something large")
    if memory.available < 4 * GIB:
        return Finding("memory", "warn", found, "little is left for other programs", "close something large")
    return Finding("memory", "ok", found)


def _ports(settings: Settings) -> list[Finding]:
    if running(settings.home):
        return [Finding("ports", "ok", "held by the running system")]
    first = settings.monitoring.worker_metrics_port
    wanted = {
        "http.port": [settings.http.port],
        "broker.port": [settings.broker.port] if settings.broker.kind in ("auto", "kafka", "embedded") else [],
        "monitoring.worker_metrics_port": [first, first + 1, first + 2] if first else [],
        "monitoring.prometheus_port": [settings.monitoring.prometheus_port],
    }
    taken = [
        Finding("port", "fail", str(held), "`riverlight up` does not start", f"stop it, or set {setting}")
        for setting, ports in wanted.items()
        for port in ports
        if port and (held := holder(port))
    ]
    return taken or [Finding("ports", "ok", ", ".join(str(port) for ports in wanted.values() for port in ports))]


def _broker(settings: Settings) -> Finding:
    state = running(settings.home)
    external = settings.broker.kind if ":" in settings.broker.kind else None
    bootstrap = settings.broker.bootstrap or external or (state.broker.bootstrap if state else None)
    if bootstrap is None:
        return Finding("broker", "ok", "none is running; `riverlight up` starts one")
    try:
        return Finding("broker", "ok", f"answers: {', '.join(probe.ask(bootstrap).brokers)}")
    except RiverlightError as error:
        return Finding("broker", "fail", str(error), "no event moves", "start the broker, or correct broker.bootstrap")


def harm_model(settings: Settings) -> Finding:
    """Say whether the moderator can load the model that is to decide."""
    if not settings.moderation.enabled:
        return Finding("harm model", "ok", "moderation.enabled is false")
    from models.registry.packaged import open_registry  # only here: this takes longer to import than all the rest
    from models.text.load import text_encoder_version
    from serving.moderation.harm_models import load_for

    try:
        version = open_registry(settings.home.resolve()).resolve(settings.moderation.model)
        load_for(version, text_encoder_version(settings.text_encoder))
    except RiverlightError as error:
        return Finding(
            "harm model",
            "warn",
            str(error),
            "no post is scored: every one of them waits for a person",
            "`riverlight models list` shows the versions, `riverlight models promote moderation/VERSION` makes another "
            "the champion",
        )
    return Finding("harm model", "ok", version.label)


def _leftovers(home: Path) -> Finding:
    found = status(home)
    if not found.stale:
        return Finding("leftovers", "ok", "none")
    listed = ", ".join(found.stale[:5]) + (" ..." if len(found.stale) > 5 else "")
    cost = "they hold memory and ports; the next `up` or `down` ends them"
    return Finding("leftovers", "warn", listed, cost, "riverlight down", fix=lambda _: down(home))
