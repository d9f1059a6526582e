"""`riverlight train` and `riverlight evaluate`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group

from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console

train_app = typer.Typer(no_args_is_help=True, help="Train a model and register it.")
evaluate_app = typer.Typer(no_args_is_help=True, help="Measure a model beside its baseline.")


@train_app.command("visual-search")
def train_visual_search_command(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for weights, manifest and card. Default: `<home>/training/visual-search`."),
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Data sets to learn from (repeat for several).")] = None,
    clicks: Annotated[
        Path | None,
        typer.Option(help="CSV with columns query, clicked, position: images people clicked, weighted by position."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the pairs, at most.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Pairs in a batch; the others are the negatives.")
    ] = None,
    tune_blocks: Annotated[
        int | None, typer.Option(min=0, help="Last backbone blocks that learn; 0: the head only.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Make the result champion.")] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Train the image encoder with a contrastive loss, measure it beside the frozen baseline, and register it.

    Positives are pairs of one concept in two styles, two augmented views of one image, and clicks. Example:
    `riverlight data install emoji && riverlight train visual-search --epochs 4`
    """
    from models.registry.packaged import open_registry
    from models.visual_search.clicks import read_clicks
    from models.visual_search.fit import TrainSettings
    from models.visual_search.report import evaluation_tables, progress_bar
    from models.visual_search.train import MODEL, train_visual_search

    changes = {"epochs": epochs, "batch_size": batch_size, "tune_blocks": tune_blocks, "seed": seed}
    chosen = {name: value for name, value in changes.items() if value is not None}
    with errors(), progress_bar(progress_console()) as report:
        home = load_settings().home
        trained = train_visual_search(
            home,
            out or home / "training" / MODEL,
            TrainSettings(**chosen),
            datasets=tuple(dataset or ("emoji",)),
            clicks=read_clicks(clicks) if clicks else (),
            resume=resume,
            command=" ".join(
                ["riverlight train visual-search", *(f"--{k.replace('_', '-')} {v}" for k, v in chosen.items())]
            ),
            report=report,
        )
        version = open_registry(home).register(MODEL, trained.folder, alias="champion" if promote else None)
    serving = "It is the champion." if promote else f"To serve it: riverlight models promote {MODEL} {version.version}"
    emit(
        {
            "model": MODEL,
            "version": version.version,
            "folder": version.folder,
            "evaluation": trained.evaluation.as_dict(),
        },
        Group(*evaluation_tables(trained.evaluation), f"\nRegistered {version.label}. {serving}"),
        output,
    )


@evaluate_app.command("visual-search")
def evaluate_visual_search_command(
    judgements: Annotated[
        Path | None,
        typer.Option(
            help="CSV with columns query, candidate, grade (0 to 5): paths of your images, absolute or beside it."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Registry model@alias or a Hugging Face id; default: as served.")
    ] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Measure the image encoder beside the frozen baseline: on the built-in tests, or on your own judgements.

    Example: `riverlight evaluate visual-search --judgements mine.csv`
    """
    from models.registry.packaged import open_registry
    from models.visual_search.evaluate import evaluate_visual_search
    from models.visual_search.load import load_encoder
    from models.visual_search.report import evaluation_tables, progress_bar

    with errors(), progress_bar(progress_console()) as report:
        settings = load_settings()
        encoder_settings = settings.encoder
        if model is not None:
            kind = "lite" if "@" in model else "huggingface"
            encoder_settings = encoder_settings.model_copy(update={"kind": kind, "model": model})
        encoder = load_encoder(encoder_settings, open_registry(settings.home))
        evaluation = evaluate_visual_search(encoder, settings.home, judgements=judgements, report=report)
    emit(evaluation.as_dict(), Group(*evaluation_tables(evaluation)), output)
