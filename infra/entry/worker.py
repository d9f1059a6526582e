"""A stream worker. `python -m infra.entry.worker --agents interactions --metrics-port 9102 --name behaviour`."""

import argparse
from collections.abc import Sequence

from streams.worker import run_worker

from core.settings import load_settings
from monitoring.logs import configure_logs


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="worker", description=__doc__)
    parser.add_argument("--agents", required=True, help="agents, separated by commas")
    parser.add_argument("--metrics-port", type=int, required=True, help="port of /metrics and /readyz; 0: any")
    parser.add_argument("--name", required=True, help="name in logs and metrics")
    given = parser.parse_args(arguments)
    settings = load_settings()
    configure_logs(f"worker-{given.name}", settings.monitoring.log_level)
    run_worker(settings, given.agents.split(","), given.metrics_port, given.name)


if __name__ == "__main__":
    main()
