"""Makes the broker match the declared topics, and answers questions about it."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

from core.errors import Unavailable
from core.settings import BrokerSettings
from core.topics import DAY_MS, Topic
from storage.log.asking import TIMEOUT_S, AlreadyThere, NotSupported, answers, described, metadata_of, open_admin
from storage.log.observer import LogObserver

_SHOWN_S = 5.0  # longest wait for a broker to show what it has accepted


@dataclass(frozen=True)
class TopicChange:
    """What `apply_topics` did (or, in a dry run, would do) about one topic.

    `kept` is a difference that cannot or must not be taken away: too many partitions, or a broker that cannot add.
    """

    topic: str
    action: Literal["created", "partitions", "config", "unchanged", "kept"]
    detail: str


@dataclass(frozen=True)
class TopicDescription:
    """A topic as the broker has it. `epoch` is `topic_epoch`'s."""

    name: str
    partitions: int
    replicas: int
    epoch: str
    config: dict[str, str]


@dataclass(frozen=True)
class BrokerInfo:
    """The cluster behind a bootstrap address; `brokers` are HOST:PORT by broker id."""

    cluster_id: str
    brokers: dict[int, str]
    controller: int | None


def apply_topics(
    bootstrap: str, topics: Sequence[Topic], settings: BrokerSettings, *, dry_run: bool = False
) -> list[TopicChange]:
    """Create missing topics, raise partition counts and set changed configuration. Nothing is ever deleted.

    A broker says yes to a change a moment before it shows it. This returns when it does, so that whoever comes next
    finds the topics as declared.

    Raises:
        Unavailable: the broker does not answer.
        ConfigurationError: the broker refuses a declaration.
    """
    admin = open_admin(bootstrap)
    have = {topic.name: topic for topic in _describe(admin, bootstrap, [topic.name for topic in topics])}
    changes: list[TopicChange] = []
    for topic in topics:
        if topic.name not in have:
            try:
                changes.append(_create(admin, bootstrap, topic, settings, dry_run))
                continue
            except AlreadyThere:  # made since, or just before and not shown yet: compared like any other
                have.update(_shown(admin, bootstrap, [topic.name], lambda _: True))
            if topic.name not in have:
                raise Unavailable(f"{bootstrap} says that {topic.name} is there, but does not show it; try again")
        found = [
            *_raise_partitions(admin, bootstrap, topic, have[topic.name], settings, dry_run),
            *_set_config(admin, bootstrap, topic, have[topic.name], settings, dry_run),
        ]
        changes.extend(found or [TopicChange(topic.name, "unchanged", f"{have[topic.name].partitions} partitions")])
    if not dry_run:
        declared = {topic.name: topic for topic in topics}
        left = {change.topic for change in changes if change.action in ("kept", "unchanged")}
        done = [name for name in declared if name not in left]
        _shown(admin, bootstrap, done, lambda topic: _as_declared(topic, declared[topic.name], settings))
    return changes


def describe_topics(bootstrap: str) -> list[TopicDescription]:
    """Return every topic of the broker but its internal ones, by name. Raises Unavailable."""
    admin = open_admin(bootstrap)
    names = [name for name in metadata_of(admin, bootstrap, TIMEOUT_S).topics if not name.startswith("__")]
    return _describe(admin, bootstrap, names)


def group_lag(bootstrap: str, group: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return how many records of each (topic, partition) a consumer group has not committed yet.

    A partition without a commit counts from the first record that is still there. Raises Unavailable. Whoever asks
    again and again keeps a `LogObserver`.
    """
    with closing(LogObserver(bootstrap)) as observer:
        return observer.look({group: topics}).lag[group]


def topic_epoch(bootstrap: str, topic: str) -> str:
    """Return an id of this incarnation of a topic: another one means that offsets kept elsewhere are worthless.

    It is the topic id (KIP-516), which changes when a topic is deleted and made again, and when a broker that keeps
    nothing is restarted. A broker without topic ids (Apache Kafka before 2.8) gets the cluster id and the topic's
    name: stable, but blind to a topic that was made again.

    Raises:
        Unavailable: the broker does not answer or has no such topic.
    """
    return described(open_admin(bootstrap), bootstrap, [topic])[topic].epoch


def broker_info(bootstrap: str, *, timeout_s: float = TIMEOUT_S) -> BrokerInfo:
    """Return who answers at `bootstrap`. Raises Unavailable."""
    admin = open_admin(bootstrap)
    metadata = metadata_of(admin, bootstrap, timeout_s)
    return BrokerInfo(
        cluster_id=metadata.cluster_id or "",
        brokers={number: f"{broker.host}:{broker.port}" for number, broker in sorted(metadata.brokers.items())},
        controller=metadata.controller_id if metadata.controller_id >= 0 else None,
    )


def wait_for_broker(bootstrap: str, timeout_s: float) -> BrokerInfo:
    """Return as soon as the broker answers. Raises Unavailable when it has not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            return broker_info(bootstrap, timeout_s=max(0.1, min(1.0, left)))  # a new client: no reconnect back-off
        except Unavailable as error:
            if time.monotonic() >= deadline:
                raise Unavailable(f"no Kafka broker answered at {bootstrap} within {timeout_s:g} s") from error
            time.sleep(0.05)


def partitions_of(topic: Topic, settings: BrokerSettings) -> int:
    """Return how many partitions a topic is to have: as declared, or as set for all source topics."""
    return settings.partitions if settings.partitions and topic.stream else topic.partitions


def config_of(topic: Topic, settings: BrokerSettings) -> dict[str, str]:
    """Return the broker-side configuration of a declared topic."""
    config = {
        "cleanup.policy": topic.cleanup,
        "max.message.bytes": str(topic.max_message_bytes),
        # acks=all promises as many copies as this; one broker may be away without stopping writes.
        "min.insync.replicas": str(max(1, settings.replication_factor - 1)),
    }
    if topic.cleanup == "compact":
        # A reader that was away for less than this still sees what was removed meanwhile.
        return {**config, "delete.retention.ms": str(7 * DAY_MS)}
    return {**config, "retention.ms": str(topic.retention_ms), "retention.bytes": str(topic.retention_bytes)}


# --- steps of apply_topics -------------------------------------------------------------------------------------


def _create(admin: AdminClient, bootstrap: str, topic: Topic, settings: BrokerSettings, dry_run: bool) -> TopicChange:
    partitions, config = partitions_of(topic, settings), config_of(topic, settings)
    if not dry_run:
        new = NewTopic(topic.name, partitions, settings.replication_factor, config=config)
        answers(lambda: admin.create_topics([new]), bootstrap, f"topic {topic.name} to be made")
    return TopicChange(topic.name, "created", f"{partitions} partitions, {_text(config)}")


def _raise_partitions(
    admin: AdminClient, bootstrap: str, topic: Topic, have: TopicDescription, settings: BrokerSettings, dry_run: bool
) -> list[TopicChange]:
    wanted = partitions_of(topic, settings)
    if wanted == have.partitions:
        return []
    if wanted < have.partitions:
        return [TopicChange(topic.name, "kept", f"{have.partitions} partitions; Kafka cannot go down to {wanted}")]
    if not dry_run:
        try:
            answers(lambda: admin.create_partitions([NewPartitions(topic.name, wanted)]), bootstrap, "more partitions")
        except NotSupported:
            return [TopicChange(topic.name, "kept", f"{have.partitions} partitions; this broker cannot add more")]
    return [TopicChange(topic.name, "partitions", f"{have.partitions} → {wanted}")]


def _set_config(
    admin: AdminClient, bootstrap: str, topic: Topic, have: TopicDescription, settings: BrokerSettings, dry_run: bool
) -> list[TopicChange]:
    changed = {key: value for key, value in config_of(topic, settings).items() if have.config.get(key) != value}
    if not changed:
        return []
    if not dry_run:
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in changed.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name, incremental_configs=entries)
        answers(lambda: admin.incremental_alter_configs([resource]), bootstrap, f"the configuration of {topic.name}")
    return [TopicChange(topic.name, "config", _text(changed))]


def _as_declared(have: TopicDescription, topic: Topic, settings: BrokerSettings) -> bool:
    config = config_of(topic, settings)
    return partitions_of(topic, settings) == have.partitions and config.items() <= have.config.items()


def _shown(
    admin: AdminClient, bootstrap: str, names: Sequence[str], as_wanted: Callable[[TopicDescription], bool]
) -> dict[str, TopicDescription]:
    """Describe the names once the broker shows all of them as wanted, or as it shows them after some seconds.

    The broker has accepted the changes by now, so that one that shows them otherwise (it may keep a configuration in
    words of its own) is no error.
    """
    deadline = time.monotonic() + _SHOWN_S
    while True:
        found = {topic.name: topic for topic in _describe(admin, bootstrap, names)}
        if len(found) == len(names) and all(as_wanted(topic) for topic in found.values()):
            return found
        if time.monotonic() >= deadline:
            return found
        time.sleep(0.02)


def _describe(admin: AdminClient, bootstrap: str, names: Sequence[str]) -> list[TopicDescription]:
    """Describe those of the names that exist."""
    there = sorted(set(names) & metadata_of(admin, bootstrap, TIMEOUT_S).topics.keys())
    if not there:
        return []
    topics = described(admin, bootstrap, there)
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in there]
    configs = answers(lambda: admin.describe_configs(resources), bootstrap, "topic configurations")
    config_by_name = {resource.name: config for resource, config in configs.items()}
    return [
        TopicDescription(
            name=name,
            partitions=topics[name].partitions,
            replicas=topics[name].replicas,
            epoch=topics[name].epoch,
            config={key: entry.value for key, entry in config_by_name[name].items() if entry.value is not None},
        )
        for name in there
    ]


def _text(config: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(config.items()))
