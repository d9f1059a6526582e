"""Recommendation: degraded answers, generators, the model, freshness, and promises to new videos."""

from tests.unit.monitoring.alerts.case import Case

_ANSWERS = 'riverlight_recommendation_answers_total{viewer="known",scored_by="%s",degraded="%s"}'
_CALLS = 'riverlight_recommendation_generator_calls_total{generator="two-tower",outcome="%s"}'
_LOADS = 'riverlight_model_loads_total{system="recommendation",outcome="%s"}'
_FRESH = 'riverlight_freshness_seconds_bucket{system="recommendation",effect="feature",le="%s"}'
_PROMISES = 'riverlight_recommendation_promises{state="%s"}'

CASES: list[Case] = [
    Case(
        "RecommendationsDegraded",
        "a tenth of the homepages for half an hour",
        {_ANSWERS % ("ranker", "yes"): "0+10x40", _ANSWERS % ("ranker", "no"): "0+90x40"},
        "30m",
        ({},),
    ),
    Case(
        "RecommendationsDegraded",
        "one in a hundred",
        {_ANSWERS % ("ranker", "yes"): "0+1x40", _ANSWERS % ("ranker", "no"): "0+99x40"},
        "30m",
    ),
    Case(
        "RecommendationsDegraded",
        "nobody asks",
        {_ANSWERS % ("ranker", "yes"): "5x40", _ANSWERS % ("ranker", "no"): "90x40"},
        "30m",
    ),
    Case(
        "GeneratorLeftOut",
        "late in one of five",
        {_CALLS % "late": "0+2x40", _CALLS % "proposed": "0+8x40"},
        "30m",
        ({"generator": "two-tower"},),
    ),
    Case(
        "GeneratorLeftOut",
        "it has nothing to say, which is no fault",
        {_CALLS % "nothing": "0+9x40", _CALLS % "late": "0x40", _CALLS % "proposed": "0+1x40"},
        "30m",
    ),
    Case(
        "NoRecommendationModel",
        "all by blending for an hour",
        {_ANSWERS % ("blend", "no"): "0+10x80"},
        "70m",
        ({},),
    ),
    Case(
        "NoRecommendationModel",
        "until the model is loaded after a start",
        {_ANSWERS % ("blend", "no"): "0+10x5 50x60", _ANSWERS % ("ranker", "no"): "_x5 0+10x60"},
        "40m",
    ),
    Case(
        "ModelRefused",
        "tried every minute, in vain",
        {_LOADS % "refused": "_x5 1+1x30", _LOADS % "loaded": "1x40"},
        "20m",
        ({"system": "recommendation"},),
    ),
    Case(
        "ModelRefused",
        "for a defect of ours, soon after the start",
        {_LOADS % "failed": "0 1+1x30"},
        "8m",
        ({"system": "recommendation"},),
    ),
    Case(
        "ModelRefused",
        "once, and then it comes good",
        {_LOADS % "refused": "0x9 1x30", _LOADS % "loaded": "1x10 2x30"},
        "14m",
    ),
    Case(
        "ModelRefused",
        "nothing is registered, which is no fault",
        {_LOADS % "missing": "0+12x40", _LOADS % "refused": "0x40"},
        "30m",
    ),
    Case(
        "RecommendationsStale",
        "events are known after more than ten seconds",
        {_FRESH % "5.0": "0+1x30", _FRESH % "10.0": "0+2x30", _FRESH % "30.0": "0+10x30", _FRESH % "+Inf": "0+10x30"},
        "20m",
        ({"effect": "feature"},),
    ),
    Case(
        "RecommendationsStale",
        "events are known within a second",
        {_FRESH % "1.0": "0+10x30", _FRESH % "5.0": "0+10x30", _FRESH % "+Inf": "0+10x30"},
        "20m",
    ),
    Case("PromisesBroken", "half of them", {_PROMISES % "broken": "50x90", _PROMISES % "kept": "50x90"}, "80m", ({},)),
    Case("PromisesBroken", "a tenth", {_PROMISES % "broken": "10x90", _PROMISES % "kept": "90x90"}, "80m"),
    Case("PromisesBroken", "all of very few", {_PROMISES % "broken": "3x90", _PROMISES % "kept": "0x90"}, "80m"),
]
