"""How the running system looks on a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from infra.doctor import Finding
from infra.runtime import BrokerState, RuntimeState
from infra.supervisor.control import Status

_STYLE = {
    "ready": "green",
    "starting": "yellow",
    "unready": "yellow",
    "backoff": "yellow",
    "waiting": "dim",
    "stopping": "dim",
    "stopped": "dim",
    "failed": "bold red",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}


def processes(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table of processes from `Status.processes`."""
    table = Table("process", "state", "pid", "ready after", "restarts", "", box=None, header_style="bold")
    for row in rows:
        after = row["ready_after_s"]
        table.add_row(
            row["name"],
            Text(row["state"], style=_STYLE.get(row["state"], "")),
            str(row["pid"] or ""),
            f"{after:.1f} s" if after is not None else "",
            str(row["restarts"] or ""),
            Text(row["reason"], style="dim"),
        )
    return table


def starting(state: RuntimeState) -> RenderableType:
    """Return the live view of a system that starts, runs or stops."""
    rows = [
        {"name": p.name, "state": p.state, "pid": p.pid, "ready_after_s": p.ready_after_s, "restarts": p.restarts,
         "reason": p.reason}
        for p in state.processes
    ]  # fmt: skip
    parts: list[RenderableType] = [broker(state.broker), processes(rows)]
    if state.phase == "running":
        parts += [Text(f"ready after {state.ready_after_s:.1f} s", style="green"), urls(state.urls)]
    elif state.phase == "stopping":
        parts.append(Text("stopping; Ctrl-C again kills what is left", style="yellow"))
    return Group(*parts)


def broker(state: BrokerState) -> Text:
    """Return one line on the broker: what it promises and what is missing for a better one."""
    text = Text(state.promise, style="" if state.durable else "yellow")
    if state.missing:
        text.append(f"\nfor the durable broker this machine lacks: {'; '.join(state.missing)}", style="yellow")
    return text


def urls(addresses: dict[str, str]) -> Table:
    """Return where to find what."""
    table = Table.grid(padding=(0, 2))
    for name, address in addresses.items():
        table.add_row(Text(name, style="bold"), address)
    return table


def status(found: Status) -> RenderableType:
    """Return the answer of `riverlight status`."""
    parts: list[RenderableType] = [Text(f"{found.phase} in {found.home}", style="bold")]
    if found.reason:
        parts.append(Text(found.reason, style="red"))
    if found.broker:
        parts.append(Text(str(found.broker["promise"])))
    if found.access:
        parts.append(Text(found.access))
    if found.processes:
        parts.append(processes(found.processes))
    if found.urls:
        parts.append(urls(found.urls))
    if found.stale:
        parts.append(
            Text(f"left behind by a killed supervisor: {', '.join(found.stale)}; end it with `riverlight down`")
        )
    return Group(*parts)


def findings(found: Sequence[Finding]) -> Table:
    """Return the report of `riverlight doctor`."""
    table = Table("", "what", box=None, header_style="bold")
    table.add_column("found", overflow="fold")
    table.add_column("what it costs · what to do", overflow="fold")
    for finding in found:
        advice = " · ".join(escape(part) for part in (finding.cost, finding.todo) if part)
        table.add_row(Text(finding.level, style=_STYLE[finding.level]), finding.name, escape(finding.found), advice)
    return table
