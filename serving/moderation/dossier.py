"""The dossier: everything that a reviewer is shown about a job."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import NotFound
from core.moderation import Decision
from models.moderation.policy import Policy
from serving.moderation.desk import ModerationDesk
from storage.moderation import Appeal, Author, Reactions, Report, ReviewJob, StoredPost

_AUTHORS_POSTS = 20


@dataclass(frozen=True)
class Dossier:
    """Everything about a job. `decision` is the one that the job is about; `appeals` are about the post."""

    job: ReviewJob
    post: StoredPost
    decision: Decision
    history: tuple[Decision, ...]  # of the post, oldest first; the last one is in force
    author: Author
    author_posts: tuple[StoredPost, ...]  # newest first, without this one
    author_decisions: dict[str, Decision]  # what is in force for those, by post
    reactions: Reactions
    reports: tuple[Report, ...]  # oldest first
    appeal: Appeal | None
    policy: Policy | None  # the one that decided; None where it was not kept

    @property
    def in_force(self) -> Decision:
        return self.history[-1]


def read_dossier(desk: ModerationDesk, job_id: str) -> Dossier:
    """Read everything about a job from the store. Raises NotFound."""
    store = desk.store
    job = store.job(job_id)
    if job is None:
        raise NotFound(f"there is no review job {job_id!r}")
    post = store.posts([job.post_id])[job.post_id]
    history = store.decisions_of(job.post_id)
    about = next((one for one in history if one.decision_id == job.decision_id), history[-1])
    others = _others(desk, post)
    return Dossier(
        job=job,
        post=post,
        decision=about,
        history=tuple(history),
        author=store.authors([post.author_id])[post.author_id],
        author_posts=tuple(others),
        author_decisions=store.in_force([one.post_id for one in others]),
        reactions=store.reactions([job.post_id])[job.post_id],
        reports=tuple(store.reports_of([job.post_id]).get(job.post_id, ())),
        appeal=store.appeal(job.appeal_id) if job.appeal_id is not None else None,
        policy=desk.policy_of(about.policy_version),
    )


def _others(desk: ModerationDesk, post: StoredPost) -> Sequence[StoredPost]:
    found = desk.store.posts_of(post.author_id, _AUTHORS_POSTS + 1)
    return [one for one in found if one.post_id != post.post_id][:_AUTHORS_POSTS]
