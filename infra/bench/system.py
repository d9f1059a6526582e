"""A whole Riverlight of its own for a benchmark: fresh data, free ports, Apache Kafka where it can run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from core.settings import Settings, load_settings
from infra.supervisor.control import Status, down, status, up_detached

START_TIMEOUT_S = 300.0


def scratch_settings(home: Path, **sections: dict[str, Any]) -> Settings:
    """Return the user's settings with another home, free ports, and without canary and Prometheus.

    `sections` change single settings: `index={"kind": "flat"}`.
    """
    settings = load_settings()
    changes: dict[str, dict[str, Any]] = {
        "http": {"host": "127.0.0.1", "port": 0},
        "broker": {"port": 0},
        "monitoring": {"worker_metrics_port": 0, "canary": False, "prometheus": False},
    }
    for section, values in sections.items():
        changes[section] = {**changes.get(section, {}), **values}
    return settings.model_copy(
        update={
            "home": home,
            **{name: getattr(settings, name).model_copy(update=values) for name, values in changes.items()},
        }
    )


@contextmanager
def scratch_home() -> Iterator[Path]:
    """Give a home folder that is gone afterwards; it shares the downloaded Kafka and data with the user's."""
    user = load_settings().home.resolve()
    home = Path(mkdtemp(prefix="riverlight-bench-"))
    try:
        for shared in ("kafka/libs", "data", "cache"):
            source = user / shared
            source.mkdir(parents=True, exist_ok=True)
            target = home / shared
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running_system(settings: Settings) -> Iterator[Status]:
    """Run the local profile until the block ends. Raises Unavailable when it does not become ready."""
    up_detached(settings, timeout_s=START_TIMEOUT_S)
    try:
        yield status(settings.home)
    finally:
        down(settings.home)
