import json
from pathlib import Path

from monitoring import prometheus_config


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
