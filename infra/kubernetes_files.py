"""The Kubernetes manifests that are written from the code: topics for Strimzi, rules for the Prometheus operator."""

import json
from typing import Any

import yaml

from core import topics
from core.settings import BrokerSettings
from monitoring import rules
from storage.log.admin import config_of, partitions_of

NAMESPACE, KAFKA_NAMESPACE, CLUSTER = "riverlight", "riverlight-kafka", "riverlight"
_HEAD = "# Written by `riverlight docs`; change the code, not this file.\n"


def kafka_topics(settings: BrokerSettings) -> str:
    """Return a KafkaTopic for every declared topic, as `riverlight topics apply` would make it."""
    return _documents(
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": {
                "name": topic.name,
                "namespace": KAFKA_NAMESPACE,
                "labels": {"strimzi.io/cluster": CLUSTER},
                "annotations": {"riverlight/holds": topic.holds},
            },
            "spec": {
                "partitions": partitions_of(topic, settings),
                "replicas": settings.replication_factor,
                "config": config_of(topic, settings),
            },
        }
        for topic in topics.ALL
    )


def prometheus_rules() -> str:
    """Return the recording and alert rules as a PrometheusRule."""
    return _documents(
        [
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": "riverlight", "namespace": NAMESPACE},
                "spec": json.loads(rules.render()),
            }
        ]
    )


def _documents(documents: Any) -> str:
    text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=120)
    return _HEAD + text
