"""`riverlight plan`: how much of everything a load needs, and what it costs."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console

app = typer.Typer(no_args_is_help=True, help="How many machines, and how much money, a load needs.")


@app.command("capacity")
def capacity_command(
    images: Annotated[float, typer.Option(help="Images there are, e.g. 200e9.")] = 1e6,
    videos: Annotated[float, typer.Option(help="Videos there are.")] = 0.0,
    frames_per_video: Annotated[float, typer.Option(help="Frames of a video that are searched.")] = 8.0,
    posts_per_day: Annotated[float, typer.Option(help="Posts written.")] = 0.0,
    uploads_per_day: Annotated[float, typer.Option(help="Images and videos uploaded.")] = 100e3,
    video_uploads_share: Annotated[float, typer.Option(help="Share of the uploads that are videos, 0 to 1.")] = 0.0,
    interactions_per_day: Annotated[float, typer.Option(help="Impressions, clicks and the like.")] = 10e6,
    queries_per_s: Annotated[float, typer.Option(help="Searches, on average over the day.")] = 10.0,
    active_users: Annotated[float, typer.Option(help="People with features: seen within 30 days.")] = 1e6,
    peak_factor: Annotated[float, typer.Option(help="The worst hour, as a multiple of the average.")] = 2.5,
    replication: Annotated[float, typer.Option(help="Copies of the log.")] = 3.0,
    retention_days: Annotated[float, typer.Option(help="How long the log keeps events.")] = 7.0,
    index_replicas: Annotated[float, typer.Option(help="Copies of the index, at least.")] = 2.0,
    unit_costs: Annotated[Path | None, typer.Option(help="Your own measurements; default: the packaged ones.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own prices; the packaged ones are assumptions.")] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Say what a load needs: partitions, workers, replicas, shards, memory, disk, GPUs and money, and why.

    The arithmetic is in `infra/capacity/model.py`, the figures it starts from in `infra/capacity/unit_costs.toml`, each
    with the command that measured it. docs/capacity.md says what falls short at the largest scale.

    Examples:

    * `riverlight plan capacity --images 20e6 --uploads-per-day 1e6 --queries-per-s 100`

    * `riverlight plan capacity --images 200e9 --videos 10e9 --posts-per-day 500e6 --output json`
    """
    from infra.capacity import inputs, model, page, sensitivity

    with errors():
        load = inputs.Load(
            images=images,
            videos=videos,
            frames_per_video=frames_per_video,
            posts_per_day=posts_per_day,
            uploads_per_day=uploads_per_day,
            video_uploads_share=video_uploads_share,
            interactions_per_day=interactions_per_day,
            queries_per_s=queries_per_s,
            active_users=active_users,
            peak_factor=peak_factor,
            replication=replication,
            retention_days=retention_days,
            index_replicas=index_replicas,
        )
        costs, figures = inputs.read_unit_costs(unit_costs or inputs.UNIT_COSTS)
        money = inputs.read_prices(prices or inputs.PRICES)
        found = model.plan(load, costs)
        most = sensitivity.effects(load, costs, money)[:3]
        table = Table(*page.HEADINGS[:-1], box=None, header_style="bold", padding=(0, 1))
        because = []
        for *cells, why in page.table(found, money):
            table.add_row(*cells, style="bold" if cells[0] == "total" else None)
            because += [f"{cells[0]}: {why}"] if why else []
        moves = "; ".join(f"{one.kind} {one.name} {one.share:+.0%}" for one in most)
        assumed = ", ".join(name for name, figure in figures.items() if figure.source == "assumed")
        said = [*because, "", f"doubled, these move the total most: {moves}", f"assumed, not measured: {assumed}"]
        if prices is None:
            said.append("and the prices: --prices FILE.toml takes yours")
        data = {
            "load": dataclasses.asdict(load),
            "parts": [
                {**dataclasses.asdict(part), "usd_per_month": part.resources.cost_per_month(money)}
                for part in found.parts
            ],
            "total": {**dataclasses.asdict(found.total), "usd_per_month": found.cost_per_month(money)},
            "backfill_gpu_days": model.backfill_gpu_days(load, costs),
            "sensitivity": [dataclasses.asdict(effect) for effect in most],
        }
        emit(data, Group(table, "", *said), output)


@app.command("measure")
def measure_command(output: OutputOption = OutputFormat.text) -> None:
    """Measure the unit costs that need no running system, in about a minute. The others are benchmarks.

    Example: `riverlight plan measure`
    """
    from infra.capacity.inputs import read_unit_costs
    from infra.capacity.measure import measure

    with errors():
        _, figures = read_unit_costs()
        measured: dict[str, float] = {}
        for name, value in measure():
            measured[name] = round(value, 1)
            progress_console().print(f"{name} = {value:.1f} (so far {figures[name].value:g})", markup=False)
        emit(measured, "\n".join(f"{name} = {value}" for name, value in measured.items()), output)
