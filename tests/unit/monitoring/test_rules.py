import json
import re
from pathlib import Path

import pytest

from monitoring import catalogue, objectives, promises, rules
from monitoring.alerts import ALERTS
from monitoring.promql import grew, quantile, within
from tests.unit.monitoring.alert_cases import CASES, rules_for
from tests.unit.monitoring.names import unknown_names

RUNBOOKS = Path(__file__).parents[3] / "docs/runbooks"
SECTIONS = ["What it means", "Look at", "Do", "Verify"]

every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def test_every_rule_names_metrics_that_exist():
    for group in rules.rule_groups()["groups"]:
        for rule in group["rules"]:
            assert unknown_names(rule["expr"]) == set(), rule


@every_alert
def test_every_alert_has_a_runbook_that_says_what_it_means_what_to_look_at_to_do_and_to_verify(alert):
    page = (RUNBOOKS / alert.runbook).read_text(encoding="utf-8")
    title, *_ = page.splitlines()
    assert title.startswith("# ")
    assert alert.name in title.removeprefix("# ").split(", ")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == SECTIONS


def test_runbooks_name_no_alert_that_there_is_not():
    names = {alert.name for alert in ALERTS}
    for page in RUNBOOKS.glob("*.md"):
        if "## What it means" in page.read_text(encoding="utf-8"):
            title = page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
            assert set(title.split(", ")) <= names, page.name


@every_alert
def test_every_alert_is_tried_where_it_fires_and_where_it_does_not(alert):
    cases = [case for case in CASES if case.alert == alert.name]
    assert any(case.fires for case in cases)
    assert any(not case.fires for case in cases)


def test_the_rules_an_alert_is_tried_with_are_all_that_it_is_made_of():
    rule_file = rules_for("SearchableBurnsFast")["groups"][0]["rules"]
    recorded = {rule["record"] for rule in rule_file if "record" in rule}
    assert recorded == {objectives.series(window) for window in ("5m", "30m", "1h", "6h")}
    assert {rule["labels"]["objective"] for rule in rule_file if "record" in rule} == {"searchable"}


def test_every_promise_is_recorded_and_every_alert_belongs_to_one():
    watched = {one.promise for one in rules.RECORDINGS}
    assert watched == {promise.name for promise in promises.PROMISES}
    alerts = [name for promise in promises.PROMISES for name in promise.alerts]
    assert sorted(alerts) == sorted(alert.name for alert in ALERTS)


def test_recorded_names_and_alert_names_are_given_once():
    names = [one.name for one in rules.RECORDINGS]
    assert len(set(names)) == len(names)
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


def test_the_routes_that_have_a_time_are_routes_of_the_api():
    paths = json.loads((RUNBOOKS.parent / "reference/openapi.json").read_text(encoding="utf-8"))["paths"]
    assert set(objectives.ROUTE_WITHIN_S) <= set(paths)


def test_a_bound_that_is_no_bucket_is_refused_instead_of_finding_nothing():
    with pytest.raises(ValueError, match="no bucket"):
        within(0.3, catalogue.REQUEST_SECONDS)


def test_a_burn_alert_asks_both_windows_of_each_pair():
    assert objectives.ANSWERED.burning(((6.0, "6h", "30m"),)) == (
        '(riverlight:objective_bad:ratio6h{objective="answered"} > 0.006'
        ' and riverlight:objective_bad:ratio30m{objective="answered"} > 0.006)'
    )


def test_expressions_sum_over_the_labels_that_are_not_kept():
    assert quantile(0.5, catalogue.ENCODER_BATCH) == (
        "histogram_quantile(0.5, sum by (le) (rate(riverlight_encoder_batch_images_bucket[5m])))"
    )
    assert grew(catalogue.RETRIES, by=("agent",), window="1m") == (
        "sum by (agent) (increase(riverlight_stream_retries_total[1m])) > 0"
        " or sum by (agent) (riverlight_stream_retries_total unless riverlight_stream_retries_total offset 1m) > 0"
    )
