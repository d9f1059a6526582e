"""Harmful content: which model and policy, how long to wait, how people review."""

from pathlib import Path

from pydantic import Field

from core.settings.section import Section


class ModerationSettings(Section):
    """Moderation of posts."""

    enabled: bool = Field(True, description="Score and decide posts. Off: posts are archived and nothing more.")
    uploads: bool = Field(
        False,
        description="Judge uploads like posts, also those that nobody posts. Each takes the image encoder another "
        "turn: on two cores uploads then wait seconds to be found.",
    )
    model: str = Field("moderation@champion", description="Registry model with an alias or a version.")
    challenger: str = Field(
        "moderation@challenger",
        description="A second model that scores the same posts, where there is one; its scores decide nothing. Empty: "
        "none.",
    )
    model_check_s: float = Field(5.0, gt=0, description="How often aliases are looked up again.")
    policy: Path | None = Field(None, description="The policy, a YAML file. Unset: the one that ships with the code.")
    policy_check_s: float = Field(0.3, gt=0, description="How often the policy and the known-harm lists are looked at.")
    batch_size: int = Field(32, ge=1, description="Posts read at once; they are scored and recorded together.")
    within_s: float = Field(0.02, ge=0, description="Longest wait for so many.")
    batches_at_once: int = Field(
        6, ge=1, description="Batches under way: a post with pictures does not keep those that come after it waiting."
    )
    timeout_s: float = Field(
        5.0, gt=0, description="Longest wait for scores. Posts without scores are reviewed by people, never let pass."
    )
    explain: bool = Field(True, description="Look for the words and regions that speak for a harm before acting.")
    lease_minutes: float = Field(15.0, gt=0, description="How long a review job belongs to the reviewer who took it.")
    appeal_days: float = Field(30.0, gt=0, description="How long after a decision its author can appeal.")
    rescore_per_s: float = Field(
        2.0,
        ge=0,
        description="Posts scored again a second, as reactions arrive; what failed is scored again whatever this is.",
    )
    rescore_days: float = Field(14.0, gt=0, description="Posts older than this are not scored again.")
    wellness_after_jobs: int = Field(
        40,
        ge=0,
        description="After so many decisions in a row the console asks for a break. 0: never.",
    )
    impression_sample: float = Field(
        0.001, ge=0, le=1, description="Share of impressions whose posts are reviewed to measure prevalence."
    )
