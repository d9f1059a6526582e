"""Asking people to label posts that models are not sure of, within a budget a day."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.clock import Clock, SystemClock
from core.moderation import HARM_CLASSES, HarmClass
from core.settings import LearningModerationSettings
from infra.moderation_history import stored_posts
from models.moderation.groups import near_duplicate_groups
from models.moderation.learning.sampling import Pick, ScoredPost, pick
from models.moderation.policy import Policy
from models.progress import Report
from storage.catalogue import Catalogue
from storage.moderation import ModerationStore, NewJob, ScannedPost, StaleDecision
from storage.moderation.teaching import LABELLING, Teaching

_NEWEST = 5_000  # posts that are looked at, the newest: comparing their texts takes a second or two
_NAME = "sample-labels"


@dataclass(frozen=True)
class Sampled:
    """What was picked, of how many posts, and how much of the day's budget was used before and now."""

    posts: int
    used_today: int
    budget: int
    picks: list[Pick]
    opened: int
    labelled: dict[HarmClass, int]


def sample_labels(
    catalogue: Catalogue,
    policy: Policy,
    settings: LearningModerationSettings,
    *,
    budget: int | None = None,
    dry_run: bool = False,
    clock: Clock | None = None,
    report: Report = lambda stage, done, total: None,
) -> Sampled:
    """Open review jobs for posts that nobody judged and no job waits for.

    They are jobs like those for posts that the policy is not sure of, behind all of them, with a reason of their own
    (`label.uncertain`, ...). They are no draw by chance, and prevalence is not measured by them. `budget` instead of
    `label_budget`, of which what was opened since midnight (UTC) is taken off. No post is asked about twice.

    Raises:
        Unavailable: the catalogue does not answer.
    """
    now = (clock or SystemClock()).now()
    store, teaching = ModerationStore(catalogue.database), Teaching(catalogue.database)
    most = settings.label_budget if budget is None else budget
    used = teaching.asked_to_label(now.replace(hour=0, minute=0, second=0, microsecond=0))
    since = now - timedelta(days=settings.days)
    report("looking at posts", 0, 2)
    unjudged = _unjudged(store, since)
    report("looking at posts", 1, 2)
    groups = near_duplicate_groups([post.text or post.post_id for post in unjudged])
    posts = [
        ScoredPost(post.post_id, post.language, post.scores, int(group))
        for post, group in zip(unjudged, groups, strict=True)
    ]
    labelled = _labelled(teaching, since)
    thresholds = {
        harm: [value for _, value in policy.classes.of(harm).thresholds if value is not None] for harm in HARM_CLASSES
    }
    picks = pick(posts, thresholds, labelled, max(most - used, 0))
    report("looking at posts", 2, 2)
    opened = 0 if dry_run else _open(store, picks)
    return Sampled(len(posts), used, most, picks, opened, labelled)


def _unjudged(store: ModerationStore, since: datetime) -> list[ScannedPost]:
    """Return the newest posts that were scored, that nobody judged and about which nobody is or was asked."""
    found = [post for post in stored_posts(store, since) if post.label is None and post.scores][-_NEWEST:]
    asked = {
        job.post_id
        for job in store.jobs_of([post.post_id for post in found])
        if job.reason.startswith(LABELLING) or job.state in ("open", "leased")
    }
    return [post for post in found if post.post_id not in asked]


def _labelled(teaching: Teaching, since: datetime) -> dict[HarmClass, int]:
    """Return how many posts people found harmful, by class."""
    counts = Counter(
        harm for label in teaching.labels_since(since) for harm, is_harmful in label.harms.items() if is_harmful
    )
    return {harm: counts[harm] for harm in HARM_CLASSES}


def _open(store: ModerationStore, picks: list[Pick]) -> int:
    """Open the jobs; a post that is gone meanwhile is left out."""
    wanted = [
        NewJob(one.post_id, "decision", 0.0, f"{LABELLING}{one.why}", one.harm, cause=f"label:{one.post_id}")
        for one in picks
    ]
    while wanted:
        try:
            return len(store.record(_NAME, [], jobs=wanted).job_ids)
        except StaleDecision as error:
            gone = set(error.post_ids)
            wanted = [job for job in wanted if job.post_id not in gone]
    return 0
