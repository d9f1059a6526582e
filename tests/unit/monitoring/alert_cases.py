"""For every alert: series under which it fires, and series under which it does not. Tried with promtool.

The cases are in `alerts/`, a module a group.
"""

import json
import re
from pathlib import Path
from typing import Any

from monitoring.alerts import ALERTS
from monitoring.rules import rule_groups
from tests.unit.monitoring.alerts import (
    answers,
    drift,
    freshness,
    index,
    moderation,
    processes,
    recommendation,
    streams,
)
from tests.unit.monitoring.alerts.case import Case

_GROUPS = (freshness, answers, processes, streams, index, recommendation, moderation, drift)
CASES = [case for group in _GROUPS for case in group.CASES]


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
