"""Which broker to use, what it promises, and what is missing for a better one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.errors import ConfigurationError
from core.settings import BrokerSettings
from infra.broker import embedded, kafka
from infra.broker.embedded import EmbeddedBroker
from infra.broker.jars import Progress, kafka_version
from infra.broker.kafka import KafkaBroker
from infra.broker.probe import split_bootstrap
from infra.ports import free_port


class LocalBroker(Protocol):
    """A broker that we start ourselves."""

    @property
    def kind(self) -> str: ...
    @property
    def durable(self) -> bool: ...
    @property
    def bootstrap(self) -> str: ...
    def prepare(self, progress: Progress) -> None: ...
    def command(self) -> list[str]: ...


@dataclass(frozen=True)
class BrokerChoice:
    """The broker to use. `local` is None when somebody else runs it."""

    kind: str  # "kafka", "embedded" or "external"
    bootstrap: str
    durable: bool
    promise: str
    missing: Sequence[str] = ()
    local: LocalBroker | None = None


def choose(settings: BrokerSettings, home: Path) -> BrokerChoice:
    """Decide by `settings.kind`: `auto`, `kafka`, `embedded` or `HOST:PORT`. Starts nothing.

    Raises:
        ConfigurationError: the wanted broker cannot run here; the message says what is missing.
    """
    wanted = settings.kind
    if wanted not in ("auto", "kafka", "embedded"):
        split_bootstrap(wanted)
        promise = "an external broker: its operator answers for durability; Riverlight only connects"
        return BrokerChoice("external", wanted, durable=True, promise=promise)
    missing = kafka.what_is_missing(home / "kafka" / "libs") if wanted != "embedded" else []
    port = settings.port or free_port()
    if wanted == "kafka" and missing:
        raise ConfigurationError(f"Apache Kafka cannot run here; missing: {'; '.join(missing)}")
    if wanted != "embedded" and not missing:
        broker = KafkaBroker(home / "kafka", port, settings.heap_mb)
        promise = f"Apache Kafka {kafka_version()}: durable, data in {home / 'kafka' / 'data'}"
        return BrokerChoice("kafka", broker.bootstrap, durable=True, promise=promise, local=broker)
    if lacking := embedded.what_is_missing():
        raise ConfigurationError(
            "no broker can run here. For Apache Kafka: " + ("; ".join(missing) or "use `--broker kafka`")
            + ". Else " + "; ".join(lacking) + ", or name one that runs: `--broker HOST:PORT`"
        )  # fmt: skip
    volatile = EmbeddedBroker(home / "embedded", port)
    promise = "embedded broker: VOLATILE, every event and offset is lost when it stops; no transactions"
    return BrokerChoice("embedded", volatile.bootstrap, durable=False, promise=promise, missing=missing, local=volatile)
