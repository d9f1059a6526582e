import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from monitoring import catalogue, others, rules
from monitoring.alerts import ALERTS
from monitoring.dashboards import DASHBOARDS, OVERVIEW, Panel, grafana, queries
from monitoring.dashboards.panels import Unit
from monitoring.promises import PROMISES
from tests.unit.monitoring.names import exposed_as, unknown_names, used_names

ROOT = Path(__file__).parents[3]
PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]

every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)
every_panel = pytest.mark.parametrize(
    "panel", [panel for _, panel in PANELS], ids=[f"{dashboard.uid}-{panel.title}" for dashboard, panel in PANELS]
)

#: Metrics of ours that no dashboard and no rule uses, and why not.
NOT_SHOWN: dict[catalogue.Metric, str] = {}


@every_dashboard
def test_every_query_names_series_that_exist(dashboard):
    for query in queries(dashboard):
        assert used_names(query), query
        assert unknown_names(query) == set(), query


def test_every_metric_is_shown_or_watched_or_said_not_to_be():
    asked = {name for dashboard in DASHBOARDS for query in queries(dashboard) for name in used_names(query)}
    for expr in [*(one.expr for one in rules.RECORDINGS), *(alert.expr for alert in ALERTS)]:
        asked |= used_names(expr)
    unused = {metric.name for metric in catalogue.all_metrics() if not exposed_as(metric) & asked}
    assert unused == {metric.name for metric in NOT_SHOWN}, "show it, or say in NOT_SHOWN why not"
    assert all(NOT_SHOWN.values())


def test_every_metric_is_recorded_by_somebody():
    sources = [
        file.read_text(encoding="utf-8")
        for package in ("streams", "serving", "monitoring", "infra")
        for file in (ROOT / package).rglob("*.py")
        if not {"dashboards", "bench"} & set(file.parts)
        and file.stem not in {"catalogue", "rules", "alerts", "objectives"}
    ]
    declared = {name: value for name, value in vars(catalogue).items() if value in catalogue.all_metrics()}
    missing = {name for name in declared if not any(re.search(rf"\b{name}\b", source) for source in sources)}
    assert missing == set()


def test_what_is_used_of_ray_serve_is_what_ray_serve_has():
    ray_serve = Path(pytest.importorskip("ray.serve").__file__).parent
    text = "".join(file.read_text(encoding="utf-8") for file in (ray_serve / "_private").rglob("*.py"))
    for metric in others.RAY_SERVE:
        declared = text.find(f'"{metric.name.removeprefix("ray_")}"')
        assert declared >= 0, metric.name


@every_panel
def test_every_panel_asks_a_question_has_a_unit_and_leads_to_a_runbook(panel: Panel):
    assert panel.title.endswith("?")
    assert panel.description.endswith((".", "allowed."))
    assert panel.unit in get_args(Unit)
    assert (ROOT / "docs/runbooks" / panel.runbook).is_file()
    assert len({legend for _, legend in panel.queries}) == len(panel.queries)


def test_the_overview_has_a_row_for_each_promise_that_begins_with_a_line_not_to_cross():
    assert [row.title for row in OVERVIEW.rows] == [promise.title for promise in PROMISES]
    for row in OVERVIEW.rows:
        assert any(panel.limit for panel in row.panels), row.title


def test_the_labels_in_legends_are_kept_by_their_queries():
    recorded = {one.name: one.expr for one in rules.RECORDINGS}
    for _, panel in PANELS:
        for expr, legend in panel.queries:
            full = recorded.get(expr, expr)
            for label in re.findall(r"{{(\w+)}}", legend):
                assert re.search(rf"by \([^)]*\b{label}\b", full) or "objective_bad" in full, (panel.title, legend)


@every_dashboard
def test_panels_do_not_overlap_and_fit_the_page(dashboard):
    taken: set[tuple[int, int]] = set()
    for panel in grafana.to_grafana(dashboard)["panels"]:
        position = panel["gridPos"]
        assert position["x"] + position["w"] <= 24
        assert position["w"] >= 4, "too narrow to read"
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@every_dashboard
def test_grafana_can_import_what_is_written(dashboard):
    model = json.loads(grafana.render(dashboard))
    assert model["schemaVersion"] >= 36  # from here on, data sources are named by type and uid
    assert re.fullmatch(r"[a-z-]{1,40}", model["uid"])
    panels = model["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] == "row":
            assert panel["panels"] == []  # an open row's panels follow it
            continue
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "riverlight-prometheus"}
        assert [target["refId"] for target in panel["targets"]] == [*"ABCDEFGH"][: len(panel["targets"])]
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None, "the first step is the base"
        drawn = panel["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"]["mode"]
        assert drawn == ("line" if len(steps) > 1 else "off")
        assert panel["links"][0]["url"].startswith("${runbooks}/")


def test_dashboards_have_different_uids_and_titles():
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    assert len({dashboard.title for dashboard in DASHBOARDS}) == len(DASHBOARDS)


def test_the_provisioning_folder_is_laid_out_as_grafanas_own():
    folder = ROOT / "infra/provisioning/grafana"
    [source] = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["uid"]) == ("prometheus", grafana.DATASOURCE_UID)
    [provider] = yaml.safe_load((folder / "dashboards/riverlight.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"
    assert {file.stem for file in (folder / "dashboards").glob("*.json")} == {one.uid for one in DASHBOARDS}
