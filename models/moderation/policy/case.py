"""What is decided about: a post with everything that is known of it; and what comes out."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from core.moderation import (
    Action,
    ActorKind,
    Decision,
    HarmClass,
    PostScores,
    PostToScore,
    Reason,
    ScoreFailure,
    Urgency,
)
from models.moderation.policy.schema import rank


class PostReport(Struct, kw_only=True, frozen=True, gc=False):
    """One person's report of a post."""

    reporter_id: str
    at: datetime
    harm: HarmClass | None = None  # None: the reporter did not say
    account_age_days: float | None = None  # None is unknown
    upheld: int = 0  # earlier reports of this person that a reviewer agreed with
    dismissed: int = 0  # … and that a reviewer did not agree with


class KnownHit(Struct, kw_only=True, frozen=True, gc=False):
    """Media of the post that is near to a hash on a list."""

    list_name: str
    distance: int  # bits that differ
    media_id: str = ""
    phash: str = ""  # of the post's media, 16 hex characters
    known: str = ""  # the hash on the list, 16 hex characters


class InForce(Struct, kw_only=True, frozen=True, gc=False):
    """The decision in force for the post as it is now: leave it out when the post changed since.

    `seen` is what the machine made of this content when the decision was taken, and `seen_lists` the lists it was on:
    only what is new since then reopens what a person decided.
    """

    decision_id: str
    action: Action
    actor: ActorKind
    decided_at: datetime
    harm: HarmClass | None = None
    factor: float = 1.0
    seen: Action = "allow"
    seen_lists: tuple[str, ...] = ()

    @property
    def by_person(self) -> bool:
        return self.actor in ("reviewer", "appeal")


class Case(Struct, kw_only=True, frozen=True, gc=False):
    """Everything a decision is made from. `strikes`: when the decisions that enforced and still stand were taken."""

    post: PostToScore
    scores: PostScores | ScoreFailure
    now: datetime
    strikes: Sequence[datetime] = ()
    reports: Sequence[PostReport] = ()
    known: Sequence[KnownHit] = ()
    in_force: InForce | None = None


class UnknownRule(Struct, kw_only=True, frozen=True, gc=False):
    """A rule that could not be asked because something it needs is unknown."""

    rule: str
    names: tuple[str, ...]


class Outcome(Struct, kw_only=True, frozen=True, gc=False):
    """What the policy says about a case.

    `machine` is what thresholds, rules, lists, strikes and reports come to. `action` is the same, unless a person's
    decision stands (`stands`), which is then the action; `reopen` asks for a new review of it.
    """

    action: Action
    reasons: list[Reason]
    machine: Action
    policy_version: str
    harm: HarmClass | None = None
    factor: float = 1.0
    urgency: Urgency = "batch"
    appealable: bool = True
    needs_review: bool = False
    stands: bool = False
    reopen: bool = False
    failed: bool = False  # something could not be scored
    probability: float | None = None  # of `harm`; None when unknown
    severity: float = 1.0
    reports: float = 0.0  # weight of all reports together
    report_velocity: float = 0.0  # the same, each halving with age
    unknown: list[UnknownRule] = []

    @property
    def known_lists(self) -> tuple[str, ...]:
        """The lists of known harm that were hit: keep them with the decision for `InForce.seen_lists`."""
        return tuple(sorted({r.rule[11:] for r in self.reasons if r.rule.startswith("known-harm.")}))


def in_force_of(decision: Decision, machine: Outcome | None = None) -> InForce:
    """Return what the policy needs of a stored decision.

    What the machine had made of the content is read from the reasons that a person's decision keeps from the job it
    answers; `machine` says it where those were not kept.
    """
    reasons = [reason for reason in decision.reasons if reason.rule != "reviewer"]
    lists = {reason.rule.removeprefix("known-harm.") for reason in reasons if reason.rule.startswith("known-harm.")}
    actions: list[Action] = ["allow", *(reason.action for reason in reasons)]
    if any(reason.rule == "reviewer" and reason.detail == "reopened" for reason in decision.reasons):
        actions.append("enforce")  # the person looked again at the most that the machine had found since
    seen = machine.machine if machine is not None else max(actions, key=rank)
    return InForce(
        decision_id=decision.decision_id,
        action=decision.action,
        actor=decision.actor,
        decided_at=decision.decided_at,
        harm=decision.harm,
        factor=decision.factor,
        seen=seen,
        seen_lists=tuple(sorted(lists | set(machine.known_lists if machine is not None else ()))),
    )
