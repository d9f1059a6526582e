"""What the routes of moderation take and answer with."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from core.ids import MEDIA_ID_PATTERN
from core.moderation import Action, ActorKind, HarmClass, Urgency
from serving.gateway.schemas import Model

MediaId = Annotated[str, Field(pattern=MEDIA_ID_PATTERN)]
Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]


class PostToJudge(Model):
    """A post that is to be scored without consequences."""

    post_id: Id = "preview"
    author_id: Id | None = Field(None, description="What is known of this author counts.")
    text: str = Field("", max_length=20_000)
    media_ids: list[MediaId] = Field([], max_length=20)
    links: list[Annotated[str, Field(max_length=2_000)]] = Field([], max_length=100)
    language: str = Field("und", max_length=35, description="BCP 47; `und`: it is found out.")
    device: str | None = Field(None, max_length=64)
    explain: bool = Field(False, description="Also look for the words and regions that speak for a harm.")


class ReasonOut(Model):
    rule: str = Field(description="The rule of the policy: `violence.enforce`, `known-harm.LIST`, `failure` …")
    action: Action
    harm: HarmClass | None
    value: float | None
    threshold: float | None
    detail: str


class Judged(Model):
    """What would be decided about a post."""

    harm: dict[HarmClass, float | None] = Field(description="Calibrated probabilities; null is unknown.")
    action: Action
    reasons: list[ReasonOut]
    evidence: list[dict[str, Any]]
    signals: dict[str, float]
    missing: list[str] = Field(description="What could not be looked at.")
    failure: str | None = Field(description="Why there are no scores: then a person would look.")
    language: str
    model_version: str
    policy_version: str
    trace_id: str
    took_ms: float


class NoticeOut(Model):
    """The statement of reasons, for the author of a post."""

    post_id: str
    decision_id: str
    action: Action
    restricted: bool
    harm: HarmClass | None
    language: str
    title: str
    text: str = Field(description="The whole notice, for a person.")
    facts: list[str]
    evidence: list[dict[str, Any]]
    found_automatically: bool
    decided_automatically: bool
    since: datetime
    appeal: Literal["open", "over", "closed", "none"] = Field(description="Whether the decision can be appealed.")
    appeal_until: datetime | None
    policy_version: str
    model_version: str
    trace_id: str


class ReportIn(Model):
    """A reader says that a post is harmful."""

    reporter_id: Id
    harm: HarmClass | None = Field(None, description="Which class; null where the reader names none.")
    note: str = Field("", max_length=1_000)


class ReportAccepted(Model):
    event_id: str
    queued: bool = Field(description="The log did not answer; the report waits in the outbox.")


class AppealIn(Model):
    """An author objects to a decision."""

    author_id: Id
    text: str = Field(min_length=1, max_length=5_000)


class AppealOut(Model):
    appeal_id: str
    decision_id: str
    post_id: str
    state: Literal["open", "upheld", "reversed", "moot"]
    opened_at: datetime
    closed_at: datetime | None
    outcome_id: str | None = Field(description="The decision that a person made of it.")


class JobOut(Model):
    """A review job. The greatest priority comes first: harmful impressions that a review now is expected to prevent."""

    job_id: str
    kind: Literal["decision", "appeal", "sample", "reopened"]
    post_id: str
    decision_id: str
    priority: float
    reason: str
    harm: HarmClass | None
    created_at: datetime
    state: Literal["open", "leased", "done", "moot"]
    reviewer: str | None
    leased_until: datetime | None
    outcome_id: str | None


class Jobs(Model):
    jobs: list[JobOut]
    counts: dict[str, dict[str, int]] = Field(description="By kind and state.")


class LeaseIn(Model):
    """A reviewer takes a job."""

    reviewer: Id | None = Field(None, description="Who reviews; only where access is open, else the token says it.")
    harm: HarmClass | None = Field(None, description="For the next job: only of this class.")
    kind: Literal["decision", "appeal", "sample", "reopened"] | None = Field(None, description="Only of this kind.")


class ReviewIn(Model):
    """What a reviewer decides."""

    action: Literal["allow", "demote", "enforce"]
    harm: HarmClass | None = Field(None, description="Needed to demote or enforce.")
    reason: str = Field(min_length=1, max_length=5_000)
    reviewer: Id | None = Field(None, description="Who reviews; only where access is open, else the token says it.")


class DecisionOut(Model):
    """A decision, as reviewers see it."""

    decision_id: str
    post_id: str
    author_id: str
    action: Action
    harm: HarmClass | None
    actor: ActorKind
    actor_id: str
    automated: bool
    factor: float
    urgency: Urgency
    reasons: list[ReasonOut]
    scores: dict[HarmClass, float | None]
    shares: dict[HarmClass, dict[str, float]]
    signals: dict[str, float]
    evidence: list[dict[str, Any]]
    missing: list[str]
    item_ids: list[str]
    policy_version: str
    model_version: str
    note: str
    supersedes: str | None
    event_id: str
    trace_id: str
    decided_at: datetime


class ReviewedOut(Model):
    job: JobOut
    decision: DecisionOut
    appeal: AppealOut | None


class PostOut(Model):
    post_id: str
    author_id: str
    text: str
    media_ids: list[str]
    links: list[str]
    language: str
    posted_at: datetime
    state: Literal["active", "deleted"]


class AuthorOut(Model):
    author_id: str
    facts: dict[str, Any]
    strikes: list[dict[str, Any]]


class DossierOut(Model):
    """Everything about a job: what a reviewer needs to decide."""

    job: JobOut
    post: PostOut
    decision: DecisionOut
    history: list[DecisionOut]
    author: AuthorOut
    author_posts: list[PostOut]
    reactions: dict[str, Any]
    reports: list[dict[str, Any]]
    appeal: AppealOut | None
    appeal_text: str | None
    policy: dict[str, Any] | None


class EstimateOut(Model):
    """A value with its 95 % interval; null where it is unknown."""

    value: float | None
    low: float | None
    high: float | None


class ShareOut(Model):
    """`hits` of `n`, with the 95 % interval of the share; null where there are too few to say."""

    hits: int
    n: int
    share: float | None
    low: float | None
    high: float | None


class SampleOut(Model):
    """The impressions that were drawn by chance, and how many of their posts people have looked at."""

    draws: int
    draws_reviewed: int
    posts: int
    posts_reviewed: int
    impressions: float = Field(description="What the drawn ones stand for.")


class ReportsOut(Model):
    reports: int
    upheld: int
    rejected: int


class TimesOut(Model):
    """How long things took, in seconds; what is waiting counts as longer than it has waited."""

    n: int
    waiting: int
    p50_s: float | None
    p95_s: float | None


class MeasuresOut(Model):
    """How well moderation works; null is unknown, never 0."""

    since: datetime
    until: datetime
    prevalence: dict[str, EstimateOut] = Field(description="Share of impressions; `any`, and by class of harm.")
    sample: SampleOut
    enforced: int = Field(description="Posts taken down that still are.")
    harmful_impressions: dict[str, int] = Field(description="That they had before; `any`, and by class of harm.")
    valid_appeals: ShareOut = Field(description="Reversed, of the appeals that were decided.")
    appeals_open: int
    appeals_reversed_of_restricted: ShareOut = Field(description="Reversed, of all posts that a machine restricted.")
    proactive: ShareOut = Field(description="Taken down before anybody reported them.")
    reports: dict[str, ReportsOut] = Field(description="By the class that was named; `none` where none was.")
    post_to_enforced: TimesOut
    report_to_decision: TimesOut


class PolicyOut(Model):
    """The policy in force."""

    version: str
    source: str
    error: str = Field(description="Why a newer file is not in force; empty when all is well.")
    policy: dict[str, Any]
