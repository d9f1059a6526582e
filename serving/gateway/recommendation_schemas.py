"""What the routes of the recommender answer with."""

from datetime import datetime
from typing import Any

from pydantic import Field

from serving.gateway.schemas import Model


class RecommendedVideo(Model):
    item_id: str
    score: float = Field(description="Comparable within one answer only.")
    title: str
    creator_id: str
    category: str
    language: str
    duration_s: float | None = Field(description="Null until somebody's watch has said it.")
    created_at: datetime
    generators: list[str] = Field(description="Those that proposed it, the one that ranked it highest first.")
    place: str = Field(
        description="How it got its place: by `score`, by `exploration` (a new video that is owed impressions), or as "
        "a `small-creator`'s."
    )
    because: str = Field(description="The reason, in words.")


class RecommendationVerdict(Model):
    """What became of one candidate."""

    item_id: str
    generators: list[str]
    score: float | None = Field(description="Null for one that was not scored.")
    rank: int | None = Field(description="Place by score, from 0.")
    objectives: dict[str, float] = Field(description="What the score is made of, before weights.")
    position: int | None = Field(description="Place in the answer, from 0; null when it has none.")
    reason: str | None = Field(None, description="Why it has none.")
    because_of: str | None = Field(None, description="The result that it duplicates.")
    place: str | None = None
    propensity: float | None = Field(
        None, description="The chance that this place went to it, given the places before and the kind of place."
    )


class RecommendationExplanation(Model):
    candidates: list[RecommendationVerdict]
    stages_ms: dict[str, float]


class RecommendationAnswer(Model):
    """Videos for one person, best first. An empty list comes with a `note` that says why."""

    results: list[RecommendedVideo]
    trace_id: str
    known: bool = Field(description="False for somebody of whom nothing is known yet.")
    scored_by: str = Field(description="Version of the ranker; `blend/…` when generators were blended without one.")
    degraded: list[str] = Field(description="Generators (or `ranker`) that were late or failed.")
    note: str | None = None
    took_ms: float
    explain: RecommendationExplanation | None = None


class NotRecommended(Model):
    """Why a video is, or is not, in the answer that somebody would get now."""

    item_id: str
    in_answer: bool
    reason: str
    detail: str
    candidate: RecommendationVerdict
    harm: str | None = Field(None, description="Why a verdict takes it down or lowers it: the class of harm.")
    decision_id: str | None = Field(None, description="The decision behind that verdict.")


class Promises(Model):
    """Promises of impressions to new videos: open, and what became of those that ended in the last days."""

    kept: int
    broken: int
    open: int
    impressions: int = Field(description="Promised to each new video …")
    hours: float = Field(description="… within so many hours.")
    days: float = Field(description="How long ago a promise may have ended to be counted.")


class ServedModel(Model):
    """The trained model that answers, as the registry names it."""

    reference: str = Field(description="What the settings ask for: `model@alias`, or `model@version`.")
    version: str | None = Field(description="What answers; null while generators are blended without a model.")
    loaded_at: str | None
    items: int = Field(description="Videos that it was trained on.")
    new_videos: int = Field(description="Videos that came since, which its two towers place by their features.")
    problem: str | None = Field(description="Why the version that is asked for does not answer.")


class RecommenderState(Model):
    """The recommender: whether it answers, what it knows, and how far it has followed the log."""

    ready: bool
    model: ServedModel | None = Field(description="Null when the settings name no model.")
    promises: Promises
    log: dict[str, Any]
