"""Measuring an image encoder, always beside the frozen baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.ports import ImageEncoder
from models.metrics.bootstrap import mean_interval
from models.metrics.ranking import RankingSummary, summarise
from models.visual_search.data import read_image
from models.visual_search.judgements import read_judgements
from models.visual_search.model import FrozenLiteEncoder
from models.visual_search.tasks import Task, built_in_tasks
from models.visual_search.views import Report

BASELINE = "frozen"
KS = (1, 5, 10)
_CHUNK = 64


@dataclass(frozen=True)
class SystemScore:
    """One system on one task: metric means, and 95 % bootstrap intervals over queries."""

    system: str
    version: str
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Gain:
    """The model minus the frozen baseline on the same queries, with its paired 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class TaskScore:
    """Every system on one task. `gains` is of the model over the frozen baseline, by metric."""

    task: str
    question: str
    queries: int
    without_relevant: int
    gallery: int
    systems: tuple[SystemScore, ...]
    gains: dict[str, Gain]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    model_version: str
    tasks: tuple[TaskScore, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def evaluate_visual_search(
    encoder: ImageEncoder,
    home: Path,
    *,
    judgements: Path | None = None,
    baselines: Mapping[str, ImageEncoder] | None = None,
    report: Report = lambda stage, done, total: None,
) -> Evaluation:
    """Measure an encoder on the built-in tests, or on the user's own judgements.

    The frozen baseline is always measured too; `baselines` adds others, by name.

    Raises:
        InvalidInput: the judgement file is wrong (the message names the rows).
        ConfigurationError: no data set to test on is installed.
        UndecodableMedia: naming an image that cannot be read.
    """
    tasks = [read_judgements(judgements)] if judgements is not None else built_in_tasks(home)
    return evaluate_tasks(encoder, tasks, {BASELINE: FrozenLiteEncoder(), **(baselines or {})}, report=report)


def evaluate_tasks(
    encoder: ImageEncoder,
    tasks: Sequence[Task],
    baselines: Mapping[str, ImageEncoder],
    *,
    report: Report = lambda stage, done, total: None,
) -> Evaluation:
    """Measure an encoder and the baselines on tasks; every image is embedded once per system."""
    systems = {"model": encoder, **baselines}
    images = list(dict.fromkeys(path for task in tasks for path in (*task.queries, *task.gallery)))
    points = {name: _embed(system, images, f"embedding with {name}", report) for name, system in systems.items()}
    place = {path: index for index, path in enumerate(images)}
    scores = []
    for task in tasks:
        queries = [place[path] for path in task.queries]
        gallery = [place[path] for path in task.gallery]
        summaries = {
            name: summarise(ranked_grades(rows[queries] @ rows[gallery].T, task.grades), ks=KS)
            for name, rows in points.items()
        }
        scores.append(_score(task, summaries, systems))
    return Evaluation(model_version=encoder.version, tasks=tuple(scores))


def ranked_grades(scores: NDArray[np.float32], grades: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return each query's grades in the order of falling score; NaN grades are left out.

    Equal scores are ordered by rising grade, so that a system that gives everything one score gains nothing by it.
    """
    ranked = []
    for row, judged in zip(scores, grades, strict=True):
        order = np.lexsort((np.nan_to_num(judged, nan=-1.0), -row))
        in_order = judged[order]
        ranked.append(in_order[~np.isnan(in_order)])
    return ranked


def _embed(encoder: ImageEncoder, images: Sequence[Path], stage: str, report: Report) -> NDArray[np.float32]:
    rows = []
    for start in range(0, len(images), _CHUNK):
        rows.append(encoder.encode([read_image(path) for path in images[start : start + _CHUNK]]))
        report(stage, min(start + _CHUNK, len(images)), len(images))
    return np.concatenate(rows)


def _score(task: Task, summaries: dict[str, RankingSummary], systems: Mapping[str, ImageEncoder]) -> TaskScore:
    model, frozen = summaries["model"], summaries[BASELINE]
    gains = {}
    for name in model.values:
        difference = model.per_query[name] - frozen.per_query[name]
        gains[name] = Gain(float(difference.mean()), *mean_interval(difference))
    return TaskScore(
        task=task.name,
        question=task.question,
        queries=model.queries,
        without_relevant=model.without_relevant,
        gallery=len(task.gallery),
        systems=tuple(
            SystemScore(
                system=name,
                version=systems[name].version,
                values=summary.values,
                intervals={metric: mean_interval(column) for metric, column in summary.per_query.items()},
            )
            for name, summary in summaries.items()
        ),
        gains=gains,
    )
