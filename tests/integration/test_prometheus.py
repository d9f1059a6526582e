"""The rules and dashboards on a real Prometheus: they parse, find data, and alert when they should."""

from pathlib import Path

import pytest

from infra.prometheus_server import RULES
from monitoring import rules
from tests.integration.prometheus import promtool
from tests.unit.monitoring.alert_cases import promtool_tests

pytestmark = pytest.mark.integration


def test_the_rule_file_that_prometheus_is_given_is_there_and_valid():
    checked = promtool("check", "rules", "--lint-fatal", RULES)
    assert checked.returncode == 0, checked.stderr
    written = sum(len(group["rules"]) for group in rules.rule_groups()["groups"])
    assert f"{written} rules found" in checked.stdout


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path):
    tried = promtool("test", "rules", *promtool_tests(tmp_path))
    assert tried.returncode == 0, (tried.stdout + tried.stderr)[-4000:]
