"""A stream worker. `python -m infra.entry.worker --agents interactions --metrics-port 9102 --name behaviour`."""

import argparse
from collections.abc import Sequence

from core.settings import Settings, load_settings
from monitoring.logs import configure_logs
from streams.worker import run_worker


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="worker", description=__doc__)
    parser.add_argument("--agents", required=True, help="agents, separated by commas")
    parser.add_argument("--metrics-port", type=int, required=True, help="port of /metrics and /readyz; 0: any")
    parser.add_argument("--name", required=True, help="name in logs and metrics")
    given = parser.parse_args(arguments)
    run(load_settings(), given.agents, given.metrics_port, given.name)


def run(settings: Settings, agents: str, metrics_port: int, name: str) -> None:
    """Run the agents (separated by commas) until a signal."""
    configure_logs(f"worker-{name}", settings.monitoring.log_level, settings.monitoring.log_format)
    run_worker(settings, [agent.strip() for agent in agents.split(",") if agent.strip()], metrics_port, name)


if __name__ == "__main__":
    main()
