"""The Prometheus configuration of a local system, from the list of processes it has."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def render(targets: Mapping[str, str], rule_files: Sequence[Path], scrape_interval_s: float) -> str:
    """Return `prometheus.yml` (written as JSON, which YAML includes).

    Args:
        targets: job name to `host:port` or `host:port/path`; without a path, `/metrics` is scraped.
        rule_files: files with recording and alert rules.
        scrape_interval_s: how often every target is asked.
    """
    jobs = []
    for name, target in targets.items():
        address, slash, path = target.partition("/")
        jobs.append(
            {"job_name": name, "metrics_path": slash + path or "/metrics", "static_configs": [{"targets": [address]}]}
        )
    interval = f"{max(1, round(scrape_interval_s * 1000))}ms"
    return (
        json.dumps(
            {
                "global": {"scrape_interval": interval, "evaluation_interval": interval},
                "rule_files": [str(file) for file in rule_files],
                "scrape_configs": jobs,
            },
            indent=2,
        )
        + "\n"
    )
