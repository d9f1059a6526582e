"""`riverlight bench index`: every index kind on your own vectors."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from core.errors import InvalidInput
from core.settings import IndexSettings, load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console, to_plain

if TYPE_CHECKING:
    from models.index.compare import KindResult

_KINDS = ("flat", "tree", "lsh", "ivf_flat", "ivf_sq8", "ivf_pq", "hnsw")


def index_command(
    vectors: Annotated[
        Path | None, typer.Option(help="An .npy file of (vectors, dimensions) numbers. Default: made-up clusters.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="An .npy file of vectors to search for. Default: 500 held back from --vectors.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours per search.")] = 10,
    kinds: Annotated[
        str, typer.Option(help=f"Kinds to measure, with commas: {', '.join(_KINDS)}. Default: all.")
    ] = ",".join(_KINDS),
    count: Annotated[int, typer.Option(min=1000, help="Made-up vectors, when there is no --vectors.")] = 20_000,
    dim: Annotated[int, typer.Option(min=2, help="Their dimensions.")] = 256,
    spread: Annotated[
        float, typer.Option(min=0, help="Their noise: 0.2 clear clusters, 0.8 overlapping ones, 3 hardly any.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(help="Chooses the queries held back, and the made-up vectors.")] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="Where index-kinds.json and index-kinds.png go. Default: <home>/bench/kinds.")
    ] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Measure every index kind on the same vectors: recall, latency, build time, memory, cost of changes.

    One thread, your settings (`index.*`); answers are compared with an exact search over the true vectors.

    Example: `riverlight bench index --vectors embeddings.npy --kinds hnsw,ivf_sq8`
    """
    from models.index.compare import compare_kinds
    from models.index.vector_files import clustered_vectors, hold_back, read_vectors

    console = progress_console()
    with errors():
        settings = load_settings()
        target = folder if folder is not None else settings.home.resolve() / "bench" / "kinds"
        chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()]
        if not chosen:
            raise InvalidInput(f"no kind was named; there are {', '.join(_KINDS)}")
        held_back = 500
        rows = (
            read_vectors(vectors)
            if vectors is not None
            else clustered_vectors(count + (held_back if queries is None else 0), dim, seed=seed, spread=spread)
        )
        if queries is not None:
            wanted = read_vectors(queries)
        else:
            if len(rows) < 20:
                raise InvalidInput(f"{len(rows)} vectors are too few to hold some back to search for: give --queries")
            rows, wanted = hold_back(rows, min(held_back, len(rows) // 10), seed)
        console.print(f"[dim]{len(rows)} vectors of {rows.shape[1]} dimensions, {len(wanted)} queries[/]")
        results: list[KindResult] = []
        for result in compare_kinds(rows, wanted, settings.index, chosen, k=k):
            results.append(result)
            console.print(f"[dim]{result.kind}: recall {result.recall:.3f}, p99 {result.search_p99_ms:.2f} ms[/]")
        document = {
            "vectors": str(vectors) if vectors is not None else f"made up: seed {seed}, spread {spread:g}",
            "count": len(rows),
            "dim": rows.shape[1],
            "queries": len(wanted),
            "k": k,
            "settings": _knobs(settings.index),
            "kinds": to_plain(results),
        }
        written = _write(document, results, target)
        emit(document | {"files": [str(path) for path in written]}, _table(results, written), output)


def _knobs(settings: IndexSettings) -> dict[str, object]:
    plain = settings.model_dump()
    return {name: plain[name] for name in plain if name.startswith(("hnsw", "ivf", "pq", "lsh", "tree", "train"))}


def _write(document: dict[str, object], results: Sequence["KindResult"], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    data, image = folder / "index-kinds.json", folder / "index-kinds.png"
    data.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _plot(results, image, f"{document['count']} vectors of {document['dim']} dimensions")
    return [data, image]


def _table(results: Sequence["KindResult"], written: Sequence[Path]) -> Table:
    k = results[0].k
    table = Table(caption="\n".join(f"written: {path}" for path in written))
    table.add_column("")
    for result in results:
        table.add_column(result.kind, justify="right", no_wrap=True)
    rows: list[tuple[str, Callable[[KindResult], str]]] = [
        (f"recall@{k}", lambda r: f"{r.recall:.3f}"),
        ("after changes", lambda r: f"{r.recall_after_changes:.3f}"),
        ("p50, ms", lambda r: f"{r.search_p50_ms:.2f}"),
        ("p99, ms", lambda r: f"{r.search_p99_ms:.2f}"),
        ("searches/s", lambda r: f"{r.searches_per_s:.0f}"),
        ("build, s", lambda r: f"{r.build_s:.1f}"),
        ("bytes a vector", lambda r: f"{r.bytes_per_vector:.0f}"),
        ("and on disk", lambda r: f"{r.disk_bytes_per_vector:.0f}"),
        ("add p50, ms", lambda r: f"{r.add_p50_ms:.3f}"),
        ("add p99, ms", lambda r: f"{r.add_p99_ms:.3f}"),
        ("delete p50, ms", lambda r: f"{r.delete_p50_ms:.3f}"),
        ("delete p99, ms", lambda r: f"{r.delete_p99_ms:.3f}"),
    ]
    for name, shown in rows:
        table.add_row(name, *(shown(result) for result in results))
    return table


def _plot(results: Sequence["KindResult"], path: Path, title: str) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7, 4.5), layout="constrained")
    axes = drawing.add_subplot()
    for result in results:
        axes.scatter(result.search_p99_ms, result.recall, s=40)
        axes.annotate(
            f"{result.kind} ({result.bytes_per_vector:.0f} B)",
            (result.search_p99_ms, result.recall),
            textcoords="offset points",
            xytext=(6, 4),
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_xlabel("search p99, ms (one thread)")
    axes.set_ylabel(f"recall@{results[0].k}")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3, which="both")
    drawing.savefig(path, dpi=110)
