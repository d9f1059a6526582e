"""Scoring posts: text and media become features, features become probabilities, and what was looked at is said.

A long text is cut into passages, each of which is scored with all the rest of the post; the highest probability of a
class counts. So harm at the end of a long text is not averaged away; a long harmless text has more chances to be
mistaken, which thresholds have to bear.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import RiverlightError, Unavailable
from core.moderation import (
    HARM_CLASSES,
    ChallengerScores,
    Evidence,
    HarmClass,
    PostScores,
    PostToScore,
    ScoreFailure,
)
from core.ports import EncodedImage, EncodeFailure
from models.moderation.features import PostFeatures
from models.moderation.score import HarmModel
from models.moderation.wording import ProfaneWords
from models.text.language import detect_language
from models.text.normalise import normalise
from monitoring.catalogue import MODERATION_SCORED, MODERATION_SECONDS
from monitoring.recorder import Recorder
from serving.moderation.evidence import nudity_regions, segments, text_evidence
from serving.moderation.harm_models import HarmModels
from serving.moderation.media import Look, MediaLooks
from serving.moderation.passages import Passage, passages
from serving.moderation.texts import TextVectors, Vector

_COMMENTS = 20
_COMMENT_CHARACTERS = 300
_EXPLAINED_FROM = 0.2  # a class less probable than this needs no evidence


@dataclass(frozen=True)
class _Read:
    """A post with its words looked at. `spans` are passages of the text as it was written."""

    post: PostToScore
    language: str
    spans: tuple[Passage, ...]
    clean: tuple[str, ...]  # the same passages, normalised: what is encoded
    base: PostFeatures  # everything but vectors
    signals: dict[str, float]
    missing: tuple[str, ...]
    comments: tuple[str, ...]


@dataclass(frozen=True)
class _Scored:
    """A post's scores, and the features of the passage that decided each class."""

    scores: dict[HarmClass, float | None]
    shares: dict[HarmClass, dict[str, float]]
    passage: dict[HarmClass, int]
    features: list[PostFeatures]


class PostScorer:
    """Implements the scoring of `core.moderation.Moderator`. For one event loop."""

    def __init__(
        self, models: HarmModels, texts: TextVectors, media: MediaLooks, profane: ProfaneWords, recorder: Recorder
    ) -> None:
        self._models = models
        self._texts = texts
        self._media = media
        self._profane = profane
        self._recorder = recorder

    async def score(
        self, posts: Sequence[PostToScore], *, explain: bool = False, timeout_s: float = 5.0
    ) -> list[PostScores | ScoreFailure]:
        """See the port."""
        model, challenger = self._models.champion, self._models.challenger
        read = [self._read(post) for post in posts]
        deadline = asyncio.get_running_loop().time() + timeout_s
        vectors, looks = await asyncio.gather(self._vectors(read, timeout_s), self._look_at_media(posts, timeout_s))
        results: list[PostScores | ScoreFailure] = []
        for one in read:
            try:
                result, scored = self._judge(one, vectors, looks, model, challenger)
                if explain:
                    result = await self._explained(one, result, scored, looks, model, deadline)
                results.append(result)
            except RiverlightError as error:
                results.append(
                    ScoreFailure(
                        post_id=one.post.post_id,
                        code=error.code,
                        message=str(error),
                        transient=isinstance(error, Unavailable),
                    )
                )
        for answer in results:
            partial = isinstance(answer, PostScores) and bool(answer.missing)
            outcome = "failed" if isinstance(answer, ScoreFailure) else "partial" if partial else "ok"
            self._recorder.count(MODERATION_SCORED, outcome=outcome)
        return results

    def versions(self) -> dict[str, str]:
        """Return the versions of the models that score now."""
        challenger = self._models.challenger
        return {
            "model_version": self._models.champion.version,
            "text_version": self._texts.encoder.version,
            "image_version": self._models.champion.image_encoder,
            "challenger_version": challenger.version if challenger is not None else "",
        }

    def check_health(self) -> None:
        """Raise Unavailable when encoding hangs."""
        self._texts.check_health()

    def close(self) -> None:
        """Fail what is under way."""
        self._texts.close()
        self._models.close()

    # --- words and media ---------------------------------------------------------------------------------------

    def _read(self, post: PostToScore) -> _Read:
        language = post.language if post.language != "und" else detect_language(post.text)
        spans, whole = passages(post.text)
        read = [(span, shown) for span in spans if (shown := normalise(span.text)).text]
        spans, normal = [span for span, _ in read], [shown for _, shown in read]
        words = self._profane.count(" ".join(one.text for one in normal), language)
        obfuscated = max((one.changed for one in normal), default=0.0)
        missing = [] if whole else ["text: only parts of it were read"]
        signals = {
            "obfuscation": round(obfuscated, 4),
            "length": float(len(post.text)),
            "links": float(len(post.links)),
            "media": float(len(post.media_ids)),
        }
        signals["words"] = float(words.total)
        if not math.isnan(words.profane_rate):
            signals["profane_rate"] = round(words.profane_rate, 4)
            signals["profane_words"] = float(words.profane or 0)
        return _Read(
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

    async def _vectors(self, read: Sequence[_Read], timeout_s: float) -> dict[str, Vector] | RiverlightError:
        """Return the vectors of all passages and comments; or why there are none."""
        texts = list(dict.fromkeys(text for one in read for text in (*one.clean, *one.comments)))
        try:
            async with asyncio.timeout(timeout_s):
                return dict(zip(texts, await self._texts.encode(texts), strict=True))
        except TimeoutError:
            return Unavailable(f"the texts were not encoded in {timeout_s:g} s")
        except RiverlightError as error:
            return error

    async def _look_at_media(self, posts: Sequence[PostToScore], timeout_s: float) -> dict[str, Look]:
        wanted = [media_id for post in posts for media_id in post.media_ids]
        if not wanted:
            return {}
        with self._recorder.time(MODERATION_SECONDS, stage="media"):
            return await self._media.look(wanted, timeout_s)

    # --- scores ------------------------------------------------------------------------------------------------

    def _judge(
        self,
        one: _Read,
        vectors: dict[str, Vector] | RiverlightError,
        looks: dict[str, Look],
        model: HarmModel,
        challenger: HarmModel | None,
    ) -> tuple[PostScores, _Scored]:
        if isinstance(vectors, RiverlightError):
            if one.clean or not one.post.media_ids:
                raise vectors
            vectors = {}
        base, missing, signals = _with_media(one, looks, model)
        features = _by_passage(one, base, vectors)
        with self._recorder.time(MODERATION_SECONDS, stage="model"):
            scored = _scored(model, features)
            compared = _scored(challenger, features).scores if challenger is not None else None
        scores = PostScores(
            post_id=one.post.post_id,
            scores=scored.scores,
            shares=scored.shares,
            signals=signals,
            language=one.language,
            phashes={
                media_id: list(look.frame_phashes or (look.phash,))
                for media_id in one.post.media_ids
                if isinstance(look := looks.get(media_id), EncodedImage)
            },
            missing=missing,
            model_version=model.version,
            text_version=self._texts.encoder.version,
            image_version=model.image_encoder,
            challenger=(
                ChallengerScores(model_version=challenger.version, scores=compared)
                if challenger is not None and compared is not None
                else None
            ),
        )
        return scores, scored

    # --- evidence ----------------------------------------------------------------------------------------------

    async def _explained(
        self,
        one: _Read,
        result: PostScores,
        scored: _Scored,
        looks: dict[str, Look],
        model: HarmModel,
        deadline: float,
    ) -> PostScores:
        """Return the scores with evidence for the most probable class; without, where there was no time for it."""
        known = {harm: value for harm, value in result.scores.items() if value is not None}
        harm = max(known, key=lambda name: known[name], default=None)
        if harm is None or known[harm] < _EXPLAINED_FROM:
            return result
        evidence: list[Evidence] = []
        left_s = deadline - asyncio.get_running_loop().time()
        with self._recorder.time(MODERATION_SECONDS, stage="explain"):
            try:
                async with asyncio.timeout(left_s):
                    if one.clean:
                        evidence += await self._words_of(one, scored, harm, model)
                    if harm == "nudity":
                        evidence += await nudity_regions(self._media, looks, one.post.media_ids, left_s)
            except (TimeoutError, Unavailable):
                pass  # the decision stands without
        return msgspec.structs.replace(result, evidence=evidence)

    async def _words_of(self, one: _Read, scored: _Scored, harm: HarmClass, model: HarmModel) -> list[Evidence]:
        place = scored.passage[harm]
        span, features = one.spans[place], scored.features[place]
        parts = segments(span.text)
        if len(parts) < 2:
            return list(text_evidence(harm, span, parts, [1.0] * len(parts)))
        without = [normalise(span.text[:start] + " " + span.text[end:]).text for start, end in parts]
        vectors = await self._texts.encode(without)
        whole = model.score([features])[0].probabilities[harm] or 0.0
        rows = [replace(features, text=text, text_vector=vector) for text, vector in zip(without, vectors, strict=True)]
        falls = [whole - (score.probabilities[harm] or 0.0) for score in model.score(rows)]
        return list(text_evidence(harm, span, parts, falls))


def _facts(post: PostToScore, language: str, profane_rate: float, obfuscated: float) -> PostFeatures:
    author, reactions = post.author, post.reactions
    shown = reactions.impressions > 0 or reactions.reports > 0
    return PostFeatures(
        profane_rate=profane_rate,
        obfuscated=obfuscated,
        links=len(post.links),
        n_images=len(post.media_ids),
        impressions=float(reactions.impressions) if shown else math.nan,
        likes=float(reactions.likes) if shown else math.nan,
        shares=float(reactions.shares) if shown else math.nan,
        comments=float(reactions.comments) if shown else math.nan,
        reports=float(reactions.reports) if shown else math.nan,
        author_violations=_number(author.violations),
        author_reports=_number(author.reports_received),
        author_profane_rate=_number(author.profane_rate),
        author_posts=_number(author.posts),
        author_followers=_number(author.followers),
        author_account_age_days=_number(author.account_age_days),
        author_age_band=author.age_band,
        author_gender=author.gender,
        author_city=author.city,
        author_country=author.country,
        hour=post.posted_at.hour,
        device=post.device,
        language=language,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _with_media(
    one: _Read, looks: dict[str, Look], model: HarmModel
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


def _mean(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = np.asarray(vectors, np.float32).mean(axis=0)
    return mean


def _by_passage(one: _Read, base: PostFeatures, vectors: dict[str, Vector]) -> list[PostFeatures]:
    """Return the post's features once for each passage; once without text where there is none."""
    if one.comments and all(text in vectors for text in one.comments):
        base = replace(base, comments_vector=_mean([vectors[text] for text in one.comments]))
    if not one.clean:
        return [base]
    return [replace(base, text=text, text_vector=vectors[text]) for text in one.clean]


def _scored(model: HarmModel, features: list[PostFeatures]) -> _Scored:
    """Return for each class the highest probability of any passage, and that passage's shares."""
    rows, shares = model.score(features), model.shares(features)
    scores: dict[HarmClass, float | None] = {}
    passage: dict[HarmClass, int] = {}
    for harm in HARM_CLASSES:
        known = [(value, place) for place, row in enumerate(rows) if (value := row.probabilities[harm]) is not None]
        scores[harm], passage[harm] = max(known, default=(None, 0), key=lambda pair: pair[0])
    return _Scored(
        scores,
        {harm: shares[place][harm] for harm, place in passage.items() if harm in shares[place]},
        passage,
        features,
    )
