"""Judges posts: reads what is known of them, has them scored, applies the policy, records what is decided.

Both paths to a decision go through here: a post that was written or changed, and a post that others reacted to.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import msgspec
import structlog

from core.clock import Clock
from core.errors import Unavailable
from core.ids import is_upload_post
from core.moderation import (
    AuthorFacts,
    Decision,
    Moderator,
    PostScores,
    PostToScore,
    ReactionFacts,
    ScoreFailure,
)
from core.settings import ModerationSettings
from models.moderation.judging import Facts, Judgement, judge
from models.moderation.policy import KnownHit, PostReport, weigh
from models.moderation.policy.schema import Policy
from monitoring import catalogue as metrics
from monitoring.recorder import Recorder
from storage.moderation import (
    Author,
    Cause,
    ModerationStore,
    NewJob,
    Reactions,
    Recorded,
    Report,
    Reporter,
    StaleDecision,
    StoredPost,
)
from streams.moderation.feature_log import features_of
from streams.moderation.feed import FeatureFeed
from streams.moderation.shadow import compare_challenger, told_of

_TRIES = 3  # when a post is decided by somebody else meanwhile
_EXPLAIN_S = 1.5
_PAUSE_S = 0.25  # between tries to have posts scored
_TELL_S = 1.0

_log = structlog.get_logger("streams.moderation")


class KnownMedia(Protocol):
    """Finds media of posts on the lists of known harm."""

    def hits(self, posts: Sequence[Mapping[str, Sequence[str]]], distance: int) -> list[list[KnownHit]]:
        """Return the hits of each post. `posts`: each by media id its hashes; `distance`: bits that may differ."""
        ...


@dataclass(frozen=True)
class Asked:
    """A post to be judged. `event_id` names what asks for it. `is_new`: it is not stored yet, or has changed.

    `timed`: how long it took from the event counts as the time in which posts are decided.
    """

    post: StoredPost
    event_id: str
    event_time: datetime
    is_new: bool
    traceparent: str | None = None
    timed: bool = True


class PostJudges:
    """One object for a process. Calls for the same post may overlap: the store lets one of them through."""

    def __init__(
        self,
        store: ModerationStore,
        moderator: Moderator,
        policy: Callable[[], Policy],
        known: KnownMedia,
        recorder: Recorder,
        clock: Clock,
        settings: ModerationSettings,
        feed: FeatureFeed | None = None,
    ) -> None:
        """`feed` is told what is counted of posts that were judged, and of their authors."""
        self._under_way = 0
        self._quiet = asyncio.Event()  # set while nothing is being decided
        self._quiet.set()
        self._feed = feed
        self._store = store
        self._moderator = moderator
        self._policy = policy
        self._known = known
        self._recorder = recorder
        self._clock = clock
        self._settings = settings

    async def decide(self, consumer: str, asked: Sequence[Asked], event_ids: Sequence[str]) -> list[Judgement]:
        """Judge posts and record what comes of it, together with the events `event_ids` of the consumer.

        Raises Unavailable when the catalogue does not answer. A moderator that does not answer is no error here: its
        posts are reviewed by people, as the policy says of failures.
        """
        self._under_way += 1
        self._quiet.clear()
        try:
            return await self._decide(consumer, asked, event_ids)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def quiet(self, longest_s: float) -> None:
        """Wait for a moment in which nothing is being decided, but not longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._quiet.wait()

    async def _decide(self, consumer: str, asked: Sequence[Asked], event_ids: Sequence[str]) -> list[Judgement]:
        todo, events, judged = list(asked), list(event_ids), list[Judgement]()
        for _ in range(_TRIES):
            todo = await asyncio.to_thread(self._current, todo)
            judgements = await self._judge(todo)
            try:
                await self._record(consumer, todo, judgements, events)
                return judged + judgements
            except StaleDecision as error:  # somebody else decided meanwhile: look at those again
                _log.info("moderation_looks_again", posts=len(error.post_ids))
                moved = set(error.post_ids)
                settled = [
                    (one, result) for one, result in zip(todo, judgements, strict=True) if one.post.post_id not in moved
                ]
                if settled:
                    await self._record(consumer, [one for one, _ in settled], [result for _, result in settled], [])
                    judged += [result for _, result in settled]
                todo = [one for one in todo if one.post.post_id in moved]
        raise Unavailable(f"{len(todo)} posts are being decided elsewhere again and again")

    # --- judging -----------------------------------------------------------------------------------------------

    async def _judge(self, asked: Sequence[Asked]) -> list[Judgement]:
        if not asked:
            return []
        with self._recorder.time(metrics.MODERATION_SECONDS, stage="facts"):
            facts = await asyncio.to_thread(self._facts, asked)
        with self._recorder.time(metrics.MODERATION_SECONDS, stage="score"):
            scores = await self._score([one.post for one in facts])
        with self._recorder.time(metrics.MODERATION_SECONDS, stage="decide"):
            judgements = self._apply_policy(asked, facts, scores)
        if not self._settings.explain:
            return judgements
        return await self._explained(asked, judgements)

    def _current(self, asked: Sequence[Asked]) -> list[Asked]:
        """Return what is asked about posts as they are now: without versions that a newer one has overtaken."""
        stored = self._store.posts([one.post.post_id for one in asked])
        current: list[Asked] = []
        for one in asked:
            there = stored.get(one.post.post_id)
            if one.is_new and (there is None or one.post.version >= there.version):
                current.append(one)
            elif not one.is_new and there is not None and there.state == "active":
                current.append(replace(one, post=there))
        return current

    def _facts(self, asked: Sequence[Asked]) -> list[Facts]:
        store = self._store
        ids = [one.post.post_id for one in asked]
        authors = store.authors_before({one.post.post_id: one.post.author_id for one in asked})
        stored = store.posts(ids)
        pointers = [post.decision_id for post in stored.values() if post.decision_id]
        in_force = {decision.post_id: decision for decision in store.decisions(pointers).values()}
        reactions, reports = store.reactions(ids), store.reports_of(ids)
        reporter_ids = sorted({one.reporter_id for some in reports.values() for one in some})
        reporters, accounts = store.reporters(reporter_ids), store.authors(reporter_ids)
        now = self._clock.now()  # after all was read: what was told before is in it
        return [
            facts_of(
                one.post,
                authors[one.post.post_id],
                reactions[one.post.post_id],
                reports.get(one.post.post_id, []),
                reporters,
                accounts,
                in_force.get(one.post.post_id),
                policy=self._policy(),
                now=now,
                same_content=not one.is_new,
            )
            for one in asked
        ]

    async def _score(self, posts: Sequence[PostToScore]) -> Sequence[PostScores | ScoreFailure]:
        """Return scores, or why there are none: a moderator that is away is waited for, but not for long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.timeout_s
        while True:
            left_s = deadline - loop.time()
            try:
                return await self._moderator.score(posts, timeout_s=max(left_s, 0.05))
            except Unavailable as error:
                if deadline - loop.time() <= _PAUSE_S:
                    _log.warning("posts_not_scored", posts=len(posts), error=str(error))
                    self._recorder.count(metrics.MODERATION_UNANSWERED, len(posts))
                    return [
                        ScoreFailure(post_id=post.post_id, code=error.code, message=str(error), transient=True)
                        for post in posts
                    ]
                await asyncio.sleep(_PAUSE_S)

    def _apply_policy(
        self, asked: Sequence[Asked], facts: Sequence[Facts], scores: Sequence[PostScores | ScoreFailure]
    ) -> list[Judgement]:
        policy, now = self._policy(), self._clock.now()
        phashes = [scored.phashes if isinstance(scored, PostScores) else {} for scored in scores]
        hits = self._known.hits(phashes, policy.known_distance)
        for known_of, scored, found in zip(facts, scores, hits, strict=True):
            agreement = compare_challenger(policy, known_of, scored, found, now=now)
            if agreement is not None:
                self._recorder.count(metrics.MODERATION_SHADOW, outcome=agreement)
        return [
            judge(
                policy,
                known_of,
                scored,
                found,
                now=now,
                author_id=one.post.author_id,
                event_id=one.event_id,
                trace_id=_trace_id(one.traceparent),
            )
            for one, known_of, scored, found in zip(asked, facts, scores, hits, strict=True)
        ]

    async def _explained(self, asked: Sequence[Asked], judgements: list[Judgement]) -> list[Judgement]:
        """Add evidence to decisions that restrict; a moderator that is too slow for it leaves them without."""
        wanted = [
            place
            for place, one in enumerate(judgements)
            if one.decision is not None
            and one.decision.action in ("demote", "enforce")
            and isinstance(one.scores, PostScores)
        ]
        if not wanted:
            return judgements
        posts = [judgements[place].facts.post for place in wanted]
        try:
            scores = await self._moderator.score(posts, explain=True, timeout_s=_EXPLAIN_S)
        except Unavailable as error:
            _log.info("decisions_without_evidence", posts=len(posts), error=str(error))
            return judgements
        explained = list(judgements)
        for place, score in zip(wanted, scores, strict=True):
            decision = judgements[place].decision
            if isinstance(score, PostScores) and decision is not None:
                explained[place] = msgspec.structs.replace(
                    judgements[place], decision=msgspec.structs.replace(decision, evidence=score.evidence)
                )
        return explained

    # --- recording ---------------------------------------------------------------------------------------------

    async def _record(
        self, consumer: str, asked: Sequence[Asked], judgements: Sequence[Judgement], event_ids: Sequence[str]
    ) -> None:
        with self._recorder.time(metrics.MODERATION_SECONDS, stage="store"):
            recorded = await asyncio.to_thread(self._write, consumer, asked, judgements, event_ids)
        await self._tell([one.post.post_id for one in asked])
        first = {one.post.post_id: one for one in asked if one.is_new and one.timed}
        now = self._clock.now()
        for decision in recorded.decisions:
            self._count(decision)
            if (one := first.get(decision.post_id)) is not None:
                age_s = max(0.0, (now - one.event_time).total_seconds())
                self._recorder.observe(metrics.MODERATION_DECISION_SECONDS, age_s, action=decision.action)

    async def _tell(self, post_ids: Sequence[str]) -> None:
        """Tell what is counted now. Deciding does not depend on it: `moderation-features` tells of decisions, too."""
        if self._feed is not None:
            try:
                await self._feed.changed(posts=post_ids, timeout_s=_TELL_S)
            except Unavailable as error:
                _log.warning("features_not_told", posts=len(post_ids), error=str(error))

    def _write(
        self, consumer: str, asked: Sequence[Asked], judgements: Sequence[Judgement], event_ids: Sequence[str]
    ) -> Recorded:
        posts = [_stored(one.post, result) for one, result in zip(asked, judgements, strict=True) if one.is_new]
        return self._store.record(
            consumer,
            event_ids,
            posts=posts,
            decisions=[result.decision for result in judgements if result.decision is not None],
            jobs=[job for one, result in zip(asked, judgements, strict=True) if (job := _job(one, result)) is not None],
            causes={one.event_id: Cause(one.event_time, one.traceparent) for one in asked},
            told={one.decision.decision_id: told_of(one) for one in judgements if one.decision is not None},
        )

    def _count(self, decision: Decision) -> None:
        self._recorder.count(
            metrics.MODERATION_DECISIONS, action=decision.action, harm=decision.harm or "none", actor=decision.actor
        )


def facts_of(
    post: StoredPost,
    author: Author,
    reactions: Reactions,
    reports: Sequence[Report],
    reporters: Mapping[str, Reporter],
    accounts: Mapping[str, Author],
    in_force: Decision | None,
    *,
    policy: Policy,
    now: datetime,
    same_content: bool,
) -> Facts:
    """Return what is known of a post in the words of models and policy."""
    told = post_reports(reports, reporters, accounts)
    weight = weigh(told, policy.reports, now=now, half_life_hours=policy.review.report_half_life_hours).total
    return Facts(
        post=PostToScore(
            post_id=post.post_id,
            text=post.text,
            language=post.language,
            media_ids=list(post.media_ids),
            links=list(post.links),
            device=post.device,
            posted_at=post.posted_at,
            author=author.facts if author is not None else AuthorFacts(),
            reactions=ReactionFacts(
                impressions=reactions.impressions,
                likes=reactions.likes,
                shares=reactions.shares,
                comments=reactions.comments,
                reports=weight,
            ),
            comments=list(reactions.comment_texts),
            upload=is_upload_post(post.post_id, post.item_ids),
        ),
        item_ids=post.item_ids,
        strikes=[strike.at for strike in author.strikes],
        reports=told,
        in_force=in_force,
        same_content=same_content,
        features=features_of(author, reactions, reports, now),
        known_at=now,
    )


def post_reports(
    reports: Sequence[Report], reporters: Mapping[str, Reporter], accounts: Mapping[str, Author]
) -> list[PostReport]:
    """Return reports with what is known of who made them, as the policy weighs them."""
    return [_report(report, reporters.get(report.reporter_id), accounts.get(report.reporter_id)) for report in reports]


def _report(report: Report, reporter: Reporter | None, account: Author | None) -> PostReport:
    return PostReport(
        reporter_id=report.reporter_id,
        at=report.reported_at,
        harm=report.harm,
        account_age_days=_age_days(report, reporter, account),
        upheld=reporter.upheld if reporter is not None else 0,
        dismissed=reporter.rejected if reporter is not None else 0,
    )


def _age_days(report: Report, reporter: Reporter | None, account: Author | None) -> float | None:
    """Return how old a reporter's account was: by its profile, else at least as old as their first report here."""
    if account is not None and account.facts.account_age_days is not None:
        return account.facts.account_age_days
    if reporter is None or reporter.first_at is None or reporter.first_at >= report.reported_at:
        return None
    return (report.reported_at - reporter.first_at).total_seconds() / 86_400


def _stored(post: StoredPost, result: Judgement) -> StoredPost:
    """Return the post with what the moderator counted in its text."""
    signals = result.scores.signals if isinstance(result.scores, PostScores) else {}
    language = result.scores.language if isinstance(result.scores, PostScores) else post.language
    return replace(
        post,
        language=language,
        words=int(signals.get("words", 0)),
        profane_words=int(signals.get("profane_words", 0)),
    )


def _job(asked: Asked, result: Judgement) -> NewJob | None:
    """Return the review that an outcome asks for."""
    outcome = result.outcome
    if not outcome.needs_review:
        return None
    reason = next((one.rule for one in outcome.reasons if one.rule != "reviewer"), "reviewer")
    return NewJob(
        post_id=asked.post.post_id,
        kind="reopened" if outcome.reopen else "decision",
        priority=result.priority,
        reason=reason,
        harm=outcome.harm,
        cause=asked.event_id if outcome.reopen else "",
    )


def _trace_id(traceparent: str | None) -> str:
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) == 4 else ""
