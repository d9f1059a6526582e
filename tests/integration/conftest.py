"""The brokers are available to every integration test."""

from tests.integration.brokers import broker_bootstrap, embedded_bootstrap, kafka_bootstrap

__all__ = ["broker_bootstrap", "embedded_bootstrap", "kafka_bootstrap"]
