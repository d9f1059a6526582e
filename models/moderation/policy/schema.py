"""What a policy says, as types: thresholds, rules, known harm, strikes, reports, reviews.

A policy is data. It is read from YAML by `models.moderation.policy.load`, which also tells the line of every mistake.
"""

import hashlib
import json
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from core.moderation import ACTIONS, Action, HarmClass, Urgency
from models.moderation.policy.expressions import Expression, parse_expression

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Probability = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]

#: Farther apart, two images are as likely to be different as alike, and the index no longer finds them quickly.
MAX_DISTANCE = 12


def rank(action: Action) -> int:
    """Return how much an action does: 0 allow, 1 review, 2 demote, 3 enforce."""
    return _RANKS[action]


_RANKS: dict[Action, int] = {action: position for position, action in enumerate(ACTIONS)}


class Part(BaseModel):
    """Every part of a policy: immutable, strict about types, and without fields that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ClassPolicy(Part):
    """What is done about one class of harm. The thresholds are compared with a calibrated probability by `>=`."""

    review: Probability | None = Field(None, description="From here a person looks; the post is shown as before.")
    demote: Probability | None = Field(None, description="From here the post is shown less while a person looks.")
    enforce: Probability | None = Field(None, description="From here nobody but its author and reviewers sees it.")
    urgency: Urgency = Field("real-time", description="Whether its reviews come before the others: real-time, batch.")
    factor: Factor = Field(0.3, description="What the scores of a demoted post are multiplied with.")
    severity: float = Field(1.0, gt=0, le=100, description="How bad one impression is, beside other classes.")
    appealable: bool = Field(True, description="Whether the author can appeal.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        given = [(name, value) for name, value in self.thresholds if value is not None]
        for (lower, low), (upper, high) in pairwise(given):
            if low > high:
                raise ValueError(
                    f"{lower} ({low:g}) is above {upper} ({high:g}); write review <= demote <= enforce, "
                    "or null for an action that is never taken"
                )
        return self

    @property
    def thresholds(self) -> tuple[tuple[Action, float | None], ...]:
        """The thresholds from the mildest action to the hardest."""
        return (("review", self.review), ("demote", self.demote), ("enforce", self.enforce))


class Classes(Part):
    """One part per class of harm. All are named, so that none is forgotten."""

    violence: ClassPolicy
    nudity: ClassPolicy
    hate: ClassPolicy
    self_harm: ClassPolicy
    spam: ClassPolicy

    def of(self, harm: HarmClass) -> ClassPolicy:
        """Return what is done about a class."""
        return getattr(self, harm)


class Rule(Part):
    """A condition over signals. It raises the action; the kind `exempt` lowers what models and rules found."""

    name: Name = Field(description="Shown in reasons as `rule.NAME`.")
    kind: Literal["raise", "exempt"] = Field("raise", description="`exempt` lowers; everything else only raises.")
    when: Annotated[str, StringConstraints(min_length=1, max_length=2_000)] = Field(
        description="The condition: docs/how-to/policy.md. A rule about something unknown does not fire."
    )
    action: Action = Field("allow", description="Of `raise`: at least this. Of `exempt`: at most this.")
    harm: HarmClass | None = Field(
        None, description="Of `raise`: the class it is about. Of `exempt`: the class it exempts from; unset is all."
    )
    reason: Words = Field(description="Why, in words for reviewers.")

    @model_validator(mode="after")
    def _useful(self) -> Self:
        if self.kind == "raise" and self.action == "allow":
            raise ValueError("action is missing: write review, demote or enforce (or kind: exempt for an exemption)")
        if self.kind == "exempt" and self.action == "enforce":
            raise ValueError("an exemption to enforce lowers nothing; write allow, review or demote")
        _ = self.expression
        return self

    @cached_property
    def expression(self) -> Expression:
        """The condition, compiled."""
        return parse_expression(self.when)


class KnownHarmList(Part):
    """A list of perceptual hashes of media that are known to be harmful."""

    harm: HarmClass = Field(description="The class of what is on the list.")
    action: Literal["review", "demote", "enforce"] = Field(description="What is done with a post that has such media.")
    distance: int = Field(6, ge=0, le=MAX_DISTANCE, description="Of 64 bits, how many may differ.")
    description: str = Field("", max_length=500, description="What the list holds and who keeps it.")


class StrikeStep(Part):
    """What follows for the next posts of an author whose posts were enforced against lately."""

    count: int = Field(ge=1, le=1_000, description="From so many decisions that enforced and still stand …")
    days: float = Field(gt=0, le=3_650, description="… within so many days.")
    at_least: Literal["review", "demote", "enforce"] | None = Field(
        None, description="Every post of the author gets at least this."
    )
    thresholds_times: Factor = Field(1.0, description="The author's thresholds are multiplied with this.")

    @model_validator(mode="after")
    def _useful(self) -> Self:
        if self.at_least is None and self.thresholds_times == 1.0:
            raise ValueError("the step does nothing; give at_least or thresholds_times")
        return self


class Reports(Part):
    """How reports of people weigh: `models.moderation.policy.reports` says how these numbers are used."""

    review_at: float = Field(2.0, gt=0, description="From this weight of all reports together a person looks.")
    demote_at: float | None = Field(None, gt=0, description="From this weight the post is demoted meanwhile.")
    new_account_days: float = Field(7.0, gt=0, description="An account counts fully from this age on.")
    new_account_weight: Factor = Field(0.2, description="What a report of a brand new account counts.")
    unknown_age_weight: Factor = Field(0.25, description="What a report of an account of unknown age counts.")
    unknown_age_cap: float | None = Field(
        None, gt=0, description="The most that all accounts of unknown age count. None: `review_at`, and no more."
    )
    prior: float = Field(2.0, gt=0, description="How many upheld and dismissed reports everybody begins with.")
    burst_minutes: float = Field(10.0, ge=0, description="New accounts this close together are one campaign.")
    coordinated_cap: float = Field(1.0, gt=0, description="The most that one campaign counts.")
    unproven_cap: float = Field(1.5, gt=0, description="The most that all new accounts together count.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.demote_at is not None and self.demote_at < self.review_at:
            raise ValueError(f"demote_at ({self.demote_at:g}) is below review_at ({self.review_at:g})")
        if self.unproven_cap >= self.review_at:
            raise ValueError(
                f"unproven_cap ({self.unproven_cap:g}) must be below review_at ({self.review_at:g}), "
                "or new accounts alone can fill the review queue"
            )
        return self


class Review(Part):
    """What the order of the review queue is made of: `models.moderation.policy.priority` has the formula."""

    half_life_hours: float = Field(12.0, gt=0, description="In what time attention for a post halves.")
    horizon_hours: float = Field(72.0, gt=0, description="How far ahead impressions count.")
    prior_impressions_per_hour: float = Field(20.0, gt=0, description="What a post gets of which nothing is known.")
    prior_hours: float = Field(1.0, gt=0, description="How many hours of its own rate outweigh that.")
    unknown_probability: Probability = Field(0.5, description="The probability of harm of a post without scores.")
    report_log_odds: float = Field(0.5, ge=0, description="By how much one weighted report of now raises the log-odds.")
    report_half_life_hours: float = Field(6.0, gt=0, description="In what time a report's part in the order halves.")
    real_time_times: float = Field(4.0, ge=1, description="How many times before the others urgent classes come.")


class Policy(Part):
    """What is done about posts. Two policies with the same content have the same `version`, whatever their comments."""

    name: Name = Field(description="A name for people; decisions carry the version.")
    classes: Classes
    rules: Annotated[tuple[Rule, ...], Field(strict=False)] = Field((), description="Conditions over any signal.")
    known_harm: dict[Name, KnownHarmList] = Field({}, description="Lists of known harmful media, by name.")
    strikes: Annotated[tuple[StrikeStep, ...], Field(strict=False)] = Field((), description="What repetition does.")
    reports: Reports = Field(Reports(), description="How reports of people weigh.")
    on_failure: Literal["review", "demote"] = Field(
        "review", description="What happens to a post, or a part of it, that could not be scored."
    )
    factor: Factor = Field(0.5, description="The demotion factor where no class says one.")
    review: Review = Field(Review(), description="The order of the review queue.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        seen: set[str] = set()
        for rule in self.rules:
            if rule.name in seen:
                raise ValueError(f"two rules are called {rule.name!r}; give each its own name")
            seen.add(rule.name)
            for name in rule.expression.names:
                if name.startswith("known.") and name[6:] not in self.known_harm:
                    raise ValueError(
                        f"rule {rule.name!r} asks for {name}, but known_harm has no list {name[6:]!r}; "
                        f"there are: {', '.join(sorted(self.known_harm)) or 'none'}"
                    )
        return self

    @cached_property
    def version(self) -> str:
        """The first 8 hex characters of the SHA-256 of the content."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    @property
    def known_distance(self) -> int:
        """The largest distance of any list: how far a lookup must look."""
        return max((known.distance for known in self.known_harm.values()), default=0)
