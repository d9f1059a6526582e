"""What a post says and what is known of it, as features for the harm model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.moderation import PostToScore
from core.ports import EncodedImage, EncodeFailure
from models.moderation.features import PostFeatures
from models.moderation.score import HarmModel
from models.moderation.told import told_features
from models.moderation.wording import ProfaneWords
from models.text.language import detect_language
from models.text.normalise import normalise
from serving.moderation.media import Look
from serving.moderation.passages import Passage, passages
from serving.moderation.texts import Vector

_COMMENTS = 20
_COMMENT_CHARACTERS = 300


@dataclass(frozen=True)
class ReadPost:
    """A post with its words looked at. `spans` are passages of the text as it was written."""

    post: PostToScore
    language: str
    spans: tuple[Passage, ...]
    clean: tuple[str, ...]  # the same passages, normalised: what is encoded
    base: PostFeatures  # everything but vectors
    signals: dict[str, float]
    missing: tuple[str, ...]
    comments: tuple[str, ...]


def read_post(post: PostToScore, profane: ProfaneWords) -> ReadPost:
    """Undo disguises, find passages and language, count what can be counted."""
    language = post.language if post.language != "und" else detect_language(post.text)
    spans, whole = passages(post.text)
    read = [(span, shown) for span in spans if (shown := normalise(span.text)).text]
    spans, normal = [span for span, _ in read], [shown for _, shown in read]
    words = profane.count(" ".join(one.text for one in normal), language)
    obfuscated = max((one.changed for one in normal), default=0.0)
    missing = [] if whole else ["text: only parts of it were read"]
    signals = {
        "obfuscation": round(obfuscated, 4),
        "length": float(len(post.text)),
        "links": float(len(post.links)),
        "media": float(len(post.media_ids)),
    }
    signals["words"] = float(words.total)
    if post.upload:
        signals["upload"] = 1.0
    if not math.isnan(words.profane_rate):
        signals["profane_rate"] = round(words.profane_rate, 4)
        signals["profane_words"] = float(words.profane or 0)
    return ReadPost(
        post=post,
        language=language,
        spans=tuple(spans),
        clean=tuple(one.text for one in normal),
        base=_facts(post, language, words.profane_rate, obfuscated),
        signals=signals,
        missing=tuple(missing),
        comments=tuple(
            text for comment in post.comments[:_COMMENTS] if (text := comment[:_COMMENT_CHARACTERS].strip())
        ),
    )


def with_media(
    one: ReadPost, looks: dict[str, Look], model: HarmModel
) -> tuple[PostFeatures, list[str], dict[str, float]]:
    """Return the features with what is known of the media, what could not be looked at, and the signals."""
    missing, signals = list(one.missing), dict(one.signals)
    vectors: list[NDArray[np.float32]] = []
    nsfw: list[float] = []
    for media_id in dict.fromkeys(one.post.media_ids):
        look = looks.get(media_id)
        if not isinstance(look, EncodedImage):
            code = look.code if isinstance(look, EncodeFailure) else "not-asked"
            missing.append(f"media:{media_id}: {code}")
            continue
        if look.nsfw is not None:
            nsfw.append(look.nsfw)
        else:
            missing.append(f"media:{media_id}: no NSFW model")
        if look.model_version == model.image_encoder:
            vectors.append(look.vector)
    base = one.base
    if vectors:
        base = replace(base, image_vector=_mean(vectors))
    if nsfw:
        signals["nsfw"] = round(max(nsfw), 4)
        base = replace(base, nsfw=max(nsfw))
    return base, missing, signals


def by_passage(one: ReadPost, base: PostFeatures, vectors: dict[str, Vector]) -> list[PostFeatures]:
    """Return the post's features once for each passage; once without text where there is none."""
    if one.comments and all(text in vectors for text in one.comments):
        base = replace(base, comments_vector=_mean([vectors[text] for text in one.comments]))
    if not one.clean:
        return [base]
    return [replace(base, text=text, text_vector=vectors[text]) for text in one.clean]


def _facts(post: PostToScore, language: str, profane_rate: float, obfuscated: float) -> PostFeatures:
    told = told_features(post.author, post.reactions, hour=post.posted_at.hour, device=post.device, language=language)
    return replace(
        told, profane_rate=profane_rate, obfuscated=obfuscated, links=len(post.links), n_images=len(post.media_ids)
    )


def _mean(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = np.asarray(vectors, np.float32).mean(axis=0)
    return mean
