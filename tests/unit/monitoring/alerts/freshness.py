"""Freshness, as the canary measures it from outside."""

from tests.unit.monitoring.alerts.case import Case, objective

_CANARY = 'riverlight_canary_freshness_seconds_bucket{system="visual_search",effect="%s",le="1.0"}'
_FOUND = 'riverlight_canary_freshness_seconds_count{system="visual_search",effect="searchable"}'
_RUNS = 'riverlight_canary_runs_total{system="visual_search",outcome="%s"}'
_SYSTEM = {"system": "visual_search"}


def _canary_cases(effect: str, alert: str, of: str) -> list[Case]:
    """Return the cases of one effect; `of` is the series that counts the runs in question."""
    seen = _CANARY % effect
    fires = (objective(effect, **_SYSTEM),)
    fast, slow = f"{alert}BurnsFast", f"{alert}BurnsSlowly"
    return [
        Case(fast, "a fifth is late for an hour", {seen: "0+8x90", of: "0+10x90"}, "85m", fires),
        Case(fast, "all are in time", {seen: "0+10x90", of: "0+10x90"}, "85m"),
        Case(
            fast,
            "a bad hour is over: the short windows are good again",
            {seen: "0+5x60 310+10x50", of: "0+10x110"},
            "105m",
        ),
        Case(
            slow,
            "two in a hundred are late for days: twice what is allowed",
            {seen: "0+98x500", of: "0+100x500"},
            "80h",
            fires,
            step="10m",
        ),
        Case(
            slow,
            "one in two hundred is late for days: half of what is allowed",
            {seen: "0+199x500", of: "0+200x500"},
            "80h",
            step="10m",
        ),
    ]


CASES: list[Case] = [
    *_canary_cases("searchable", "Searchable", _RUNS % "ok"),
    Case(
        "SearchableBurnsFast",
        "images that never came up are in no histogram, and count",
        {_CANARY % "searchable": "0+7x90", _RUNS % "ok": "0+7x90", _RUNS % "late": "0+3x90"},
        "85m",
        (objective("searchable", **_SYSTEM),),
    ),
    *_canary_cases("gone", "Gone", _FOUND),
    Case(
        "GoneBurnsFast",
        "images that never came up say nothing about going",
        {_CANARY % "gone": "0+7x90", _FOUND: "0+7x90", _RUNS % "ok": "0+7x90", _RUNS % "late": "0+3x90"},
        "85m",
    ),
    Case(
        "CanarySilent",
        "the last success was five minutes ago",
        {'riverlight_canary_last_success_timestamp_seconds{system="visual_search"}': "0x10"},
        "5m",
        (_SYSTEM,),
    ),
    Case(
        "CanarySilent",
        "there never was a success, only late runs",
        {_RUNS % "late": "0+6x10"},
        "5m",
        (_SYSTEM,),
    ),
    Case(
        "CanarySilent",
        "a success every minute",
        {
            'riverlight_canary_last_success_timestamp_seconds{system="visual_search"}': "0+60x10",
            _RUNS % "ok": "0+6x10",
        },
        "5m",
    ),
]
