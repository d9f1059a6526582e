"""Moderation as people and applications meet it: scoring without consequences, notices, appeals, reviews.

Everything that changes something is one transaction of the store of record, which also publishes it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
import structlog

from core.clock import Clock
from core.errors import ConfigurationError, Conflict, NotFound, RiverlightError, Unavailable
from core.ids import upload_post_id
from core.moderation import Decision, HarmClass, Moderator, PostScores, PostToScore, ScoreFailure
from core.settings import ModerationSettings
from models.moderation.judging import Facts, judge
from models.moderation.measures import Measures, measure
from models.moderation.policy import Outcome, Policy, PolicyFile, appeal_priority, parse_policy
from models.moderation.policy.notice import Notice, notice
from storage.moderation import Appeal, ModerationStore, ReviewJob
from storage.moderation.jobs import JobKind
from storage.moderation.review import Reviewed

T = TypeVar("T")

_PREVIEW = "preview"
_MEASURES_KEPT_S = 60.0
_MEASURES_KEPT = 20  # stretches of time
_YOUNG_HOURS = 1e-3  # a rate over less time says nothing

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Preview:
    """What would be decided about a post. `scores` may be a failure: then a person would look."""

    scores: PostScores | ScoreFailure
    outcome: Outcome


class ModerationDesk:
    """One object for a gateway. Store calls run in threads."""

    def __init__(
        self,
        store: ModerationStore,
        moderator: Moderator,
        policy: PolicyFile,
        settings: ModerationSettings,
        clock: Clock,
    ) -> None:
        self.store = store
        self.policy = policy
        self.settings = settings
        self.clock = clock
        self._moderator = moderator
        self._measures: dict[float, Measures] = {}  # by days
        self._measuring = asyncio.Lock()

    async def keep_up(self) -> None:
        """Follow the policy file until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.policy.check)
            except (RiverlightError, OSError) as error:  # what is in force stays; the next look is soon
                _log.warning("policy_not_looked_at", error=str(error))
            await asyncio.sleep(self.settings.policy_check_s)

    # --- authors, readers, applications ------------------------------------------------------------------------

    async def preview(self, post: PostToScore, author_id: str | None, *, explain: bool) -> Preview:
        """Score a post and say what the policy in force would make of it. Nothing is recorded.

        What is known of the author counts where one is named; known-harm lists are not looked at.
        """
        strikes: Sequence[datetime] = ()
        if author_id is not None:
            author = (await self.call(lambda: self.store.authors([author_id])))[author_id]
            post = msgspec.structs.replace(post, author=author.facts)
            strikes = [strike.at for strike in author.strikes]
        try:
            [scores] = await self._moderator.score([post], explain=explain, timeout_s=self.settings.timeout_s)
        except Unavailable as error:
            scores = ScoreFailure(post_id=post.post_id, code=error.code, message=str(error), transient=True)
        judged = judge(
            self.policy.policy,
            Facts(post=post, strikes=strikes),
            scores,
            (),
            now=self.clock.now(),
            author_id=author_id or "",
            event_id=_PREVIEW,
        )
        return Preview(scores, judged.outcome)

    async def in_force(self, post_id: str) -> Decision:
        """Return the decision in force for a post, or for an upload that was judged by itself. Raises NotFound."""
        judged_as = upload_post_id(post_id)
        found = await self.call(lambda: self.store.in_force([post_id, judged_as]))
        decision = found.get(post_id) or found.get(judged_as)
        if decision is None:
            raise NotFound(f"nothing was decided about post {post_id!r} (yet)")
        return decision

    async def notice_of(self, decision: Decision, language: str) -> Notice:
        """Return what the author is told of a decision."""

        def work() -> Notice:
            post = self.store.posts([decision.post_id]).get(decision.post_id)
            return notice(
                decision,
                policy=self.policy_of(decision.policy_version),
                appeal_days=self.settings.appeal_days,
                now=self.clock.now(),
                language=language,
                media_ids=post.media_ids if post is not None else (),
            )

        return await self.call(work)

    async def appeal(self, decision_id: str, author_id: str, text: str) -> Appeal:
        """Open an author's appeal.

        Raises:
            Conflict: the policy that decided lets nobody appeal against decisions about this class.
            Others as `ModerationStore.open_appeal`.
        """

        def work() -> Appeal:
            decision = self.store.decision(decision_id)
            if decision is None:
                raise NotFound(f"there is no decision {decision_id!r}")
            policy = self.policy_of(decision.policy_version)
            harm = decision.harm
            if decision.author_id == author_id and policy and harm and not policy.classes.of(harm).appealable:
                raise Conflict(f"decisions about {harm} cannot be appealed, says policy {policy.version}")
            return self.store.open_appeal(
                decision_id,
                author_id,
                text,
                within_days=self.settings.appeal_days,
                priority=self._appeal_priority(decision),
            )

        return await self.call(work)

    def _appeal_priority(self, decision: Decision) -> float:
        """Return how urgent an appeal is. The rate is that before an enforcement: after it nobody is shown the post."""
        post = self.store.posts([decision.post_id])[decision.post_id]
        shown = self.store.reactions([decision.post_id])[decision.post_id].impressions
        until = decision.decided_at if decision.action == "enforce" else self.clock.now()
        age_hours = max((until - post.posted_at).total_seconds() / 3600.0, _YOUNG_HOURS)
        return appeal_priority(
            self.policy.policy,
            probability=decision.scores.get(decision.harm) if decision.harm is not None else None,
            impressions_per_hour=shown / age_hours,
            age_hours=age_hours,
        )

    async def measures(self, days: float) -> Measures:
        """Return how well moderation worked in the last days, as of a minute ago at most."""
        async with self._measuring:  # who asks meanwhile waits for the same answer
            now = self.clock.now()
            kept = self._measures.get(days)
            if kept is not None and (now - kept.until).total_seconds() < _MEASURES_KEPT_S:
                return kept
            since = now - timedelta(days=days)
            found = await self.call(lambda: measure(self.store.counted(since)))
            if len(self._measures) >= _MEASURES_KEPT:
                self._measures.clear()
            self._measures[days] = found
            return found

    # --- reviewers ---------------------------------------------------------------------------------------------

    async def lease(
        self, reviewer: str, job_id: str | None = None, *, harm: HarmClass | None = None, kind: JobKind | None = None
    ) -> ReviewJob | None:
        """Give a reviewer a job; see `ModerationStore.lease`."""
        minutes = self.settings.lease_minutes
        return await self.call(lambda: self.store.lease(reviewer, job_id, minutes=minutes, harm=harm, kind=kind))

    async def release(self, job_id: str, reviewer: str) -> ReviewJob:
        """Put a job back; see `ModerationStore.release`."""
        return await self.call(lambda: self.store.release(job_id, reviewer))

    async def decide(
        self, job_id: str, reviewer: str, action: str, harm: HarmClass | None, reason: str, *, trace_id: str
    ) -> Reviewed:
        """Let a reviewer decide; see `ModerationStore.decide`. A demotion lowers as the policy says for the class."""
        policy = self.policy.policy
        factor = policy.classes.of(harm).factor if harm is not None else policy.factor
        return await self.call(
            lambda: self.store.decide(job_id, reviewer, action, harm, reason, factor=factor, trace_id=trace_id)
        )

    # ------------------------------------------------------------------------------------------------------------

    def policy_of(self, version: str) -> Policy | None:
        """Return a policy by its version; None where it was not kept. Reads the store."""
        if version == self.policy.policy.version:
            return self.policy.policy
        kept = self.store.policy(version)
        if kept is None:
            return None
        try:
            return parse_policy(kept.text.encode(), source=f"policy {version}")
        except ConfigurationError:  # written by a release that knew more, or less
            return None

    async def call(self, work: Callable[[], T]) -> T:
        """Run a store call in a thread."""
        return await asyncio.to_thread(work)
