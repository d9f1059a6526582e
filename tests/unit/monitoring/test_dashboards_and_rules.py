import json
import re
from pathlib import Path

from monitoring import catalogue, dashboards, prometheus_config

METRIC = re.compile(r"\briverlight_[a-z0-9_]+")
SUFFIXES = ("_total", "_bucket", "_sum", "_count", "")


def exposed_names() -> set[str]:
    names = set()
    for metric in catalogue.all_metrics():
        match metric:
            case catalogue.Counter():
                names.add(metric.name + "_total")
            case catalogue.Histogram():
                names |= {metric.name + part for part in ("_bucket", "_sum", "_count")}
            case _:
                names.add(metric.name)
    return names


def test_every_query_of_every_dashboard_names_metrics_that_exist():
    for dashboard in dashboards.DASHBOARDS:
        for query in dashboards.queries(dashboard):
            used = METRIC.findall(query)
            assert used, query
            assert set(used) <= exposed_names(), query


def test_panels_of_a_dashboard_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in dashboards.to_grafana(dashboards.OVERVIEW)["panels"]:
        position = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_prometheus_configuration_scrapes_each_target_at_its_path():
    config = json.loads(
        prometheus_config.render(
            {"gateway": "127.0.0.1:8080", "encoder": "127.0.0.1:8080/models/image-encoder/metrics"}, [Path("r.yml")], 5
        )
    )
    paths = {job["job_name"]: job["metrics_path"] for job in config["scrape_configs"]}
    assert paths == {"gateway": "/metrics", "encoder": "/models/image-encoder/metrics"}
    assert config["global"]["scrape_interval"] == "5000ms"
    assert config["rule_files"] == ["r.yml"]
