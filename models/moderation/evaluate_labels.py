"""Measuring a harm model, or scores that somebody brings, on somebody's own labelled posts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from core.ports import ImageEncoder, TextEncoder
from models.media.nsfw import NsfwModel
from models.metrics.classification import expected_calibration_error, reliability
from models.moderation.evaluate import as_plain, by_class, threshold_table
from models.moderation.features import PostFeatures
from models.moderation.groups import near_duplicate_groups
from models.moderation.labels_file import LabelledPost
from models.moderation.score import HarmModel
from models.moderation.wording import ProfaneWords
from models.progress import Report
from models.text.language import detect_language
from models.text.normalise import normalise
from models.visual_search.data import read_image

Floats = NDArray[np.float64]
Cut = Callable[[str], Sequence[str]]
_CHUNK = 64
_LEAST_IN_A_GROUP = 10


@dataclass(frozen=True)
class Scored:
    """n labelled posts with scores `(n, 5)` (NaN where unknown) and targets `(n, 5)` (NaN where not judged)."""

    posts: tuple[LabelledPost, ...]
    languages: tuple[str, ...]
    scores: Floats
    targets: NDArray[np.float32]
    groups: NDArray[np.int64]


def score_labels(
    posts: Sequence[LabelledPost],
    model: HarmModel,
    text_encoder: TextEncoder,
    words: ProfaneWords,
    *,
    cut: Cut,
    image_encoder: ImageEncoder | None = None,
    nsfw: NsfwModel | None = None,
    report: Report = lambda stage, done, total: None,
) -> Scored:
    """Score posts as serving does: `cut` gives a text's passages, and the highest score of a class counts.

    Raises:
        UndecodableMedia: naming an image that cannot be read.
    """
    scores = np.full((len(posts), len(HARM_CLASSES)), np.nan)
    languages = []
    for start in range(0, len(posts), _CHUNK):
        report("scoring", start, len(posts))
        for place, post in enumerate(posts[start : start + _CHUNK], start):
            language = post.language if post.language != "und" else detect_language(post.text)
            languages.append(language)
            base = _pictured(post, image_encoder, nsfw)
            normal = [normalise(passage) for passage in cut(post.text)]
            clean = [one.text for one in normal if one.text]
            rate = words.count(" ".join(clean), language).profane_rate
            base = replace(base, profane_rate=rate, obfuscated=max((one.changed for one in normal), default=0.0))
            vectors = text_encoder.encode(clean)
            rows = [replace(base, text=text, text_vector=row) for text, row in zip(clean, vectors, strict=True)]
            found = [
                [math.nan if value is None else value for value in one.probabilities.values()]
                for one in model.score(rows or [base])
            ]
            known = np.isfinite(found).any(axis=0)
            scores[place, known] = np.nanmax(np.array(found)[:, known], axis=0)
    report("scoring", len(posts), len(posts))
    return _scored(posts, languages, scores)


def given_scores(posts: Sequence[LabelledPost]) -> Scored:
    """Return posts with the scores that their lines bring; languages are only what the lines say."""
    scores = np.array([[post.scores.get(harm, math.nan) for harm in HARM_CLASSES] for post in posts], np.float64)
    return _scored(posts, [post.language for post in posts], scores)


def measure(scored: Scored) -> dict[str, Any]:
    """Return all figures: by class with intervals, calibration, thresholds, languages, groups, and what is unknown.

    Intervals are over groups of near-duplicates, which are one piece of evidence.
    """
    known = np.isfinite(scored.targets) & np.isfinite(scored.scores)
    named = [post.group for post in scored.posts]
    return {
        "posts": len(scored.posts),
        "near_duplicates": len(scored.posts) - len(np.unique(scored.groups)),
        "unknown": {
            harm: int((np.isfinite(scored.targets[:, place]) & ~np.isfinite(scored.scores[:, place])).sum())
            for place, harm in enumerate(HARM_CLASSES)
        },
        "classes": as_plain(by_class(scored.scores, scored.targets, groups=scored.groups)),
        "calibration": {
            harm: {
                "ece": as_plain(expected_calibration_error(truth, values)),
                "bins": as_plain([vars(one) for one in reliability(truth, values)]),
            }
            for harm, truth, values in _judged(scored, known)
        },
        "thresholds": as_plain(threshold_table(scored.scores, scored.targets)),
        "languages": _table(scored, list(scored.languages)),
        "groups": _table(scored, named) if any(named) else {},
    }


def _judged(scored: Scored, known: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_], Floats]]:
    return [
        (harm, scored.targets[known[:, place], place] >= 0.5, scored.scores[known[:, place], place])
        for place, harm in enumerate(HARM_CLASSES)
        if known[:, place].any()
    ]


def _table(scored: Scored, names: Sequence[str]) -> dict[str, Any]:
    """Return by name: posts, areas a class, and the share of harmless posts that some class scores from one half on."""
    labels, found = np.array(names), {}
    for name in sorted(set(names)):
        rows = labels == name
        judged = np.isfinite(scored.targets[rows])
        harmless = judged.any(axis=1) & (np.nan_to_num(scored.targets[rows]).max(axis=1) < 0.5)
        worst = np.nan_to_num(scored.scores[rows]).max(axis=1)
        figures = by_class(scored.scores[rows], scored.targets[rows], intervals=False)
        found[name or "(none)"] = {
            "posts": int(rows.sum()),
            "few": bool(rows.sum() < _LEAST_IN_A_GROUP),
            "harmless": int(harmless.sum()),
            "false_alarms_at_0.5": as_plain(float((worst[harmless] >= 0.5).mean()) if harmless.any() else math.nan),
            "classes": {
                harm: {
                    "examples": one.examples,
                    "harmful": one.harmful,
                    "roc": as_plain(one.roc),
                    "pr": as_plain(one.pr),
                }
                for harm, one in figures.items()
            },
        }
    return found


def _scored(posts: Sequence[LabelledPost], languages: Sequence[str], scores: Floats) -> Scored:
    targets = np.array([[post.labels.get(harm, math.nan) for harm in HARM_CLASSES] for post in posts], np.float32)
    texts = [post.text or f"{post.image or post.line}" for post in posts]
    return Scored(tuple(posts), tuple(languages), scores, targets, near_duplicate_groups(texts))


def _pictured(post: LabelledPost, encoder: ImageEncoder | None, nsfw: NsfwModel | None) -> PostFeatures:
    if post.image is None or encoder is None:
        return PostFeatures()
    pixels = read_image(post.image)
    score = None if nsfw is None else nsfw.score([pixels])
    return PostFeatures(
        image_vector=encoder.encode([pixels])[0], n_images=1, nsfw=math.nan if score is None else float(score)
    )
