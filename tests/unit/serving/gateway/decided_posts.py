"""Posts that were decided, with jobs for people, in the store behind a gateway."""

from datetime import UTC, datetime, timedelta
from typing import Any

from core.moderation import Action, Decision
from serving.gateway.dependencies import GatewayDeps
from serving.moderation.desk import ModerationDesk
from storage.moderation import NewJob, ReviewJob
from tests.moderation_records import a_decision, a_job, a_post


class DecidedPosts:
    """Puts posts, decisions and jobs where agents would."""

    def __init__(self, deps: GatewayDeps) -> None:
        assert deps.moderation is not None
        self.desk: ModerationDesk = deps.moderation
        self.store = self.desk.store
        self._version = 0

    def put(
        self,
        post_id: str = "post-1",
        action: Action = "enforce",
        job: NewJob | None = None,
        *,
        text: str = "a zebra at noon",
        author_id: str = "author-1",
        media_ids: tuple[str, ...] = (),
        age: timedelta = timedelta(),
        **changes: Any,
    ) -> Decision:
        """Record a new version of a post and what a machine decides about it."""
        self._version += 1
        in_force = self.store.in_force([post_id]).get(post_id)
        name = f"decision-of-{post_id}-{self._version}"
        now = datetime.now(UTC) - age
        changes = {"decided_at": now, "policy_version": self.desk.policy.policy.version, **changes}
        supersedes = in_force.decision_id if in_force is not None else None
        decision = a_decision(name, post_id, action, supersedes, author_id=author_id, **changes)
        post = a_post(
            post_id,
            author_id=author_id,
            text=text,
            media_ids=media_ids,
            posted_at=now - timedelta(hours=1),
            version=self._version,
        )
        [made] = self.store.record("test", [name], [post], [decision], [job] if job else []).decisions
        return made

    def queue(self, post_id: str = "post-1", priority: float = 1.0, **changes: Any) -> ReviewJob:
        """Put a post that a person should look at; return the job."""
        job = {key: changes.pop(key) for key in ("kind", "reason") if key in changes}
        job |= {"harm": changes["harm"]} if "harm" in changes else {}
        self.put(post_id, changes.pop("action", "review"), a_job(post_id, priority, **job), **changes)
        return self.job_of(post_id)

    def job_of(self, post_id: str) -> ReviewJob:
        return self.store.jobs_of([post_id])[-1]
