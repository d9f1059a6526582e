"""The Prometheus configuration of a local system, from the list of processes it has."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType


def render(
    targets: Mapping[str, str],
    rule_files: Sequence[Path],
    scrape_interval_s: float,
    *,
    tokens: Mapping[str, Path] = MappingProxyType({}),
) -> str:
    """Return `prometheus.yml` (written as JSON, which YAML includes).

    Args:
        targets: job name to `host:port` or `host:port/path`; without a path, `/metrics` is scraped.
        rule_files: files with recording and alert rules.
        scrape_interval_s: how often every target is asked.
        tokens: job name to the file with the token that this job's target asks for.
    """
    jobs: list[dict[str, object]] = []
    for name, target in targets.items():
        address, slash, path = target.partition("/")
        job: dict[str, object] = {
            "job_name": name,
            "metrics_path": slash + path or "/metrics",
            "static_configs": [{"targets": [address]}],
        }
        if name in tokens:
            job["authorization"] = {"credentials_file": str(tokens[name])}
        jobs.append(job)
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
