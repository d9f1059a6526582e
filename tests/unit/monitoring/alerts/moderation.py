"""Moderation: how soon what is taken down is gone."""

from tests.unit.monitoring.alerts.case import Case

_GONE = 'riverlight_freshness_seconds_bucket{system="moderation",effect="%s",le="%s"}'

CASES: list[Case] = [
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
        "what is given back late is no harm",
        {_GONE % ("searchable", "1.0"): "0x40", _GONE % ("searchable", "3.0"): "0+9x40"}
        | {_GONE % ("searchable", "+Inf"): "0+9x40", _GONE % ("gone", "1.0"): "0+9x40"}
        | {_GONE % ("gone", "+Inf"): "0+9x40"},
        "30m",
    ),
]
