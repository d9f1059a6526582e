"""Moderation: how soon posts are decided and what is taken down is gone, and what fails."""

from tests.unit.monitoring.alerts.case import Case

_GONE = 'riverlight_moderation_verdict_seconds_bucket{effect="%s",le="%s"}'
_CAUSE_TO_GONE = 'riverlight_freshness_seconds_bucket{system="moderation",effect="gone",le="%s"}'
_DECIDED = 'riverlight_moderation_decision_seconds_bucket{action="allow",le="%s"}'
_SCORED = 'riverlight_moderation_scored_posts_total{outcome="%s"}'
_UNANSWERED = "riverlight_moderation_unanswered_posts_total"
_POLICY = 'riverlight_moderation_policy_loads_total{outcome="%s"}'

CASES: list[Case] = [
    Case(
        "DecisionsLate",
        "one in twenty takes three seconds",
        {_DECIDED % "1.0": "0+19x40", _DECIDED % "3.0": "0+20x40", _DECIDED % "+Inf": "0+20x40"},
        "30m",
        ({},),
    ),
    Case(
        "DecisionsLate",
        "all within a second",
        {_DECIDED % "0.8": "0+18x40", _DECIDED % "1.0": "0+20x40", _DECIDED % "+Inf": "0+20x40"},
        "30m",
    ),
    Case(
        "PostsNotScored",
        "a tenth fail",
        {_SCORED % "ok": "0+90x40", _SCORED % "failed": "0+10x40", _UNANSWERED: "0x40"},
        "30m",
        ({},),
    ),
    Case(
        "PostsNotScored",
        "the moderator is away",
        {_SCORED % "ok": "90x40", _SCORED % "failed": "0x40", _UNANSWERED: "0+10x40"},
        "30m",
        ({},),
    ),
    Case(
        "PostsNotScored",
        "all is well",
        {_SCORED % "ok": "0+90x40", _SCORED % "partial": "0+40x40", _SCORED % "failed": "0x40", _UNANSWERED: "0x40"},
        "30m",
    ),
    Case("PolicyRefused", "a mistake in the file", {_POLICY % "refused": "0x5 1x30"}, "8m", ({},)),
    Case(
        "PolicyRefused", "another one is in force", {_POLICY % "loaded": "1x5 2x30", _POLICY % "refused": "0x40"}, "8m"
    ),
    Case(
        "EnforcedLate",
        "one in twenty takes three seconds",
        {_GONE % ("gone", "1.0"): "0+19x40", _GONE % ("gone", "3.0"): "0+20x40", _GONE % ("gone", "+Inf"): "0+20x40"},
        "30m",
        ({},),
    ),
    Case(
        "EnforcedLate",
        "all are gone within a second",
        {_GONE % ("gone", "0.8"): "0+18x40", _GONE % ("gone", "1.0"): "0+20x40", _GONE % ("gone", "+Inf"): "0+20x40"},
        "30m",
    ),
    Case(
        "EnforcedLate",
        "it is the decision that is slow",
        {_GONE % ("gone", "0.8"): "0+20x40", _GONE % ("gone", "1.0"): "0+20x40", _GONE % ("gone", "+Inf"): "0+20x40"}
        | {_CAUSE_TO_GONE % "1.0": "0x40", _CAUSE_TO_GONE % "5.0": "0+20x40", _CAUSE_TO_GONE % "+Inf": "0+20x40"},
        "30m",
    ),
    Case(
        "EnforcedLate",
        "what is given back late is no harm",
        {_GONE % ("searchable", "1.0"): "0x40", _GONE % ("searchable", "3.0"): "0+9x40"}
        | {_GONE % ("searchable", "+Inf"): "0+9x40", _GONE % ("gone", "1.0"): "0+9x40"}
        | {_GONE % ("gone", "+Inf"): "0+9x40"},
        "30m",
    ),
]
