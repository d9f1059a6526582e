"""Clicks as labels, corrected for where they happened: the first answer is clicked because it is first."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.errors import InvalidInput


def examination_propensity(positions: ArrayLike, *, eta: float = 1.0) -> NDArray[np.float64]:
    """Return the chance that the answer at each position (from 1) is looked at: (1 / position)^eta.

    The position-based click model: P(click) = P(examined at this position) · P(relevant)
    (https://arxiv.org/abs/1608.04468). `eta` = 0 is no position bias.
    """
    places = np.asarray(positions, dtype=np.float64)
    if places.ndim != 1 or (places.size and (not np.isfinite(places).all() or places.min() < 1)):
        raise InvalidInput("positions must be a list of numbers of at least 1")
    return np.asarray(places**-eta, dtype=np.float64)


def estimate_eta(clicks_by_position: Sequence[float], shown_by_position: Sequence[float]) -> float:
    """Estimate `eta` from the click-through rate at positions 1, 2 …, of answers shown in random order.

    Fits log CTR = c - eta · log position by least squares weighted with clicks. On answers ranked by relevance the
    result also holds the relevance of better positions and is too high.
    """
    clicks, shown = np.asarray(clicks_by_position, float), np.asarray(shown_by_position, float)
    used = (clicks > 0) & (shown > 0)
    if clicks.shape != shown.shape or used.sum() < 2:
        raise InvalidInput("estimating position bias needs clicks at two positions or more")
    slope = np.polyfit(
        np.log(np.arange(1, len(clicks) + 1))[used], np.log(clicks[used] / shown[used]), 1, w=np.sqrt(clicks[used])
    )[0]
    return float(max(0.0, -slope))


def click_weights(positions: ArrayLike, *, eta: float = 1.0, clip: float = 10.0) -> NDArray[np.float64]:
    """Return a training weight for each click: its inverse propensity, clipped, with a mean of 1.

    Clipping trades a little bias for much variance: without it one lucky click at position 50 outweighs fifty others.
    """
    if clip < 1:
        raise InvalidInput(f"clip must be at least 1, got {clip}")
    weights = np.minimum(1.0 / examination_propensity(positions, eta=eta), clip)
    return np.asarray(weights / weights.mean(), dtype=np.float64) if weights.size else weights


def read_clicks(path: Path, *, eta: float = 1.0, clip: float = 10.0) -> list[tuple[Path, Path, float]]:
    """Read clicks from a CSV with the columns query, clicked, position; return `(query, clicked, weight)` image paths.

    Paths are absolute or beside the file; positions count from 1. Weights are `click_weights` of the positions.

    Raises:
        InvalidInput: a missing column, image or number; the message names the rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read as CSV: {error}") from error
    pairs: list[tuple[Path, Path]] = []
    positions: list[float] = []
    problems: list[str] = []
    for number, row in enumerate(rows, start=2):
        try:
            pair = (path.parent / row["query"], path.parent / row["clicked"])
            position = float(row["position"])
        except (KeyError, TypeError, ValueError):
            problems.append(f"row {number}: needs query, clicked and a position that is a number")
            continue
        missing = [str(image) for image in pair if not image.is_file()]
        if missing or not position >= 1:
            problems.append(f"row {number}: " + (f"no such file {missing[0]}" if missing else "positions count from 1"))
            continue
        pairs.append(pair)
        positions.append(position)
    if problems or not rows:
        raise InvalidInput(f"{path}: " + ("; ".join(problems[:10]) or "there are no clicks in it"))
    weights = click_weights(positions, eta=eta, clip=clip)
    return [(query, clicked, float(weight)) for (query, clicked), weight in zip(pairs, weights, strict=True)]
