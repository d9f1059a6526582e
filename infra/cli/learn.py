"""`riverlight train`, `riverlight learn` and `riverlight evaluate`."""

from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group

from core.settings import load_settings
from infra.cli.learn_moderation import learn_moderation_command
from infra.cli.learn_recommendation import learn_recommendation_command
from infra.cli.moderation_learning import evaluate_moderation_command, train_moderation_command
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console
from infra.cli.recommendation import evaluate_recommendation_command, train_recommendation_command

if TYPE_CHECKING:
    from infra.clicked_pairs import ClickedPairs

train_app = typer.Typer(no_args_is_help=True, help="Train a model and register it.")
learn_app = typer.Typer(no_args_is_help=True, help="Go on learning from what people do.")
evaluate_app = typer.Typer(no_args_is_help=True, help="Measure a model beside its baseline.")

train_app.command("recommendation")(train_recommendation_command)
train_app.command("moderation")(train_moderation_command)
evaluate_app.command("moderation")(evaluate_moderation_command)
learn_app.command("recommendation")(learn_recommendation_command)
learn_app.command("moderation")(learn_moderation_command)
evaluate_app.command("recommendation")(evaluate_recommendation_command)


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
    from_clicks: Annotated[
        bool, typer.Option("--from-clicks", help="Learn from the archived clicks on the answers of this system, too.")
    ] = False,
    min_clicks: Annotated[
        int, typer.Option(min=1, help="With --from-clicks: fewer usable clicks than this are refused.")
    ] = 20,
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

    Positives are pairs of one concept in two styles, two augmented views of one image, and clicks, weighted against
    position bias. docs/how-to/train.md

    Examples:

    * `riverlight data install emoji && riverlight train visual-search --epochs 4`

    * `riverlight train visual-search --from-clicks --promote` (the system may run meanwhile)
    """
    from models.registry.packaged import open_registry
    from models.visual_search.clicks import read_clicks
    from models.visual_search.fit import TrainSettings
    from models.visual_search.report import evaluation_tables, progress_bar
    from models.visual_search.train import MODEL, train_visual_search

    changes = {"epochs": epochs, "batch_size": batch_size, "tune_blocks": tune_blocks, "seed": seed}
    chosen = {name: value for name, value in changes.items() if value is not None}
    datasets = tuple(dataset or ("emoji",))
    options = [
        *(f"--dataset {name}" for name in dataset or ()),
        *(["--from-clicks"] if from_clicks else []),
        *(f"--{name.replace('_', '-')} {value}" for name, value in chosen.items()),
    ]
    console = progress_console()
    with errors(), ExitStack() as stack:
        settings = load_settings()
        home = settings.home
        folder = out or home / "training" / MODEL
        pairs = read_clicks(clicks) if clicks else []
        clicked = None
        if from_clicks:
            from infra.clicked_pairs import clicked_pairs

            # People's images: they stay for the training only. Always the same folder, so that a resumed run matches.
            images = folder / "clicked-images"
            stack.callback(rmtree, images, ignore_errors=True)
            with console.status("collecting clicks"):
                clicked = clicked_pairs(settings, images, datasets=datasets, minimum=min_clicks)
            console.print(_clicked_text(clicked))
            pairs += clicked.pairs
        report = stack.enter_context(progress_bar(console))
        trained = train_visual_search(
            home,
            folder,
            TrainSettings(**chosen),
            datasets=datasets,
            clicks=pairs,
            resume=resume,
            command=" ".join(["riverlight train visual-search", *options]),
            report=report,
        )
        version = open_registry(home).register(MODEL, trained.folder, alias="champion" if promote else None)
    serving = "It is the champion." if promote else f"To serve it: riverlight models promote {MODEL} {version.version}"
    emit(
        {
            "model": MODEL,
            "version": version.version,
            "folder": version.folder,
            "clicks": clicked.as_dict() if clicked else None,
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


def _clicked_text(clicked: "ClickedPairs") -> str:
    left_out = ", ".join(f"{count} {reason}" for reason, count in clicked.left_out.items())
    return f"{len(clicked.pairs)} of {clicked.clicks} archived clicks teach, of {clicked.users} users" + (
        f" (left out: {left_out})" if left_out else ""
    )
