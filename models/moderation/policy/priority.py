"""Which review comes first: the one whose answer prevents most harmful impressions.

    priority = P(harm) x severity x expected impressions x urgency

* P(harm) is the calibrated probability of the decision's class, or `unknown_probability` without one. Reports of now
  raise its log-odds: logit P' = logit P + `report_log_odds` x velocity, velocity being the weighted reports, each
  halving every `report_half_life_hours`.
* Expected impressions within the horizon H, attention halving every h hours (l = ln 2 / h):
  rate x (1 - exp(-l H)) / l. The rate of a young post is noise, so it is mixed with the prior as if the post had had
  `prior_hours` of it: rate = (measured x age + prior x prior_hours) / (age + prior_hours).
* A demoted post is shown `factor` times as often, so a look at it prevents as much less.
* Urgent classes count `real_time_times`.

The unit is severity-weighted harmful impressions. An appeal against an enforcement has nothing left to prevent; what
its review gives back is the impressions withheld from a post that was all right: (1 - P) x expected impressions.
"""

import math

from core.moderation import Urgency
from models.moderation.policy.case import Outcome
from models.moderation.policy.schema import Policy, Review

_NEVER_SURE = 1e-4  # no report changes what is certain, so nothing is


def priority(
    policy: Policy,
    outcome: Outcome,
    *,
    impressions_per_hour: float,
    age_hours: float,
    urgency: Urgency | None = None,
) -> float:
    """Return how many severity-weighted harmful impressions a review now is expected to prevent.

    `impressions_per_hour` is the post's measured rate over its age, before any demotion acts on it. `urgency` is that
    of the outcome unless given.
    """
    review = policy.review
    p = harm_probability(review, outcome.probability, outcome.report_velocity)
    shown = {"enforce": 0.0, "demote": outcome.factor}.get(outcome.action, 1.0)
    expected = expected_impressions(review, impressions_per_hour, age_hours)
    times = review.real_time_times if (urgency or outcome.urgency) == "real-time" else 1.0
    return p * outcome.severity * expected * shown * times


def appeal_priority(
    policy: Policy, *, probability: float | None, impressions_per_hour: float, age_hours: float
) -> float:
    """Return how many impressions are withheld wrongly unless the appeal is looked at.

    `impressions_per_hour` is the rate before the decision.
    """
    p = harm_probability(policy.review, probability, 0.0)
    return (1 - p) * expected_impressions(policy.review, impressions_per_hour, age_hours)


def harm_probability(review: Review, probability: float | None, velocity: float) -> float:
    """Return the probability of harm with reports taken into account, in (0, 1)."""
    p = review.unknown_probability if probability is None else probability
    p = min(max(p, _NEVER_SURE), 1 - _NEVER_SURE)
    odds = math.log(p / (1 - p)) + review.report_log_odds * max(0.0, velocity)
    return 1 / (1 + math.exp(-min(odds, 50.0)))


def expected_impressions(review: Review, impressions_per_hour: float, age_hours: float) -> float:
    """Return how often the post is expected to be shown within the horizon if nothing is done."""
    age, measured = max(0.0, age_hours), max(0.0, impressions_per_hour)
    prior = review.prior_impressions_per_hour * review.prior_hours
    rate = (measured * age + prior) / (age + review.prior_hours)
    decay = math.log(2) / review.half_life_hours
    return rate * -math.expm1(-decay * review.horizon_hours) / decay
