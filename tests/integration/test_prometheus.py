"""The rules and dashboards on a real Prometheus: they parse, find data, and alert when they should."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.prometheus_server import RULES
from monitoring import rules
from monitoring.alerts import ALERTS
from monitoring.dashboards import DASHBOARDS, queries
from monitoring.objectives import OBJECTIVES, WINDOWS
from tests.integration.prometheus import LivePrometheus, promtool, scraping
from tests.unit.monitoring.alert_cases import promtool_tests

pytestmark = pytest.mark.integration

_SELECTOR = re.compile(r"\b((?:riverlight|process|ray)[\w:]*|up\b)({[^}]*})?")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePrometheus]:
    with scraping(tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield prometheus


def test_the_rule_file_that_prometheus_is_given_is_there_and_valid():
    checked = promtool("check", "rules", "--lint-fatal", RULES)
    assert checked.returncode == 0, checked.stderr
    written = sum(len(group["rules"]) for group in rules.rule_groups()["groups"])
    assert f"{written} rules found" in checked.stdout


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path):
    tried = promtool("test", "rules", *promtool_tests(tmp_path))
    assert tried.returncode == 0, (tried.stdout + tried.stderr)[-4000:]


def test_every_recorded_series_has_values(live: LivePrometheus):
    empty = [one.name for one in rules.RECORDINGS if not live.eventually(one.name)]
    empty += [
        objective.recorded(window)
        for objective in OBJECTIVES
        for window in WINDOWS
        if not live.eventually(objective.recorded(window))
    ]
    assert empty == []


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)
def test_every_query_of_a_dashboard_finds_data(live: LivePrometheus, dashboard):
    assert [query for query in queries(dashboard) if not live.eventually(query)] == []


def test_everything_an_alert_asks_for_is_there_to_be_asked(live: LivePrometheus):
    for alert in ALERTS:
        live.query(alert.expr)  # a condition: that it finds nothing is right as long as all is well
        selectors = ["".join(found) for found in _SELECTOR.findall(re.sub(r'"[^"]*"', _quoted, alert.expr))]
        assert selectors
        missing = [_unquoted(one) for one in selectors if not live.eventually(_unquoted(one))]
        assert missing == [], alert.name


def test_prometheus_has_loaded_every_rule_and_can_evaluate_it(live: LivePrometheus):
    live.eventually("riverlight:objective_bad:ratio3d")
    groups = live.get("/api/v1/rules")["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    assert len(loaded) == sum(len(group["rules"]) for group in rules.rule_groups()["groups"])
    assert {rule["name"]: rule["lastError"] for rule in loaded if rule.get("lastError")} == {}


def _quoted(found: "re.Match[str]") -> str:
    """Hide braces within quotes (routes have them) from the pattern of selectors."""
    return found[0].replace("{", "\x01").replace("}", "\x02")


def _unquoted(selector: str) -> str:
    return selector.replace("\x01", "{").replace("\x02", "}")
