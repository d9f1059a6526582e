"""Scoring posts: text and media become features, features become probabilities, and what was looked at is said.

A long text is cut into passages, each of which is scored with all the rest of the post; the highest probability of a
class counts. So harm at the end of a long text is not averaged away; a long harmless text has more chances to be
mistaken, which thresholds have to bear.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import structlog

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
from core.ports import EncodedImage
from models.moderation.drift import WatchedPost
from models.moderation.features import PostFeatures
from models.moderation.score import HarmModel, HarmScores
from models.moderation.wording import ProfaneWords
from models.text.normalise import normalise
from monitoring.catalogue import MODERATION_SCORED, MODERATION_SECONDS
from monitoring.recorder import Recorder
from serving.moderation.drift import DriftStatus, PostDrift
from serving.moderation.evidence import nudity_regions, segments, text_evidence
from serving.moderation.harm_models import HarmModels
from serving.moderation.media import Look, MediaLooks
from serving.moderation.reading import ReadPost, by_passage, read_post, with_media
from serving.moderation.texts import TextVectors, Vector

_log = structlog.get_logger(__name__)

_EXPLAINED_FROM = 0.2  # a class less probable than this needs no evidence


@dataclass(frozen=True)
class _Scored:
    """A post's scores, and the features of the passage that decided each class."""

    scores: dict[HarmClass, float | None]
    shares: dict[HarmClass, dict[str, float]]
    passage: dict[HarmClass, int]
    features: list[PostFeatures]


@dataclass(frozen=True)
class _Seen:
    """Features of a post, one for each passage; what could not be looked at; and the signals for the policy's rules."""

    features: list[PostFeatures]
    missing: list[str]
    signals: dict[str, float]


@dataclass(frozen=True)
class _Judged:
    """A post with the scores of the model that decides, and of the one that is compared."""

    seen: _Seen
    scored: _Scored
    compared: ChallengerScores | None


class PostScorer:
    """Implements the scoring of `core.moderation.Moderator`. For one event loop."""

    def __init__(
        self,
        models: HarmModels,
        texts: TextVectors,
        media: MediaLooks,
        profane: ProfaneWords,
        recorder: Recorder,
        drift: PostDrift | None = None,
    ) -> None:
        self._models = models
        self._texts = texts
        self._media = media
        self._profane = profane
        self._recorder = recorder
        self._drift = drift

    async def score(
        self, posts: Sequence[PostToScore], *, explain: bool = False, timeout_s: float = 5.0
    ) -> list[PostScores | ScoreFailure]:
        """See the port."""
        model, challenger = self._models.champion, None if explain else self._models.challenger
        read = [read_post(post, self._profane) for post in posts]
        deadline = asyncio.get_running_loop().time() + timeout_s
        vectors, looks = await asyncio.gather(self._vectors(read, timeout_s), self._look_at_media(posts, timeout_s))
        seen = [self._seen(one, vectors, looks, model) for one in read]
        results = await asyncio.gather(
            *(
                self._answer(one, what, looks, model, deadline if explain else None)
                for one, what in zip(read, self._judged(seen, model, challenger, watch=not explain), strict=True)
            )
        )
        for answer in [] if explain else results:
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

    def drift(self) -> DriftStatus:
        """Return how far what is asked and answered is from what the model learned from."""
        return self._drift.status() if self._drift is not None else DriftStatus(None, "drift is not watched here")

    def accept_drift(self) -> DriftStatus:
        """Make what was seen lately the reference for drift. Raises Unavailable, Conflict."""
        if self._drift is None:
            raise Unavailable("drift is not watched here")
        return self._drift.accept()

    def check_health(self) -> None:
        """Raise Unavailable when encoding hangs."""
        self._texts.check_health()

    def close(self) -> None:
        """Fail what is under way."""
        self._texts.close()
        self._models.close()
        if self._drift is not None:
            self._drift.close()

    # --- words and media ---------------------------------------------------------------------------------------

    async def _vectors(self, read: Sequence[ReadPost], timeout_s: float) -> dict[str, Vector] | RiverlightError:
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

    def _seen(
        self, one: ReadPost, vectors: dict[str, Vector] | RiverlightError, looks: dict[str, Look], model: HarmModel
    ) -> _Seen | RiverlightError:
        """Return everything that is known of a post, or why it cannot be judged."""
        if isinstance(vectors, RiverlightError):
            if one.clean or not one.post.media_ids:
                return vectors
            vectors = {}
        base, missing, signals = with_media(one, looks, model)
        return _Seen(by_passage(one, base, vectors), missing, signals)

    def _judged(
        self, seen: Sequence[_Seen | RiverlightError], model: HarmModel, challenger: HarmModel | None, *, watch: bool
    ) -> list[_Judged | RiverlightError]:
        """Have the models score all posts at once: a call for each costs a third of their time.

        `watch`: count them for drift. Whoever asks for evidence asks a second time, about posts that are restricted.
        """
        there = [one for one in seen if isinstance(one, _Seen)]
        features = [one.features for one in there]
        began_s = time.perf_counter()
        with self._recorder.time(MODERATION_SECONDS, stage="model"):
            scored = _scored(model, features)
        compared = self._compared(challenger, features, time.perf_counter() - began_s)
        if self._drift is not None and watch:
            watched = [
                WatchedPost(one.features[0], one.scores, sum(len(passage.text) for passage in one.features))
                for one in scored
            ]
            self._drift.observe(model, watched)
        found = iter(_Judged(*one) for one in zip(there, scored, compared, strict=True))
        return [next(found) if isinstance(one, _Seen) else one for one in seen]

    def _compared(
        self, challenger: HarmModel | None, features: Sequence[list[PostFeatures]], beside_s: float
    ) -> list[ChallengerScores | None]:
        """Return what a challenger says of each post. One that fails is no reason to leave posts without scores.

        `beside_s` is how long the model that decides took for all of them.
        """
        if challenger is None or not features:
            return [None] * len(features)
        began_s = time.perf_counter()
        try:
            with self._recorder.time(MODERATION_SECONDS, stage="challenger"):
                said = _scored(challenger, features)
        except RiverlightError as error:
            _log.warning("challenger_failed", version=challenger.version, error=str(error))
            return [None] * len(features)
        took_s = (time.perf_counter() - began_s) / len(features)
        return [
            ChallengerScores(
                model_version=challenger.version,
                scores=one.scores,
                took_s=round(took_s, 6),
                beside_s=round(beside_s / len(features), 6),
            )
            for one in said
        ]

    async def _answer(
        self,
        one: ReadPost,
        judged: _Judged | RiverlightError,
        looks: dict[str, Look],
        model: HarmModel,
        explain_until: float | None,
    ) -> PostScores | ScoreFailure:
        """Return what is said of a post; with evidence where `explain_until` gives time for it."""
        try:
            if isinstance(judged, RiverlightError):
                raise judged
            result = self._result(one, judged, looks, model)
            if explain_until is None:
                return result
            return await self._explained(one, result, judged.scored, looks, model, explain_until)
        except RiverlightError as error:
            return ScoreFailure(
                post_id=one.post.post_id,
                code=error.code,
                message=str(error),
                transient=isinstance(error, Unavailable),
            )

    def _result(self, one: ReadPost, judged: _Judged, looks: dict[str, Look], model: HarmModel) -> PostScores:
        return PostScores(
            post_id=one.post.post_id,
            scores=judged.scored.scores,
            shares=judged.scored.shares,
            signals=judged.seen.signals,
            language=one.language,
            phashes={
                media_id: list(look.frame_phashes or (look.phash,))
                for media_id in one.post.media_ids
                if isinstance(look := looks.get(media_id), EncodedImage)
            },
            missing=judged.seen.missing,
            model_version=model.version,
            text_version=self._texts.encoder.version,
            image_version=model.image_encoder,
            challenger=judged.compared,
        )

    # --- evidence ----------------------------------------------------------------------------------------------

    async def _explained(
        self,
        one: ReadPost,
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

    async def _words_of(self, one: ReadPost, scored: _Scored, harm: HarmClass, model: HarmModel) -> list[Evidence]:
        place = scored.passage[harm]
        span, features = one.spans[place], scored.features[place]
        parts = segments(span.text)
        if len(parts) < 2:
            return list(text_evidence(harm, span, parts, [1.0] * len(parts)))
        without = [normalise(span.text[:start] + " " + span.text[end:]).text for start, end in parts]
        vectors = await self._texts.encode(without)
        whole = scored.scores[harm] or 0.0
        rows = [replace(features, text=text, text_vector=vector) for text, vector in zip(without, vectors, strict=True)]
        falls = [whole - (score.probabilities[harm] or 0.0) for score in model.score(rows)]
        return list(text_evidence(harm, span, parts, falls))


def _scored(model: HarmModel, posts: Sequence[list[PostFeatures]]) -> list[_Scored]:
    """Return for each post and class the highest probability of any passage, and that passage's shares."""
    rows = iter(model.judge([passage for post in posts for passage in post]))
    return [_highest(post, [next(rows) for _ in post]) for post in posts]


def _highest(
    features: list[PostFeatures], judged: Sequence[tuple[HarmScores, dict[HarmClass, dict[str, float]]]]
) -> _Scored:
    scores: dict[HarmClass, float | None] = {}
    passage: dict[HarmClass, int] = {}
    for harm in HARM_CLASSES:
        known = [
            (value, place) for place, (row, _) in enumerate(judged) if (value := row.probabilities[harm]) is not None
        ]
        scores[harm], passage[harm] = max(known, default=(None, 0), key=lambda pair: pair[0])
    return _Scored(
        scores,
        {harm: judged[place][1][harm] for harm, place in passage.items() if harm in judged[place][1]},
        passage,
        features,
    )
