"""A broker of a benchmark's own: Apache Kafka where it can run."""

from pathlib import Path

from core.settings import load_settings
from infra.broker import kafka
from infra.broker.embedded import EmbeddedBroker
from infra.broker.kafka import KafkaBroker
from infra.broker.selection import LocalBroker
from infra.ports import free_port


def scratch_broker(folder: Path) -> tuple[LocalBroker, str]:
    """Return a broker that keeps its data in `folder`, not started, and a note that says which it is."""
    libs = load_settings().home.resolve() / "kafka" / "libs"
    if missing := kafka.what_is_missing(libs):
        return EmbeddedBroker(folder, free_port()), f"On the embedded broker; missing for Kafka: {'; '.join(missing)}."
    return KafkaBroker(folder, free_port(), libs_folder=libs), "On Apache Kafka, one node, four partitions."
