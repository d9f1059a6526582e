"""For every alert: series under which it fires, and series under which it does not. Tried with promtool.

Values are in promtool's notation: `0+2x10` is 0 and ten steps of 2; `_x5` is five missing samples.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitoring.alerts import ALERTS
from monitoring.rules import rule_groups

_CANARY = 'riverlight_canary_freshness_seconds_bucket{system="visual_search",effect="%s",le="1.0"}'
_FOUND = 'riverlight_canary_freshness_seconds_count{system="visual_search",effect="searchable"}'
_RUNS = 'riverlight_canary_runs_total{system="visual_search",outcome="%s"}'
_REQUESTS = 'riverlight_http_request_seconds_%s{route="%s",method="POST",status="%s"%s}'
_SEARCH = "/v1/search/images"
_GATEWAY = '{job="gateway",instance="h:1"}'
_INDEX = {"index": "visual"}
_SYSTEM = {"system": "visual_search"}


@dataclass(frozen=True)
class Case:
    """What Prometheus has seen, one sample every `step` from 0 on, and the labels under which the alert then fires."""

    alert: str
    why: str
    series: Mapping[str, str]
    at: str
    fires: tuple[Mapping[str, str], ...] = ()
    step: str = "1m"


def _answers(status: str, values: str, route: str = _SEARCH) -> dict[str, str]:
    return {_REQUESTS % ("count", route, status, ""): values}


def _search_times(good: int, all_: int, samples: int) -> dict[str, str]:
    return {
        _REQUESTS % ("bucket", _SEARCH, "200", ',le="0.4"'): f"0+{good}x{samples}",
        _REQUESTS % ("count", _SEARCH, "200", ""): f"0+{all_}x{samples}",
    }


def _objective(name: str, **labels: str) -> dict[str, str]:
    return {"objective": name, **labels}


def _canary_cases(effect: str, alert: str, of: str) -> list[Case]:
    """Return the cases of one effect; `of` is the series that counts the runs in question."""
    seen = _CANARY % effect
    fires = (_objective(effect, **_SYSTEM),)
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
        (_objective("searchable", **_SYSTEM),),
    ),
    *_canary_cases("gone", "Gone", _FOUND),
    Case(
        "GoneBurnsFast",
        "images that never came up say nothing about going",
        {_CANARY % "gone": "0+7x90", _FOUND: "0+7x90", _RUNS % "ok": "0+7x90", _RUNS % "late": "0+3x90"},
        "85m",
    ),
    Case(
        "AnsweredBurnsFast",
        "two in a hundred fail",
        _answers("200", "0+98x90") | _answers("500", "0+2x90"),
        "85m",
        (_objective("answered"),),
    ),
    Case(
        "AnsweredBurnsFast",
        "two in a hundred are shed",
        _answers("200", "0+98x90")
        | _answers("429", "0+2x90", "unmatched")
        | {f'riverlight_http_requests_shed_total{{route="{_SEARCH}"}}': "0+2x90"},
        "85m",
        (_objective("answered"),),
    ),
    Case("AnsweredBurnsFast", "nothing has ever failed", _answers("200", "0+98x90"), "85m"),
    Case(
        "AnsweredBurnsFast",
        "clients that send nonsense, or too much, are their own fault",
        _answers("200", "0+50x90") | _answers("400", "0+50x90") | _answers("429", "0+50x90"),
        "85m",
    ),
    Case(
        "AnsweredBurnsFast",
        "a gateway that is starting is asked /readyz and says 503",
        _answers("200", "0+1x90") | _answers("503", "0+60x90", "/readyz"),
        "85m",
    ),
    Case(
        "AnsweredBurnsSlowly",
        "two in a thousand fail for days",
        _answers("200", "0+998x500") | _answers("500", "0+2x500"),
        "80h",
        (_objective("answered"),),
        step="10m",
    ),
    Case(
        "AnsweredBurnsSlowly",
        "one in two thousand fails for days",
        _answers("200", "0+1999x500") | _answers("500", "0+1x500"),
        "80h",
        step="10m",
    ),
    Case(
        "FastBurnsFast",
        "a quarter of the searches takes over 400 ms",
        _search_times(75, 100, 90),
        "85m",
        (_objective("fast", route=_SEARCH),),
    ),
    Case("FastBurnsFast", "all searches are fast", _search_times(100, 100, 90), "85m"),
    Case("FastBurnsFast", "nobody searches", _search_times(0, 0, 90), "85m"),
    Case(
        "FastBurnsSlowly",
        "two in a hundred searches are slow for days",
        _search_times(98, 100, 500),
        "80h",
        (_objective("fast", route=_SEARCH),),
        step="10m",
    ),
    Case("FastBurnsSlowly", "one in two hundred is slow", _search_times(199, 200, 500), "80h", step="10m"),
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
    Case(
        "ProcessDown",
        "it does not answer for three minutes",
        {f"up{_GATEWAY}": "1 0 0 0 0"},
        "4m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case("ProcessDown", "it missed one scrape", {f"up{_GATEWAY}": "1 1 0 1 1"}, "4m"),
    Case(
        "KeepsRestarting",
        "started anew every five minutes",
        {f"process_start_time_seconds{_GATEWAY}": "0x5 300x5 600x5 900x5 1200x5"},
        "28m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case("KeepsRestarting", "one restart", {f"process_start_time_seconds{_GATEWAY}": "0x10 600x20"}, "28m"),
    Case(
        "DeadLetters",
        "the first of its kind: the series begins at 1",
        {'riverlight_stream_dead_letters_total{agent="index-upload",code="missing-media"}': "_x5 1x10"},
        "8m",
        ({"agent": "index-upload", "code": "missing-media"},),
    ),
    Case(
        "DeadLetters",
        "one more",
        {'riverlight_stream_dead_letters_total{agent="index-upload",code="missing-media"}': "3x20 4x5"},
        "23m",
        ({"agent": "index-upload", "code": "missing-media"},),
    ),
    Case(
        "DeadLetters",
        "only old ones",
        {'riverlight_stream_dead_letters_total{agent="index-upload",code="missing-media"}': "3x30"},
        "25m",
    ),
    Case(
        "DeadLettersMany",
        "half of the events for ten minutes",
        {
            'riverlight_stream_events_total{agent="interactions",outcome="applied"}': "0+50x20",
            'riverlight_stream_events_total{agent="interactions",outcome="dead_letter"}': "0+50x20",
            'riverlight_stream_dead_letters_total{agent="interactions",code="invalid-event"}': "0+50x20",
        },
        "15m",
        ({"agent": "interactions"},),
    ),
    Case(
        "DeadLettersMany",
        "one in a hundred",
        {
            'riverlight_stream_events_total{agent="interactions",outcome="applied"}': "0+990x20",
            'riverlight_stream_events_total{agent="interactions",outcome="dead_letter"}': "0+10x20",
            'riverlight_stream_dead_letters_total{agent="interactions",code="invalid-event"}': "0+10x20",
        },
        "15m",
    ),
    Case(
        "ConsumerStuck",
        "the lag grows",
        {'riverlight_stream_consumer_lag_records{agent="interactions",topic="t"}': "0 10+10x10"},
        "8m",
        ({"agent": "interactions", "topic": "t"},),
    ),
    Case(
        "ConsumerStuck",
        "a large lag that shrinks",
        {'riverlight_stream_consumer_lag_records{agent="interactions",topic="t"}': "9000-500x10"},
        "8m",
    ),
    Case(
        "ConsumerStuck",
        "a lag now and then",
        {'riverlight_stream_consumer_lag_records{agent="interactions",topic="t"}': "5 0 9 0 7 0 8 0 9 0"},
        "8m",
    ),
    Case(
        "AgentWaits",
        "a try every ten seconds for a quarter of an hour",
        {'riverlight_stream_retries_total{agent="index-upload"}': "0+6x20"},
        "15m",
        ({"agent": "index-upload"},),
    ),
    Case("AgentWaits", "one hiccup", {'riverlight_stream_retries_total{agent="index-upload"}': "0x5 3x15"}, "15m"),
    Case("OutboxStuck", "nothing leaves it", {"riverlight_stream_outbox_pending_records": "4x20"}, "12m", ({},)),
    Case("OutboxStuck", "it is being emptied", {"riverlight_stream_outbox_pending_records": "900-50x15"}, "12m"),
    Case("OutboxStuck", "it is empty", {"riverlight_stream_outbox_pending_records": "0x20"}, "12m"),
    Case(
        "RecallLow",
        "nine of ten true neighbours are found",
        {
            'riverlight_index_live_recall_ratio_sum{index="visual"}': "0+9x40",
            'riverlight_index_live_recall_ratio_count{index="visual"}': "0+10x40",
        },
        "35m",
        (_INDEX,),
    ),
    Case(
        "RecallLow",
        "ninety-nine of a hundred",
        {
            'riverlight_index_live_recall_ratio_sum{index="visual"}': "0+99x40",
            'riverlight_index_live_recall_ratio_count{index="visual"}': "0+100x40",
        },
        "35m",
    ),
    Case(
        "RecallLow",
        "nobody searches: 0 of 0 says nothing",
        {
            'riverlight_index_live_recall_ratio_sum{index="visual"}': "3x40",
            'riverlight_index_live_recall_ratio_count{index="visual"}': "4x40",
        },
        "35m",
    ),
    Case("IndexBehind", "it stands still", {'riverlight_index_lag_records{index="visual"}': "7x10"}, "8m", (_INDEX,)),
    Case("IndexBehind", "it catches up", {'riverlight_index_lag_records{index="visual"}': "900-90x10"}, "8m"),
    Case(
        "IndexEntriesInvalid",
        "the first one",
        {'riverlight_index_entries_total{index="visual",outcome="invalid"}': "_x5 1x10"},
        "8m",
        (_INDEX,),
    ),
    Case(
        "IndexEntriesInvalid",
        "others are applied or stale",
        {
            'riverlight_index_entries_total{index="visual",outcome="applied"}': "0+5x20",
            'riverlight_index_entries_total{index="visual",outcome="stale"}': "0+5x20",
        },
        "15m",
    ),
    Case(
        "SnapshotOld",
        "entries arrive, the last snapshot was made at the start",
        {
            'riverlight_index_snapshot_timestamp_seconds{index="visual"}': "0x90",
            'riverlight_index_entries_total{index="visual",outcome="applied"}': "0+5x90",
        },
        "85m",
        (_INDEX,),
    ),
    Case(
        "SnapshotOld",
        "nothing changes, so nothing is saved",
        {
            'riverlight_index_snapshot_timestamp_seconds{index="visual"}': "0x90",
            'riverlight_index_entries_total{index="visual",outcome="applied"}': "500x90",
        },
        "85m",
    ),
    Case(
        "ModelMismatch",
        "entries of another model for a while",
        {'riverlight_index_entries_total{index="visual",outcome="other_model"}': "0+5x20"},
        "15m",
        (_INDEX,),
    ),
    Case(
        "ModelMismatch",
        "some were read long ago, at the start",
        {'riverlight_index_entries_total{index="visual",outcome="other_model"}': "40x60"},
        "45m",
    ),
    Case(
        "ModelOld",
        "trained 100 days before",
        {'riverlight_model_created_timestamp_seconds{version="visual-search/1"}': "-8640000x90"},
        "80m",
        ({"version": "visual-search/1"},),
    ),
    Case(
        "ModelOld",
        "trained yesterday",
        {'riverlight_model_created_timestamp_seconds{version="visual-search/1"}': "-86400x90"},
        "80m",
    ),
    Case("FeaturesStale", "rows wait", {"riverlight_features_pending_rows": "5+5x20"}, "12m", ({},)),
    Case("FeaturesStale", "rows come and go", {"riverlight_features_pending_rows": "9 0 8 0 7 0 9 0 8 0 9 0 9"}, "12m"),
    Case(
        "Shedding",
        "one a second",
        {f'riverlight_http_requests_shed_total{{route="{_SEARCH}"}}': "0+60x20"},
        "15m",
        ({"route": _SEARCH},),
    ),
    Case("Shedding", "one in all", {f'riverlight_http_requests_shed_total{{route="{_SEARCH}"}}': "0x5 1x15"}, "15m"),
    Case(
        "ProcessorFull",
        "a core and nothing left",
        {f"process_cpu_seconds_total{_GATEWAY}": "0+60x40"},
        "35m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case("ProcessorFull", "half a core", {f"process_cpu_seconds_total{_GATEWAY}": "0+30x40"}, "35m"),
    Case(
        "FilesRunOut",
        "nine tenths are open",
        {f"process_open_fds{_GATEWAY}": "900x20", f"process_max_fds{_GATEWAY}": "1000x20"},
        "10m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case(
        "FilesRunOut",
        "a tenth is",
        {f"process_open_fds{_GATEWAY}": "100x20", f"process_max_fds{_GATEWAY}": "1000x20"},
        "10m",
    ),
    Case(
        "MemoryGrows",
        "half a gigabyte and 5 MB more every minute",
        {f"process_resident_memory_bytes{_GATEWAY}": "500000000+5000000x140"},
        "100m",
        ({"job": "gateway", "instance": "h:1"},),
    ),
    Case(
        "MemoryGrows",
        "it grew while it started, and is flat since",
        {f"process_resident_memory_bytes{_GATEWAY}": "100000000+200000000x5 1100000000x140"},
        "100m",
    ),
    Case(
        "EncoderFails",
        "one image in ten",
        {
            'riverlight_encoder_images_total{outcome="ok"}': "0+90x20",
            'riverlight_encoder_images_total{outcome="internal"}': "0+10x20",
        },
        "15m",
        ({},),
    ),
    Case(
        "EncoderFails",
        "people send files that are no images",
        {
            'riverlight_encoder_images_total{outcome="ok"}': "0+50x20",
            'riverlight_encoder_images_total{outcome="undecodable-media"}': "0+50x20",
        },
        "15m",
    ),
]


def rules_for(alert: str) -> dict[str, Any]:
    """Return a rule file with one alert and the recorded series it is made of: all of them would take minutes."""
    rules = [rule for group in rule_groups()["groups"] for rule in group["rules"]]
    expr = next(rule["expr"] for rule in rules if rule.get("alert") == alert)
    needed = [
        rule
        for rule in rules
        if rule.get("alert") == alert
        or (f"{rule.get('record')}{{" in expr and rule["labels"]["objective"] in expr)
        or re.search(rf"{rule.get('record')}\b(?!{{)", expr)
    ]
    return {"groups": [{"name": alert, "rules": needed}]}


def promtool_tests(folder: Path) -> list[Path]:
    """Write rule and test files for every alert into `folder`; return the test files."""
    files = []
    for alert, step in sorted({(case.alert, case.step) for case in CASES}):
        rules = folder / f"{alert}.rules.json"
        rules.write_text(json.dumps(rules_for(alert)))
        tests = [_as_test(case) for case in CASES if case.alert == alert and case.step == step]
        file = folder / f"{alert}.{step}.test.json"
        file.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": step, "tests": tests}))
        files.append(file)
    return files


def _as_test(case: Case) -> dict[str, Any]:
    alert = next(alert for alert in ALERTS if alert.name == case.alert)
    expected = [
        {
            "exp_labels": {"severity": alert.severity, **labels},
            "exp_annotations": {
                "summary": re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], alert.summary),  # noqa: B023
                "runbook": f"docs/runbooks/{alert.runbook}",
            },
        }
        for labels in case.fires
    ]
    return {
        "name": f"{case.alert}: {case.why}",
        "interval": case.step,
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}],
    }
