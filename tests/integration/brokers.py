"""Real brokers for tests: each is started once per session, on a free port, in a temporary folder.

A test module takes the fixtures by importing them from here (`tests/integration/conftest.py` does it for this folder):

* `kafka_bootstrap`: Apache Kafka; the test is skipped where Java or Maven are missing.
* `embedded_bootstrap`: the embedded broker; skipped where its package is not installed.
* `broker_bootstrap`: the best of the two that runs here.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import load_settings
from infra.broker import embedded, kafka
from infra.broker.capabilities import running
from infra.broker.embedded import EmbeddedBroker
from infra.broker.kafka import KafkaBroker
from infra.ports import free_port


def kafka_libs() -> Path:
    """Where the jars are shared between test sessions and `riverlight up`, so that they are fetched once."""
    return load_settings().home.resolve() / "kafka" / "libs"


def kafka_broker(folder: Path, port: int | None = None) -> KafkaBroker:
    """Return a Kafka for `running`, or skip the test where it cannot run."""
    if missing := kafka.what_is_missing(kafka_libs()):
        pytest.skip(f"Apache Kafka cannot run here; missing: {'; '.join(missing)}")
    return KafkaBroker(folder, port or free_port(), heap_mb=256, libs_folder=kafka_libs())


def embedded_broker(folder: Path, port: int | None = None) -> EmbeddedBroker:
    """Return an embedded broker for `running`, or skip the test where it cannot run."""
    if missing := embedded.what_is_missing():
        pytest.skip(f"missing: {'; '.join(missing)}")
    return EmbeddedBroker(folder, port or free_port())


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("kafka")
    broker = kafka_broker(folder)
    with running(broker, folder / "kafka.log"):
        yield broker.bootstrap


@pytest.fixture(scope="session")
def embedded_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("embedded")
    broker = embedded_broker(folder)
    with running(broker, folder / "embedded.log"):
        yield broker.bootstrap


@pytest.fixture(scope="session")
def broker_bootstrap(request: pytest.FixtureRequest) -> str:
    wanted = "embedded_bootstrap" if kafka.what_is_missing(kafka_libs()) else "kafka_bootstrap"
    bootstrap: str = request.getfixturevalue(wanted)
    return bootstrap
