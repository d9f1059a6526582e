"""The freshness canary. `python -m infra.entry.canary --metrics-port 9103`."""

import argparse
import signal
import threading
from collections.abc import Sequence

from core.clock import SystemClock
from core.settings import Settings, load_settings
from monitoring.canary import run_canary
from monitoring.exposition import serve_metrics
from monitoring.logs import configure_logs
from monitoring.recorder import Recorder


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="canary", description=__doc__)
    parser.add_argument("--metrics-port", type=int, required=True, help="port of /metrics and /readyz; 0: any")
    given = parser.parse_args(arguments)
    run(load_settings(), given.metrics_port)


def run(settings: Settings, metrics_port: int) -> None:
    """Run the canary until a signal."""
    configure_logs("canary", settings.monitoring.log_level, settings.monitoring.log_format)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    recorder = Recorder(process_metrics=True)
    server = serve_metrics(recorder, settings.monitoring.host, metrics_port)
    try:
        run_canary(settings, recorder, SystemClock(), stop)
    finally:
        server.close()


if __name__ == "__main__":
    main()
