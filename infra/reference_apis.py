"""The machine-readable descriptions of what others connect to: OpenAPI for HTTP, AsyncAPI for the topics."""

import json
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from core import topics
from core.entries import IndexEntry
from core.events import MAX_FRAME_EVENTS, STREAM_EVENTS
from core.moderation import Decision, Label, Verdict
from core.moderation_totals import Totals
from core.settings import BrokerSettings, Settings
from core.topics import Topic
from monitoring.recorder import Recorder
from serving.access import Door
from serving.gateway.access import ROUTES
from serving.gateway.api import create_api
from serving.gateway.dependencies import GatewayDeps
from storage.log.admin import config_of
from streams import dead_letter_record

_CLOUD_EVENT = "application/cloudevents+json"
_CLOUD_EVENTS = "application/cloudevents-batch+json"


class _Unopened(SimpleNamespace):
    """Settings, and None for whatever a running gateway has opened: the routes are described, not called."""

    def __getattr__(self, name: str) -> None:
        return None


def openapi() -> str:
    """The HTTP API as OpenAPI 3.1."""
    # Defaults: the settings are not to be those of this machine.
    sections = {name: field.default for name, field in Settings.model_fields.items()}
    deps = _Unopened(**{**sections, "recorder": Recorder(), "door": Door(None), "rates": None})
    document = create_api(cast(GatewayDeps, deps)).openapi()
    _describe_access(document)
    return _text(document)


def _describe_access(document: dict[str, Any]) -> None:
    """Say of each call which roles may make it, as the gateway's one table has it."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["token"] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Where access is not open (`auth.mode=tokens`). The roles of a call: one of them is enough.",
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            roles = ROUTES[method.upper(), path][0]
            operation["security"] = [] if roles is None else [{"token": sorted(roles)}]


def asyncapi() -> str:
    """The topics as AsyncAPI 3.0: what is in each, who writes it, who reads it."""
    unions = dict(STREAM_EVENTS)
    refs, definitions = msgspec.json.schema_components(
        [*unions.values(), IndexEntry, Decision, Verdict, Label, Totals], ref_template="#/components/schemas/{name}"
    )
    payloads = _without_discriminators(
        dict(zip([*unions, "index-entry", "decision", "verdict", "label", "totals"], refs, strict=True))
    )
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Riverlight topics",
            "version": version("riverlight"),
            "description": "What producers write to Kafka, or send to the collector, and what the platform writes.\n\n"
            "A record of a source topic holds one CloudEvents 1.0 event as JSON, or a frame: an array of at most "
            f"{MAX_FRAME_EVENTS:,} of them with the same key. Delivery is at least once; the event's `id` is what "
            "makes doing it twice harmless.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _CLOUD_EVENT,
        "servers": {"kafka": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "`broker.bootstrap`"}},
        "channels": {},
        "operations": {},
        "components": {"messages": {}, "schemas": _without_discriminators(definitions)},
    }
    for topic in topics.SOURCES:
        _add_source(document, topic, payloads[str(topic.stream)])
    _add_entries(document, topics.INDEX_ENTRIES, payloads["index-entry"])
    _add_moderation(document, payloads)
    _add_totals(document, topics.FEATURES, payloads["totals"])
    for source in topics.SOURCES:
        _add_dead_letters(document, topics.BY_NAME[source.dlq])
    return _text(document)


def _add_source(document: dict[str, Any], topic: Topic, payload: dict[str, Any]) -> None:
    stream = str(topic.stream)
    frame = {"type": "array", "items": payload, "minItems": 1, "maxItems": MAX_FRAME_EVENTS}
    messages = {
        f"{stream}-event": {"title": topic.holds, "contentType": _CLOUD_EVENT, "payload": payload},
        f"{stream}-frame": {"title": f"frame of {stream}", "contentType": _CLOUD_EVENTS, "payload": frame},
    }
    _add_channel(document, topic, messages)
    _add_operation(document, f"write-{stream}", "receive", topic, "Producers write here, or send to the collector.")
    _add_operation(document, f"collect-{stream}", "send", topic, f"`POST /v1/events/{stream}` writes here.")


def _add_entries(document: dict[str, Any], topic: Topic, payload: dict[str, Any]) -> None:
    message = {
        "title": "index entry, or a tombstone (null value) with its version in the headers",
        "contentType": "application/json",
        "payload": {"oneOf": [payload, {"type": "null"}]},
        "headers": _headers("riverlight-version"),
    }
    _add_channel(document, topic, {"index-entry": message})
    _add_operation(document, "index-upload", "send", topic, "The agent index-upload writes; every gateway follows.")


def _add_moderation(document: dict[str, Any], payloads: dict[str, Any]) -> None:
    told = "By the catalogue's outbox: the agents moderate-posts and post-reactions, and people's reviews."
    for topic, name in ((topics.DECISIONS, "decision"), (topics.VERDICTS, "verdict"), (topics.LABELS, "label")):
        compacted = topic.cleanup == "compact"
        payload = {"oneOf": [payloads[name], {"type": "null"}]} if compacted else payloads[name]
        message = {"title": topic.holds, "contentType": "application/json", "payload": payload}
        if compacted:
            message["headers"] = _headers("riverlight-version")
        _add_channel(document, topic, {name: message})
        _add_operation(document, f"publish-{name}", "send", topic, told)


def _add_totals(document: dict[str, Any], topic: Topic, payload: dict[str, Any]) -> None:
    message = {"title": topic.holds, "contentType": "application/json", "payload": payload}
    _add_channel(document, topic, {"totals": message})
    told = "The agents of moderation write after every change; moderation-features and archive read."
    _add_operation(document, "publish-totals", "send", topic, told)


def _add_dead_letters(document: dict[str, Any], topic: Topic) -> None:
    record = dead_letter_record
    names = [
        record.TOPIC, record.PARTITION, record.OFFSET, record.TIMESTAMP, record.KEY, record.CODE, record.ERROR,
        record.STACK_HASH, record.ATTEMPTS, record.AGENT, record.CODE_VERSION, record.MARKER,
    ]  # fmt: skip
    message = {
        "title": "the original bytes, and in the headers why they could not be handled",
        "contentType": "application/octet-stream",
        "payload": {"type": "string", "contentEncoding": "binary"},
        "headers": _headers(*names),
    }
    letter = f"{topic.name.removesuffix(topics.DLQ_SUFFIX)}-dead-letter"
    _add_channel(document, topic, {letter: message})
    _add_operation(document, f"bury-{letter}", "send", topic, "The agents write; `riverlight dlq` reads and replays.")


def _headers(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _add_channel(document: dict[str, Any], topic: Topic, messages: dict[str, dict[str, Any]]) -> None:
    key = {"type": "string", "description": topic.key}
    for name, message in messages.items():
        message["bindings"] = {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
        document["components"]["messages"][name] = message
    config = config_of(topic, BrokerSettings())
    kept = {name: int(value) for name, value in config.items() if name.endswith((".ms", ".bytes"))}
    document["channels"][_id(topic)] = {
        "address": topic.name,
        "title": topic.holds,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": [topic.cleanup], **kept},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _add_operation(document: dict[str, Any], name: str, action: str, topic: Topic, summary: str) -> None:
    document["operations"][name] = {
        "action": action,  # what the platform does
        "channel": {"$ref": f"#/channels/{_id(topic)}"},
        "summary": summary,
    }


def _without_discriminators(schema: Any) -> Any:
    """AsyncAPI's discriminator is another than OpenAPI's, and each event's own schema fixes its `type` anyway."""
    if isinstance(schema, dict):
        return {name: _without_discriminators(part) for name, part in schema.items() if name != "discriminator"}
    return [_without_discriminators(part) for part in schema] if isinstance(schema, list) else schema


def _id(topic: Topic) -> str:
    return topic.name.replace(".", "-")


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
