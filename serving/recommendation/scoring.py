"""Scoring: how much a viewer would like each candidate, from several aims at once.

    score = base - dislike_weight · likeness to what the viewer disliked + freshness_weight · 2^(-age / half-life)

What a verdict demotes counts `factor` of that (`serving.restrictions.restriction.lowered`).

`base` is the mean of what the ranker says, weighted by the settings: the chances of a click and a like, the share
watched, and `pick`, which of these candidates rather than another, moved and scaled to [0, 1] over them. Training
teaches the ranker to pick, and its quality is measured by that order, so `pick` weighs most.

Without a ranker, or when it is late, fails, or says nothing that is a number, `base` blends the generators: each gives
a candidate `1 / (1 + rank / 20)` times its weight, as in reciprocal rank fusion (Cormack et al. 2009), and the sum is
divided by that of all weights. Both lie in [0, 1].

A candidate of which the ranker knows nothing (all NaN: a video newer than the training) has a blend and no mean. The
others of the answer have both, and the blend is the lower by far; so the new one counts what others that blend like it
count on average, by isotonic regression over this answer (`isotonic.told_on`). The scores of the others stay what they
are.
"""

import concurrent.futures
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from core.settings import RecommendationSettings
from monitoring.catalogue import RECOMMENDATION_RANKER
from monitoring.recorder import Recorder
from serving.recommendation.bounded import Bounded, Busy
from serving.recommendation.isotonic import told_on
from serving.recommendation.ports import Candidates, Ranker, Rows, Scores, Viewer
from serving.recommendation.videos import Videos
from serving.restrictions.restriction import lowered

_log = structlog.get_logger(__name__)

BLEND = "blend/1"
PICK = "pick"
#: What a generator's word counts for while there is no ranker; one that is not named counts `_OTHER`.
BLEND_WEIGHTS: Mapping[str, float] = {
    "two-tower": 1.0,
    "neighbours": 1.0,
    "two-tower-new": 1.0,
    "follows": 0.8,
    "content": 0.7,
    "trending": 0.5,
    "local": 0.5,
    "popular": 0.4,
    "fresh": 0.2,
    "exploration": 0.1,
}
_OTHER = 0.3
_RANK_HALVES = 20.0  # the rank at which a proposal counts half of the first
_DISLIKED_KEPT = 20  # newest dislikes that count
_SAME_CREATOR = 0.5  # how much being by a creator of something disliked is like it


@dataclass(frozen=True)
class Scored:
    """Scores `(n,)` of candidates, what they are made of, and what made them."""

    scores: Scores
    objectives: Mapping[str, Scores]  # `pick`, `click`, `watch`, `like` (NaN: not known) or `blend` …; `dislike` …
    scored_by: str  # version of the ranker, or `BLEND`
    ranker_missing: str | None = None  # a ranker there is, but it was `late`, `busy`, `failed` or said `nothing`


class Scorer:
    """Scores candidates. Thread-safe."""

    def __init__(
        self,
        videos: Videos,
        settings: RecommendationSettings,
        *,
        recorder: Recorder,
        threads: Executor,
        at_once: int,
        ranker: Ranker | None = None,
    ) -> None:
        """`threads`: where the ranker runs, at most `at_once` times at once."""
        self._videos = videos
        self._settings = settings
        self._recorder = recorder
        self._ranker = ranker
        self._threads = threads
        self._predict = Bounded(ranker.predict, at_once) if ranker is not None else None
        self._weights = {
            PICK: settings.pick_weight,
            "click": settings.click_weight,
            "watch": settings.watch_weight,
            "like": settings.like_weight,
        }

    def score(self, viewer: Viewer, candidates: Candidates) -> Scored:
        """Return scores of all candidates. Waits for the ranker up to its deadline, so not for the event loop."""
        heads, missing = self._ask_ranker(viewer, candidates)
        if heads is not None:
            objectives, scored_by = dict(heads), self._ranker.version if self._ranker is not None else BLEND
            base = self._mean(heads)
            if (unknown := np.isnan(base)).any():
                blended, known = blend(candidates), ~unknown
                base[unknown] = told_on(base[known], blended[known], blended[unknown])
                nothing = np.float32(np.nan)
                objectives["blend"] = np.where(unknown, blended, nothing)
                objectives["blend_told"] = np.where(unknown, base, nothing)
        else:
            base = blend(candidates)
            objectives, scored_by = {"blend": base}, BLEND
        settings, rows = self._settings, candidates.rows
        dislike = disliked_likeness(self._videos, viewer, rows)
        freshness = fresh(self._videos.created_s[rows], viewer.now.timestamp(), settings.freshness_half_life_h * 3600)
        factor = self._videos.factors(rows)
        scores = base - settings.dislike_weight * dislike + settings.freshness_weight * freshness
        objectives |= {"dislike": dislike, "freshness": freshness, "factor": factor}
        return Scored(lowered(scores.astype(np.float32), factor), objectives, scored_by, missing)

    def _ask_ranker(self, viewer: Viewer, candidates: Candidates) -> tuple[Mapping[str, Scores] | None, str | None]:
        """Return the ranker's predictions, or None and what was the matter (None: there is no ranker)."""
        if self._predict is None or not len(candidates.rows):
            return None, None
        heads: Mapping[str, Scores] | None = None
        try:
            future = self._predict.start(self._threads, viewer, candidates)
            heads = self._sound(future.result(timeout=self._settings.ranker_deadline_s), len(candidates.rows))
            outcome = "ranked" if heads is not None else "nothing"
        except Busy:
            outcome = "busy"
        except concurrent.futures.TimeoutError:
            outcome = "late"
        except Exception as error:
            outcome = "failed"
            _log.warning("ranker_failed", error=repr(error))
        self._recorder.count(RECOMMENDATION_RANKER, outcome=outcome)
        return heads, None if outcome == "ranked" else outcome

    def _sound(self, heads: Mapping[str, Scores], n: int) -> Mapping[str, Scores] | None:
        """Return what counts of the predictions as `(n,)` within [0, 1]; None when there is nothing to use.

        NaN stays where all of them are NaN; elsewhere what is no number is 0.
        """
        said = {name: values for name in self._weights if (values := _numbers(heads.get(name, ()), n)) is not None}
        if not any(self._weights[name] > 0 for name in said):
            return None
        unknown = np.all([np.isnan(values) for values in said.values()], axis=0)
        for name, values in said.items():
            scaled = _within_0_and_1(values) if name == PICK else np.clip(values, 0.0, 1.0)
            said[name] = np.where(unknown, np.float32(np.nan), np.nan_to_num(scaled, nan=0.0))
        return said

    def _mean(self, heads: Mapping[str, Scores]) -> Scores:
        """Return the weighted mean `(n,)` of predictions, NaN where they are."""
        total = sum(self._weights[name] for name in heads)
        return np.sum([np.float32(self._weights[name] / total) * values for name, values in heads.items()], axis=0)


def blend(candidates: Candidates) -> Scores:
    """Return the weighted reciprocal ranks `(n,)` of candidates in their generators, in [0, 1]."""
    base = np.zeros(len(candidates.rows), np.float32)
    total = sum(BLEND_WEIGHTS.values())
    for name, (places, _) in candidates.proposed.items():
        ranks = np.arange(len(places), dtype=np.float32)
        base[places] += np.float32(BLEND_WEIGHTS.get(name, _OTHER) / total) / (1 + ranks / np.float32(_RANK_HALVES))
    return np.minimum(base, np.float32(1.0))


def _numbers(values: object, n: int) -> Scores | None:
    """Return predictions `(n,)`, NaN where they are no numbers; None where none is, or they are not `n`."""
    array = np.asarray(values, np.float32)
    if array.shape != (n,) or not np.isfinite(array).any():
        return None
    return array


def _within_0_and_1(values: Scores) -> Scores:
    """Return scores moved and scaled so that the least is 0 and the greatest 1; what is no number is NaN."""
    finite = np.where(np.isfinite(values), values, np.float32(np.nan))
    low, high = np.nanmin(finite), np.nanmax(finite)
    return np.asarray((finite - low) / (high - low) if high > low else finite * 0 + 1, np.float32)


def disliked_likeness(videos: Videos, viewer: Viewer, rows: Rows) -> Scores:
    """Return how much each row is like what the viewer disliked or hid lately, in [0, 1].

    The greatest cosine of content vectors, at least `_SAME_CREATOR` for a video by the same creator.
    """
    disliked = [past.row for past in viewer.history if past.kind in ("dislike", "hide")][:_DISLIKED_KEPT]
    if not disliked or not len(rows):
        return np.zeros(len(rows), np.float32)
    against = np.array(disliked)
    likeness = (videos.content[rows] @ videos.content[against].T).max(axis=1)
    same = np.isin(videos.creator[rows], videos.creator[against])
    return np.clip(np.maximum(likeness, np.where(same, _SAME_CREATOR, 0.0)), 0.0, 1.0).astype(np.float32)


def fresh(created_s: NDArray[np.float64], now_s: float, half_life_s: float) -> Scores:
    """Return `2^(-age / half-life)`, 1 for what is from the future."""
    ages = np.maximum(0.0, now_s - created_s)
    return np.exp2(-np.minimum(ages / half_life_s, 1_000.0)).astype(np.float32)
