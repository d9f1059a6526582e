"""`riverlight train moderation` and `riverlight evaluate moderation`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Group

from core.errors import InvalidInput
from core.settings import Settings, load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console, to_plain
from infra.cli.recommendation import SearchMethod

if TYPE_CHECKING:
    from models.progress import Report

SetOption = Annotated[list[str] | None, typer.Option("--set", help="A setting, as name=value (repeat for several).")]


def train_moderation_command(
    search: Annotated[
        SearchMethod, typer.Option("--search", help="Choose settings by a grid or by Optuna, on held-out folds.")
    ] = SearchMethod.none,
    trials: Annotated[int, typer.Option(min=1, help="With --search optuna: settings that are tried.")] = 20,
    setting: SetOption = None,
    quantized: Annotated[bool, typer.Option("--quantized", help="Write int8 weights: a quarter of the size.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder. Default: `<home>/training/moderation`.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep finished folds in the cache, and use those that are there.")
    ] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Make the result champion.")] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Train the harm model on the installed texts, calibrate and measure it on held-out ones, and register it.

    It learns from `toxic-texts` and `harm-answers`, and where they are installed from `sms-spam`, `mail-spam` and
    `reviews`; what surrounds the texts (authors, reactions, comments) is simulated. docs/how-to/moderate.md

    Example: `riverlight data install toxic-texts harm-answers sms-spam profane-words && riverlight train moderation`
    """
    from models.moderation.report import training_tables
    from models.moderation.train import load_prepared, train_moderation
    from models.progress import progress_bars
    from models.registry.packaged import open_registry

    with errors(), progress_bars(progress_console()) as report:
        settings = load_settings()
        chosen = _train_settings(setting or [])
        encoders = _Encoders(settings)
        prepared = load_prepared(settings.home, encoders.text, encoders.image, seed=chosen.seed, report=report)
        tried: list[Any] = []
        if search is not SearchMethod.none:
            from models.moderation.search import search as search_settings

            method: Literal["grid", "optuna"] = "grid" if search is SearchMethod.grid else "optuna"
            chosen, tried = search_settings(prepared, chosen, method=method, trials=trials, report=report)
        options = [*(f"--set {pair}" for pair in setting or ()), *(["--quantized"] if quantized else [])]
        options += [f"--search {search.value}"] if tried else []
        folder = out or settings.home / "training" / "moderation"
        trained = train_moderation(
            prepared,
            folder,
            chosen,
            text_encoder=encoders.text,
            image_encoder=encoders.image.version,
            home=settings.home,
            int8=quantized,
            keep=settings.home / "cache" / "moderation" if resume else None,
            trials=[{"changes": dict(trial.changes), "mean_roc": trial.value} for trial in tried],
            command=" ".join(["riverlight train moderation", *options]),
            report=report,
        )
        version = open_registry(settings.home).register(
            "moderation", trained.folder, alias="champion" if promote else None
        )
    serving = (
        "It is the champion." if promote else f"To serve it: riverlight models promote moderation {version.version}"
    )
    emit(
        {
            "model": "moderation",
            "version": version.version,
            "folder": version.folder,
            "metrics": trained.manifest.metrics,
            "settings": trained.manifest.settings,
        },
        Group(*training_tables(trained.manifest.metrics), f"\nRegistered {version.label}. {serving}"),
        output,
    )


def evaluate_moderation_command(
    labels: Annotated[
        Path | None,
        typer.Option(
            help="JSONL of your posts: text, image (a path), label or labels, language, group; with scores, those are "
            "measured instead of the model."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="With --labels: which model of the registry.")] = "moderation@champion",
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Which variants (repeat for several; a wrong name lists them). Default: all."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, max=20, help="Folds of the cross-validation.")] = 5,
    grouped: Annotated[
        bool, typer.Option(help="Keep near-duplicates, and answers to one question, in one fold.")
    ] = True,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Also train without a kind of text, and test on it.")
    ] = False,
    blending: Annotated[
        bool, typer.Option("--blending", help="Also measure gradient blending, where one modality would dominate.")
    ] = False,
    setting: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder. Default: `<home>/evaluate/moderation`.")] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Measure harm models: the ladder on the installed texts, or one model (or given scores) on your own labels.

    Writes figures and a picture a class (precision-recall, ROC, reliability). docs/how-to/moderate.md

    Examples:

    * `riverlight evaluate moderation --variant logistic --variant multi-task`

    * `riverlight evaluate moderation --labels mine.jsonl --output json`
    """
    from models.progress import progress_bars

    with errors(), progress_bars(progress_console()) as report:
        settings = load_settings()
        folder = out or settings.home / "evaluate" / "moderation"
        if labels is not None:
            plain, text = _on_labels(settings, labels, model, folder / "labels", report)
        else:
            plain, text = _ladder(
                settings, variant or [], folds, grouped, unseen, blending, setting or [], folder, report
            )
    emit(plain, text, output)


def _on_labels(
    settings: Settings, path: Path, model: str, folder: Path, report: "Report"
) -> tuple[dict[str, Any], Group]:
    from models.moderation.evaluate_labels import given_scores, measure, score_labels
    from models.moderation.evaluate_plots import plot_classes
    from models.moderation.labels_file import read_labels
    from models.moderation.report import labels_tables

    posts = read_labels(path)
    if posts[0].scores:
        scored, scored_by = given_scores(posts), "the scores of the file"
    else:
        from models.media.nsfw import NsfwModel
        from models.moderation.score import HarmModel
        from models.moderation.wording import profane_words_of
        from models.registry.packaged import open_registry
        from serving.moderation.passages import passages

        harm = HarmModel.load(open_registry(settings.home).resolve(model).folder)
        encoders = _Encoders(settings)
        if encoders.text.version != harm.text_encoder:
            raise InvalidInput(
                f"{harm.version} was trained with text encoder {harm.text_encoder}, the settings give "
                f"{encoders.text.version}; train it again, or set text_encoder as it was"
            )
        pictures = any(post.image for post in posts)
        scored = score_labels(
            posts,
            harm,
            encoders.text,
            profane_words_of(settings.home),
            cut=lambda text: [passage.text for passage in passages(text)[0]],
            image_encoder=encoders.image if pictures else None,
            nsfw=NsfwModel() if pictures else None,
            report=report,
        )
        scored_by = harm.version
    figures = {"scored_by": scored_by, **measure(scored)}
    pictures_of = plot_classes(scored.scores, scored.targets, folder, title=scored_by)
    plain = {**figures, "plots": pictures_of}
    _write(folder / "figures.json", plain)
    return plain, Group(*labels_tables(figures), f"\n{scored_by}. Figures and pictures: {folder}")


def _ladder(
    settings: Settings,
    names: list[str],
    folds: int,
    grouped: bool,
    unseen: bool,
    blending: bool,
    changes: list[str],
    folder: Path,
    report: "Report",
) -> tuple[dict[str, Any], Group]:
    from models.moderation.evaluate import as_plain
    from models.moderation.evaluate_ladder import chosen_variants, climb, held_out_probabilities, transfer
    from models.moderation.evaluate_plots import plot_classes
    from models.moderation.report import blending_table, ladder_tables, transfer_table
    from models.moderation.train import load_prepared
    from models.moderation.variants import MODEL_VARIANT

    chosen_variants(names)  # a wrong name is told before anything is embedded
    chosen = _train_settings(changes)
    encoders = _Encoders(settings)
    prepared = load_prepared(settings.home, encoders.text, encoders.image, seed=chosen.seed, report=report)
    ladder = climb(prepared, chosen, names=names, folds=folds, grouped=grouped, report=report)
    plain: dict[str, Any] = {"data": prepared.data.summary(), **ladder.as_dict()}
    shown: list[Any] = ladder_tables(ladder)
    by_name = {rung.name: rung.logits for rung in ladder.rungs}
    if MODEL_VARIANT in by_name:
        probabilities = held_out_probabilities(by_name[MODEL_VARIANT], prepared.data.targets, ladder.fold)
        others = {name: by_name[name] for name in ("logistic",) if name in by_name}
        plain["plots"] = plot_classes(probabilities, prepared.data.targets, folder, others=others, title="held out")
    if unseen:
        found = transfer(prepared, chosen, report=report)
        plain["unseen"] = as_plain(found)
        shown.append(transfer_table(found))
    if blending:
        from models.moderation.blending_experiment import compare_blending

        compared = compare_blending(prepared, report=report)
        plain["blending"] = as_plain(compared)
        shown.append(blending_table(compared))
    _write(folder / "ladder.json", plain)
    return plain, Group(*shown, f"\nFigures and pictures: {folder}")


class _Encoders:
    """The encoders that the settings name."""

    def __init__(self, settings: Settings) -> None:
        from models.registry.packaged import open_registry
        from models.text.load import load_text_encoder
        from models.visual_search.load import load_encoder

        # Every text is embedded once and kept on disk: remembering it in memory too would only take room.
        self.text = load_text_encoder(settings.text_encoder.model_copy(update={"memo": 0}), settings.home)
        self.image = load_encoder(settings.encoder, open_registry(settings.home))


def _train_settings(pairs: list[str]) -> Any:
    """Read `name=value` pairs; values are JSON where they can be, else text."""
    from models.moderation.fit import TrainSettings
    from models.moderation.search import changed

    changes: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--set takes name=value, got {pair!r}")
        try:
            changes[name] = json.loads(value)
        except ValueError:
            changes[name] = value
    return changed(TrainSettings(), changes)


def _write(path: Path, plain: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_plain(plain), indent=2, allow_nan=False) + "\n", encoding="utf-8")
