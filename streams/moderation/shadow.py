"""What a challenger says of posts that the champion's scores decide: kept with the decision, and compared at once."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from core.moderation import PostScores, ScoreFailure
from models.moderation.judging import Facts, Judgement, judge
from models.moderation.policy import KnownHit
from models.moderation.policy.schema import Policy, rank
from storage.moderation import Told


def told_of(judged: Judgement) -> Told:
    """Return what a decision was made of beside its scores, and what a challenger said."""
    scores = judged.scores if isinstance(judged.scores, PostScores) else None
    return Told(
        author=judged.facts.post.author,
        reactions=judged.facts.post.reactions,
        phashes=scores.phashes if scores is not None else {},
        challenger=scores.challenger if scores is not None else None,
        features=dict(judged.facts.features),
        known_at=judged.facts.known_at,
    )


def compare_challenger(
    policy: Policy, facts: Facts, scores: PostScores | ScoreFailure, known: Sequence[KnownHit], *, now: datetime
) -> str | None:
    """Return whether the policy makes the `same` of a challenger's scores, or something `milder` or `stricter`.

    None where no challenger scored the post.
    """
    if not isinstance(scores, PostScores) or scores.challenger is None:
        return None
    said = msgspec.structs.replace(scores, scores=scores.challenger.scores)
    mine, other = (
        rank(judge(policy, facts, one, known, now=now, author_id="", event_id="").outcome.machine)
        for one in (scores, said)
    )
    return "same" if mine == other else "stricter" if other > mine else "milder"
