"""A worker with a defect planted in its handler: everything else is the real one.

`python -m infra.chaos.faulty_worker --agents interactions --metrics-port 0 --name behaviour` raises or hangs when it
counts an event whose item id says so (`infra.chaos.poison`).
"""

import argparse
import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any, cast

from core.settings import load_settings
from features.engine import FeatureEngine
from infra.chaos.poison import HANGS, RAISES
from monitoring.logs import configure_logs
from streams.agent import EXIT_RESTART
from streams.dependencies import StreamDeps
from streams.worker import Worker

HANG_S = 3.0  # longer than the deadline that a goal sets; the thread comes back, as one that waits for a lock does


class FaultyEngine:
    """The feature engine, which cannot bear certain events."""

    def __init__(self, engine: FeatureEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def apply(self, records: Sequence[Any]) -> Any:
        """Raise, or hang and then raise, if a record is one of those; else count."""
        items = [record.event.data.item_id or "" for record in records]
        if any(RAISES in item for item in items):
            raise ZeroDivisionError("a planted defect")
        if any(HANGS in item for item in items):
            time.sleep(HANG_S)
            raise RuntimeError("a planted hang came to its end after the deadline")
        return self._engine.apply(records)


class FaultyWorker(Worker):
    """Gives its agents the faulty engine."""

    async def open(self, stack: contextlib.AsyncExitStack) -> StreamDeps:
        deps = await super().open(stack)
        if deps.features is not None:
            deps.features = cast(FeatureEngine, FaultyEngine(deps.features))
        return deps


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the agents until a signal; takes the arguments of the real worker."""
    parser = argparse.ArgumentParser(prog="faulty-worker", description=__doc__)
    parser.add_argument("--agents", required=True)
    parser.add_argument("--metrics-port", type=int, required=True)
    parser.add_argument("--name", required=True)
    given = parser.parse_args(arguments)
    settings = load_settings()
    configure_logs(f"worker-{given.name}", settings.monitoring.log_level)
    if asyncio.run(FaultyWorker(settings, given.agents.split(","), given.metrics_port, given.name).run()):
        raise SystemExit(EXIT_RESTART)


if __name__ == "__main__":
    main()
