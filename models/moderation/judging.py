"""From what is known of a post to a decision about it: the pure middle of moderation, for stream and API alike."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from core.entries import Version
from core.ids import derived_id
from core.moderation import Decision, PostScores, PostToScore, ScoreFailure
from models.moderation.policy import Case, KnownHit, Outcome, Policy, PostReport, decide, in_force_of, priority

STEP = "moderation.decision"


class Facts(Struct, kw_only=True, frozen=True):
    """What is known of a post beside what the models say.

    `in_force` is the decision in force; `same_content` whether it was taken of the post as it is now. `features` is
    what is logged with a decision: what was known of author and reactions at `known_at`, by name.
    """

    post: PostToScore
    item_ids: Sequence[str] = ()
    strikes: Sequence[datetime] = ()
    reports: Sequence[PostReport] = ()
    in_force: Decision | None = None
    same_content: bool = False
    features: Mapping[str, float] = {}
    known_at: datetime | None = None


class Judgement(Struct, kw_only=True, frozen=True):
    """What the policy says of a post. `decision` is None where what is in force stays in force."""

    facts: Facts
    scores: PostScores | ScoreFailure
    outcome: Outcome
    decision: Decision | None
    priority: float  # of a review, where the outcome needs one


def judge(
    policy: Policy,
    facts: Facts,
    scores: PostScores | ScoreFailure,
    known: Sequence[KnownHit],
    *,
    now: datetime,
    author_id: str,
    event_id: str,
    trace_id: str = "",
) -> Judgement:
    """Decide about a post. `event_id` is the cause, from which the decision's id is derived.

    There is no decision where a person's stands, nor where the machine would only repeat itself.
    """
    in_force = in_force_of(facts.in_force) if facts.in_force is not None and facts.same_content else None
    case = Case(
        post=facts.post,
        scores=scores,
        now=now,
        strikes=facts.strikes,
        reports=facts.reports,
        known=known,
        in_force=in_force,
    )
    outcome = decide(policy, case)
    decision: Decision | None = None
    if not outcome.stands:
        decision = _decision(facts, scores, outcome, now, author_id, event_id, trace_id)
        if facts.same_content and facts.in_force is not None and _says_the_same(facts.in_force, decision):
            decision = None
    return Judgement(
        facts=facts, scores=scores, outcome=outcome, decision=decision, priority=_priority(policy, case, outcome)
    )


def _decision(
    facts: Facts,
    scores: PostScores | ScoreFailure,
    outcome: Outcome,
    now: datetime,
    author_id: str,
    event_id: str,
    trace_id: str,
) -> Decision:
    seen = scores if isinstance(scores, PostScores) else None
    return Decision(
        decision_id=derived_id(event_id, STEP),
        post_id=facts.post.post_id,
        author_id=author_id,
        action=outcome.action,
        version=Version.of(now, 0),
        reasons=outcome.reasons,
        actor="model",
        harm=outcome.harm,
        factor=outcome.factor,
        urgency=outcome.urgency,
        scores=seen.scores if seen else {},
        shares=seen.shares if seen else {},
        signals=seen.signals if seen else {},
        evidence=seen.evidence if seen else [],
        missing=seen.missing if seen else [],
        item_ids=list(facts.item_ids),
        policy_version=outcome.policy_version,
        model_version=seen.model_version if seen else "",
        text_version=seen.text_version if seen else "",
        image_version=seen.image_version if seen else "",
        supersedes=facts.in_force.decision_id if facts.in_force is not None else None,
        event_id=event_id,
        trace_id=trace_id,
        decided_at=now,
    )


def _says_the_same(before: Decision, after: Decision) -> bool:
    """Tell whether a decision would repeat the one before: same action, for the same reasons, on the same items."""
    return (
        before.actor == "model"
        and (before.action, before.harm, before.factor) == (after.action, after.harm, after.factor)
        and {reason.rule for reason in before.reasons} == {reason.rule for reason in after.reasons}
        and sorted(before.item_ids) == sorted(after.item_ids)
    )


def _priority(policy: Policy, case: Case, outcome: Outcome) -> float:
    age_hours = max((case.now - case.post.posted_at).total_seconds() / 3600.0, 0.0)
    rate = case.post.reactions.impressions / age_hours if age_hours > 0 else 0.0
    return priority(policy, outcome, impressions_per_hour=rate, age_hours=age_hours)
