"""Recommendation: the answers, what they are made of, and the promises to new videos."""

from monitoring import catalogue as m
from monitoring.dashboards.panels import Dashboard, Limit, Panel, Row
from monitoring.promql import highest, increase, quantile, rate

_RUNBOOK = "recommendation.md"
_LEFT_OUT = 'outcome=~"late|failed|busy"'
_SYSTEM = 'system="recommendation"'

SHOWN, CLICKED = 'outcome="impression"', 'outcome="click"'
_AN_HOUR = "1h"


def _share(outcome: str, label: str) -> str:
    """Return an outcome per impression over an hour, by version or generator."""
    metric = m.RECOMMENDATION_OUTCOMES if label == "version" else m.RECOMMENDATION_GENERATOR_OUTCOMES
    counted, shown = (
        rate(metric, by=(label,), where=where, window=_AN_HOUR) for where in (f'outcome="{outcome}"', SHOWN)
    )
    return f"{counted} / {shown}"


RECOMMENDATION = Dashboard(
    "riverlight-recommendation",
    "Riverlight / Recommendation",
    (
        Row(
            "Homepages are answered",
            (
                Panel(
                    "How many homepages are there, and how were they made?",
                    "Answers a second, by what scored them and whether a part of the recommender was missing.",
                    "reqps",
                    _RUNBOOK,
                    (
                        (
                            rate(m.RECOMMENDATIONS, by=("scored_by", "degraded")),
                            "{{scored_by}}, degraded: {{degraded}}",
                        ),
                    ),
                ),
                Panel(
                    "Who asks?",
                    "Answers a second to people of whom something is known, and to new ones.",
                    "reqps",
                    _RUNBOOK,
                    ((rate(m.RECOMMENDATIONS, by=("viewer",)), "{{viewer}}"),),
                ),
                Panel(
                    "How long does each stage take?",
                    "99 of 100 answers, by stage.",
                    "s",
                    _RUNBOOK,
                    ((quantile(0.99, m.RECOMMENDATION_SECONDS, by=("stage",)), "{{stage}}"),),
                    Limit(0.1),
                ),
                Panel(
                    "How many videos does an answer hold?",
                    "Half of the answers hold at most so many.",
                    "short",
                    _RUNBOOK,
                    ((quantile(0.5, m.RECOMMENDATION_RESULTS), "videos"),),
                ),
            ),
        ),
        Row(
            "Generators and ranker",
            (
                Panel(
                    "Which generators are left out?",
                    "Calls a second that were late, failed, or not made because earlier ones hang.",
                    "ops",
                    _RUNBOOK,
                    (
                        (
                            rate(m.RECOMMENDATION_GENERATORS, by=("generator", "outcome"), where=_LEFT_OUT),
                            "{{generator}} {{outcome}}",
                        ),
                    ),
                    Limit(0.1),
                ),
                Panel(
                    "How long do generators take?",
                    "99 of 100 calls, by generator; the deadline is `recommendation.generator_deadline_s`.",
                    "s",
                    _RUNBOOK,
                    ((quantile(0.99, m.RECOMMENDATION_GENERATOR_SECONDS, by=("generator",)), "{{generator}}"),),
                    Limit(0.05),
                ),
                Panel(
                    "Does the ranker answer?",
                    "Calls of the ranker a second, by what came of them. None where there is no ranker.",
                    "ops",
                    _RUNBOOK,
                    ((rate(m.RECOMMENDATION_RANKER, by=("outcome",)), "{{outcome}}"),),
                ),
                Panel(
                    "Is the promoted model served?",
                    "Looks at the registry in the last ten minutes: versions that took over, were refused, or missing.",
                    "short",
                    _RUNBOOK,
                    ((increase(m.MODEL_LOADS, by=("outcome",), where=_SYSTEM), "{{outcome}}"),),
                ),
            ),
        ),
        Row(
            "What people do with it",
            (
                Panel(
                    "How many of the shown videos are opened?",
                    "Clicks per impression over an hour, by what scored the answer.",
                    "percentunit",
                    _RUNBOOK,
                    ((_share("click", "version"), "{{version}}"),),
                ),
                Panel(
                    "Which generators find what is opened?",
                    "The same by generator; a video that several proposed counts for each.",
                    "percentunit",
                    _RUNBOOK,
                    ((_share("click", "generator"), "{{generator}}"),),
                ),
                Panel(
                    "Is it watched to the end, liked, disliked?",
                    "Per impression over an hour. Hiding and reporting count as disliking.",
                    "percentunit",
                    _RUNBOOK,
                    tuple(
                        (_share(outcome, "version"), f"{{{{version}}}} {outcome}")
                        for outcome in ("completed", "like", "dislike")
                    ),
                ),
                Panel(
                    "How long is it watched?",
                    "Seconds watched per impression over an hour, by what scored the answer.",
                    "s",
                    _RUNBOOK,
                    (
                        (
                            f"{rate(m.RECOMMENDATION_WATCHED, by=('version',), window=_AN_HOUR)}"
                            f" / {rate(m.RECOMMENDATION_OUTCOMES, by=('version',), where=SHOWN, window=_AN_HOUR)}",
                            "{{version}}",
                        ),
                    ),
                ),
                Panel(
                    "Do interactions name answers that are known?",
                    "Trace ids a second that name no answer. Applications send the answer's `trace_id`.",
                    "ops",
                    _RUNBOOK,
                    ((rate(m.RECOMMENDATION_UNATTRIBUTED), "unknown"),),
                ),
            ),
        ),
        Row(
            "What is shown",
            (
                Panel(
                    "Why are candidates left out?",
                    "Candidates a second that re-ranking left out, by reason.",
                    "ops",
                    _RUNBOOK,
                    ((rate(m.RECOMMENDATION_REMOVED, by=("reason",)), "{{reason}}"),),
                ),
                Panel(
                    "How did videos get their places?",
                    "Videos a second, by score, for exploration, or for small creators.",
                    "ops",
                    _RUNBOOK,
                    ((rate(m.RECOMMENDATION_SHOWN, by=("place",)), "{{place}}"),),
                ),
                Panel(
                    "Do new videos get what they are promised?",
                    "Promises of impressions that are open, and what became of those that ended in the last week.",
                    "short",
                    _RUNBOOK,
                    ((highest(m.EXPLORATION_PROMISES, by=("state",)), "{{state}}"),),
                ),
                Panel(
                    "How fast does what people do count?",
                    "99 of 100 events, from happening to being known to the recommender.",
                    "s",
                    _RUNBOOK,
                    (
                        (
                            quantile(0.99, m.FRESHNESS, by=("effect",), where=_SYSTEM),
                            "{{effect}}",
                        ),
                    ),
                    Limit(1.0),
                ),
            ),
        ),
    ),
)
