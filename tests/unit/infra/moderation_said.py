"""Posts in a real catalogue that a machine decided, and people who see, report and judge them."""

from datetime import UTC, datetime, timedelta

import msgspec

from core.entries import Version
from core.moderation import (
    HARM_CLASSES,
    AuthorFacts,
    ChallengerScores,
    HarmClass,
    PostScores,
    PostToScore,
    ReactionFacts,
)
from core.settings import LearningModerationSettings
from infra.moderation_labels import Posts
from models.moderation.judging import Facts, judge
from models.moderation.policy import load_policy
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore, NewJob, ReactionDelta, Report, StoredPost, Told

NOW = datetime.now(UTC)
SETTINGS = LearningModerationSettings(impressions=20)
POLICY = load_policy(None)


class World:
    """A catalogue with posts that a machine decided; tests let people react."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.store = ModerationStore(catalogue.database)
        self.posts = Posts(catalogue, POLICY, SETTINGS)

    def post(
        self, post_id: str, *, hate: float = 0.01, challenger: float | None = None, version: int = 1, text: str = ""
    ) -> None:
        """Have a machine decide a post, or a new version of it."""
        before = self.store.in_force([post_id]).get(post_id)
        at = NOW - timedelta(hours=4) + timedelta(seconds=version)
        said = {"model_version": "m/1", "scores": scores(hate)}
        asked = PostToScore(post_id=post_id, text=text or f"the words of {post_id}", posted_at=at)
        facts = Facts(post=asked, in_force=before)
        answer = PostScores(post_id=post_id, **said)  # type: ignore[arg-type]
        made = judge(POLICY, facts, answer, (), now=NOW, author_id="author", event_id=f"{post_id}-{version}").decision
        assert made is not None
        told = Told(
            author=AuthorFacts(posts=version),
            reactions=ReactionFacts(impressions=version),
            challenger=None
            if challenger is None
            else ChallengerScores(model_version="m/2", scores=scores(challenger), took_s=0.002, beside_s=0.001),
        )
        stored = StoredPost(post_id, "author", at, Version.of(at, 0), f"{post_id}-{version}", text=asked.text)
        self.store.record("test", [], posts=[stored], decisions=[made], told={made.decision_id: told})

    def again(self, post_id: str) -> None:
        """Have the machine decide the same content once more, knowing more."""
        before = self.store.in_force([post_id])[post_id]
        made = msgspec.structs.replace(
            before, decision_id=f"{before.decision_id}-again", supersedes=before.decision_id, event_id="again"
        )
        told = Told(author=AuthorFacts(posts=99), reactions=ReactionFacts(reports=9.0))
        self.store.record("test", [], decisions=[made], told={made.decision_id: told})

    def seen(self, post_id: str, times: int) -> None:
        deltas = [ReactionDelta(f"seen-{post_id}-{n}", post_id, impressions=1) for n in range(times)]
        self.store.add_reactions("test", deltas)

    def reported(self, post_id: str, harm: HarmClass | None = "hate", people: int = 3, days: float = 30) -> None:
        """Have people report a post; each has reported something `days` before, so they are not new."""
        reports = []
        for number in range(people):
            who = f"{post_id}-{harm}-{number}"
            reports.append(Report(f"old-{post_id}", who, None, NOW - timedelta(days=days), f"first-{who}"))
            reports.append(Report(post_id, who, harm, NOW - timedelta(hours=1), f"report-{who}"))
        self.store.add_reports(reports)

    def judged(self, post_id: str, harm: HarmClass | None = "hate") -> None:
        """Have a person decide a post."""
        self.store.record(
            "test", [], jobs=[NewJob(post_id, "decision", 1.0, "reports", cause=f"look-{post_id}-{harm}")]
        )
        [job] = self.store.jobs_of([post_id], ("open",))
        self.store.lease("ada", job.job_id)
        self.store.decide(job.job_id, "ada", "allow" if harm is None else "enforce", harm, "looked at it")


def scores(hate: float) -> dict[HarmClass, float | None]:
    return {harm: hate if harm == "hate" else 0.01 for harm in HARM_CLASSES}
