"""`riverlight train recommendation` and `riverlight evaluate recommendation`."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group

from core.errors import InvalidInput
from core.settings import load_settings
from infra.cli.features import TIMES
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console, to_plain
from infra.cli.ray_training import (
    CheckpointsOption,
    CpusOption,
    GpusOption,
    RayOption,
    RayOptions,
    WorkersOption,
)
from infra.cli.recommendation_online import evaluate_online_command

if TYPE_CHECKING:
    from models.recommendation.data import Loaded


class SearchMethod(StrEnum):
    """How settings are chosen on the validation split."""

    none = "none"
    grid = "grid"
    optuna = "optuna"


class SplitProtocol(StrEnum):
    """What is held out."""

    last = "leave-last-out"
    temporal = "temporal"


InteractionsOption = Annotated[
    Path | None,
    typer.Option(help="CSV with columns user, item, value, timestamp (and kind). Default: the data set ml-100k."),
]
ItemsOption = Annotated[Path | None, typer.Option(help="CSV with item and any columns (title, tags by |, year …).")]
UsersOption = Annotated[Path | None, typer.Option(help="CSV with user and any columns (age, country …).")]
RelevantOption = Annotated[
    float | None, typer.Option(help="Value from which an item is relevant. Default: 4 of 5, or 0.5 of 1.")
]
ArchiveOption = Annotated[
    bool, typer.Option("--archive", help="This platform's own archived interactions, instead of a file.")
]
UntilOption = Annotated[
    datetime | None,
    typer.Option(formats=TIMES, help="With --archive: only what happened before, as described then. UTC."),
]
SearchOption = Annotated[
    SearchMethod, typer.Option("--search", help="Choose settings on the validation split; never on the test.")
]
TrialsOption = Annotated[
    int | None, typer.Option(min=1, help="With --search optuna: settings tried for each model. Default: 20.")
]


def train_recommendation_command(
    model: Annotated[str, typer.Option(help="Which model; a wrong name lists them.")] = "two-tower",
    interactions: InteractionsOption = None,
    items: ItemsOption = None,
    users: UsersOption = None,
    archive: ArchiveOption = False,
    until: UntilOption = None,
    relevant_from: RelevantOption = None,
    search: SearchOption = SearchMethod.none,
    trials: TrialsOption = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the model, as name=value (repeat for several).")
    ] = None,
    ray: RayOption = None,
    workers: WorkersOption = None,
    cpus_per_worker: CpusOption = None,
    gpus_per_worker: GpusOption = None,
    checkpoints: CheckpointsOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for weights, manifest and card.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Make the result champion.")] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Train a recommendation model, measure it beside WALS, and register it as `recommendation-<model>`.

    docs/how-to/recommend.md

    Examples:

    * `riverlight train recommendation --model two-tower --promote`

    * `riverlight train recommendation --model full-system --ray auto --workers 4 --checkpoints s3://bucket/training`
    """
    from models.recommendation.report import progress_bar, trials_table
    from models.recommendation.train import taught_by, train_recommender, trainable
    from models.registry.packaged import open_registry
    from models.training.loop import train_here

    on_ray = RayOptions(ray, workers, cpus_per_worker, gpus_per_worker, checkpoints)
    with errors(), progress_bar(progress_console()) as report:
        configured = load_settings()
        home = configured.home
        settings = _settings(setting or [])
        # What is wrong is said before anything is read or started.
        tried = _trials(search, trials)
        entry = trainable(model).with_settings(settings)
        if on_ray.asked:
            taught_by(entry, train_here)
        files = Files(interactions, items, users, archive, until, relevant_from)
        loaded = files.load(home)
        with on_ray.trainer(configured) as trainer:
            trained = train_recommender(
                model,
                loaded,
                out or home / "training" / f"recommendation-{model}",
                command=f"riverlight train recommendation --model {model}"
                + (" --archive" if archive else "")
                + "".join(f" --set {pair}" for pair in setting or ())
                + ("" if search is SearchMethod.none else f" --search {search.value}")
                + ("" if trials is None else f" --trials {trials}")
                + on_ray.command,
                method=search.value,
                trials=tried,
                settings=settings,
                trainer=trainer,
                report=report,
            )
        name = trained.manifest.model
        version = open_registry(home).register(name, trained.folder, alias="champion" if promote else None)
    figures = trained.manifest.metrics
    lines = [f"Registered {version.label}."] + (
        [] if promote else [f"To serve it: riverlight models promote {name} {version.version}"]
    )
    for who in ("model", "reference"):
        values = figures[who]["values"]
        lines.append(f"{figures[who]['name']}: HR@10 {values['hr@10']:.3f}, nDCG@10 {values['ndcg@10']:.3f}")
    trials_made = [{"settings": trial.changes, "validation_ndcg@10": trial.value} for trial in trained.trials]
    emit(
        {
            "model": name,
            "version": version.version,
            "folder": version.folder,
            "metrics": figures,
            **({"trials": trials_made} if trials_made else {}),
        },
        Group(*([trials_table(trained.trials)] if trials_made else []), "\n".join(lines)),
        output,
    )


def evaluate_recommendation_command(
    interactions: InteractionsOption = None,
    items: ItemsOption = None,
    users: UsersOption = None,
    archive: ArchiveOption = False,
    until: UntilOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="What people did with what was recommended, by version and generator.")
    ] = False,
    since: Annotated[datetime | None, typer.Option(formats=TIMES, help="With --online: since when. UTC.")] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="With --online: also estimate, off-policy, the CTR of another scoring: `click=1,watch=0.5` weighs the "
            "logged objectives, `logged` is the one that answered (repeat for several)."
        ),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Which models (repeat for several). Default: the whole ladder.")
    ] = None,
    relevant_from: RelevantOption = None,
    protocol: Annotated[
        SplitProtocol, typer.Option(help="Hold out each user's last relevant item, or the last tenth of the time.")
    ] = SplitProtocol.last,
    search: SearchOption = SearchMethod.none,
    trials: TrialsOption = None,
    groups: Annotated[
        bool, typer.Option("--groups", help="Also print the last model's nDCG@10 by group of users.")
    ] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Run the ladder of recommendation models, from popularity to the full system, on your data or on ml-100k.

    Writes the figures and a plot to `<home>/evaluate/recommendation`. docs/how-to/recommend.md

    Examples:

    * `riverlight evaluate recommendation --interactions mine.csv --models popularity --models ease`

    * `riverlight evaluate recommendation --archive --protocol temporal`

    * `riverlight evaluate recommendation --online --policy click=1,watch=0`
    """
    from models.recommendation.ladder import climb
    from models.recommendation.report import group_tables, ladder_table, plot_ladder, progress_bar

    with errors():
        if online:
            evaluate_online_command(since, policy or [], output)
            return
        tried = _trials(search, trials)
        home = load_settings().home
        loaded = Files(interactions, items, users, archive, until, relevant_from).load(home)
        with progress_bar(progress_console()) as report:
            ladder = climb(
                loaded.feedback,
                names=models or (),
                protocol=protocol.value,
                method=search.value,
                trials=tried,
                report=report,
            )
        folder = home / "evaluate" / "recommendation"
        plot = plot_ladder(ladder, folder / f"{protocol.value}.png")
        plain = {"data": loaded.source, "rule": loaded.rule, **ladder.as_dict(), "plot": plot}
        (folder / f"{protocol.value}.json").write_text(json.dumps(to_plain(plain), indent=2) + "\n", encoding="utf-8")
    tables = group_tables(ladder, ladder.rungs[-1].name) if groups else []
    emit(plain, Group(ladder_table(ladder), *tables, f"\nFigures and plot: {folder}"), output)


@dataclass(frozen=True)
class Files:
    """Where interactions come from: the archive, files, or (neither) the installed data set."""

    interactions: Path | None
    items: Path | None
    users: Path | None
    archive: bool
    until: datetime | None
    relevant_from: float | None

    def load(self, home: Path) -> "Loaded":
        """Return what there is; raises InvalidInput, NotFound, ConfigurationError as the loaders do."""
        from infra.recommendation_stream import load_archive
        from models.recommendation.data import load_feedback

        if not self.archive:
            return load_feedback(
                home,
                interactions=self.interactions,
                items=self.items,
                users=self.users,
                relevant_from=self.relevant_from,
            )
        if self.interactions or self.items or self.users or self.relevant_from is not None:
            raise InvalidInput("--archive takes no files and no --relevant-from: what counts is in the events")
        until = None if self.until is None else self.until.replace(tzinfo=self.until.tzinfo or UTC)
        return load_archive(home.resolve() / "archive", until=until)


def _trials(search: SearchMethod, trials: int | None) -> int:
    if trials is not None and search is not SearchMethod.optuna:
        raise InvalidInput("--trials is for --search optuna: the grid tries every combination")
    return trials or 20


def _settings(pairs: list[str]) -> dict[str, Any]:
    """Read `name=value` pairs; values are JSON where they can be, else text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--set takes name=value, got {pair!r}")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings
