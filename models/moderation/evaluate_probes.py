"""What a trained model says of texts it never saw: the project's own posts in eight languages, benign but edgy ones,
and the same posts in surroundings that contradict their text."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.moderation import HARM_CLASSES
from models.datasets.texts import LabelledText
from models.metrics.classification import roc_auc
from models.moderation.data import HarmTexts, harm_texts
from models.moderation.evaluate import by_class, false_positives
from models.moderation.features import PostFeatures
from models.moderation.posts import Surroundings, bare_posts
from models.moderation.score import HarmModel
from models.moderation.sentences import edgy_posts, own_posts
from models.moderation.vectors import VectorCache
from models.moderation.wording import ProfaneWords

GOOD_NAME = {
    "impressions": 2_000.0,
    "likes": 90.0,
    "shares": 10.0,
    "comments": 6.0,
    "reports": 0.0,
    "author_violations": 0.0,
    "author_reports": 0.0,
    "author_profane_rate": 0.0,
    "author_posts": 400.0,
    "author_followers": 900.0,
    "author_account_age_days": 2_500.0,
}
BAD_NAME = {
    "impressions": 2_000.0,
    "likes": 20.0,
    "shares": 10.0,
    "comments": 6.0,
    "reports": 12.0,
    "author_violations": 2.0,
    "author_reports": 8.0,
    "author_profane_rate": 0.06,
    "author_posts": 12.0,
    "author_followers": 20.0,
    "author_account_age_days": 10.0,
}


def probe(model: HarmModel, vectors: VectorCache, words: ProfaneWords, around: Surroundings) -> dict[str, Any]:
    """Return figures on the project's own test posts (by language), false positives, and the pull of surroundings."""
    tested = own_posts("test")
    data = harm_texts(tested)
    posts = _posts(tested, vectors, words)
    scores = model.probabilities(model.encode(posts))
    edgy = edgy_posts()
    edgy_bare = _posts(edgy, vectors, words)
    edgy_scores = model.probabilities(model.encode(edgy_bare))
    return {
        "own_test": {
            "classes": by_class(scores, data.targets, groups=data.groups),
            "languages": by_language(data, scores),
        },
        "edgy": {
            **false_positives(
                edgy_scores,
                {
                    "language": [text.language for text in edgy],
                    "topic": [text.group for text in edgy],
                    "kind": [text.source for text in edgy],
                },
            ),
            "new_topics": sorted({text.group for text in edgy if text.source == "edgy-new"}),
        },
        "surroundings": _pull(model, posts, data, edgy_bare, around),
    }


def by_language(data: HarmTexts, scores: np.ndarray) -> dict[str, Any]:
    """Return by language how well harmful texts are told from harmless ones, and how many are found at one half."""
    harmful = np.nan_to_num(data.targets).max(axis=1) >= 0.5
    languages, found = np.array(data.languages), {}
    for language in sorted(set(data.languages)):
        rows = languages == language
        worst = scores[rows].max(axis=1)
        right = np.where(harmful[rows, None], data.targets[rows] >= 0.5, False)
        of_class = np.where(right, scores[rows], 0.0).max(axis=1)
        found[language] = {
            "texts": int(rows.sum()),
            "harmful": int(harmful[rows].sum()),
            "roc": roc_auc(harmful[rows], worst),
            "found_at_0.5": float((of_class[harmful[rows]] >= 0.5).mean()),
            "false_alarms_at_0.5": float((worst[~harmful[rows]] >= 0.5).mean()),
        }
    return found


def _pull(
    model: HarmModel,
    tested: Sequence[PostFeatures],
    data: HarmTexts,
    edgy: Sequence[PostFeatures],
    around: Surroundings,
) -> dict[str, Any]:
    """Score harmful and benign texts bare, beside a good name, and beside a bad one with angry comments."""
    harmful = np.nan_to_num(data.targets).max(axis=1) >= 0.5
    good: NDArray[np.float32] = np.asarray(around.comments["neutral"][:4], np.float32).mean(axis=0)
    out: dict[str, Any] = {}
    for name, changes in (("bare", {}), ("good_name", GOOD_NAME), ("bad_name", BAD_NAME)):
        variants: dict[str, list[PostFeatures]] = {"harmful": [], "edgy": []}
        for post, is_harmful, classes in zip(tested, harmful, data.targets, strict=True):
            if is_harmful:
                angry = around.comments[HARM_CLASSES[int(np.nan_to_num(classes).argmax())]]
                variants["harmful"].append(_beside(post, changes, good if name == "good_name" else angry.mean(axis=0)))
        for post in edgy:
            angry = around.comments["violence"]
            variants["edgy"].append(_beside(post, changes, good if name == "good_name" else angry.mean(axis=0)))
        out[name] = {
            kind: {
                "from_0.5": float((model.probabilities(model.encode(posts)).max(axis=1) >= 0.5).mean()),
                "mean": float(model.probabilities(model.encode(posts)).max(axis=1).mean()),
            }
            for kind, posts in variants.items()
        }
    return out


def _beside(post: PostFeatures, changes: dict[str, float], comments: np.ndarray) -> PostFeatures:
    return replace(post, **changes, comments_vector=comments.astype(np.float32)) if changes else post  # type: ignore[arg-type]


def _posts(texts: Sequence[LabelledText], vectors: VectorCache, words: ProfaneWords) -> list[PostFeatures]:
    rows = vectors.encode([text.text for text in texts])
    return bare_posts([text.text for text in texts], rows, [text.language for text in texts], words)
