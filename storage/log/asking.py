"""Questions to a broker that has an admin client: how they are asked, and what its answers and refusals mean."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ClusterMetadata  # type: ignore[attr-defined]

from core.errors import ConfigurationError, Unavailable
from storage.log.client import ErrorLog, client_config, from_exception

TIMEOUT_S = 15.0
_NO_TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # the zero UUID in librdkafka's base64
_Asked = TypeVar("_Asked")


class NotSupported(Unavailable):
    """The broker is too old, or not whole enough, for what was asked."""


class AlreadyThere(Unavailable):
    """What was to be made exists."""


@dataclass(frozen=True)
class DescribedTopic:
    """What a broker says of a topic. `epoch` is `storage.log.admin.topic_epoch`'s."""

    partitions: int
    replicas: int
    epoch: str


def open_admin(bootstrap: str) -> AdminClient:
    """Return a client of its own, with a name of its own in the broker's log."""
    client_id = f"admin-{uuid4().hex[:8]}"
    return AdminClient(client_config(bootstrap, client_id, ErrorLog(client_id)))


def metadata_of(admin: AdminClient, bootstrap: str, timeout_s: float) -> ClusterMetadata:
    """Return brokers and topics. Raises Unavailable."""
    try:
        return admin.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise from_exception(error, f"asking {bootstrap} for its topics") from error


def described(admin: AdminClient, bootstrap: str, names: Sequence[str]) -> dict[str, DescribedTopic]:
    """Describe topics, by name. Raises Unavailable, also for a topic that is not there."""
    metadata = metadata_of(admin, bootstrap, TIMEOUT_S)
    missing = [name for name in names if name not in metadata.topics]
    if missing:
        raise Unavailable(f"{bootstrap} has no topic {', '.join(missing)}; `riverlight topics apply` makes it")
    topics = answers(lambda: admin.describe_topics(TopicCollection(list(names))), bootstrap, "topics")
    found = {}
    for name in names:
        topic_id, partitions = str(topics[name].topic_id or _NO_TOPIC_ID), topics[name].partitions
        found[name] = DescribedTopic(
            partitions=len(partitions),
            replicas=len(partitions[0].replicas) if partitions else 0,
            epoch=topic_id if topic_id != _NO_TOPIC_ID else f"{metadata.cluster_id}/{name}",
        )
    return found


def answers(ask: Callable[[], Mapping[_Asked, "Future[Any]"]], bootstrap: str, what: str) -> dict[_Asked, Any]:
    """Return every answer to one request. `ask` holds on to the client until the last one is there.

    Raises:
        NotSupported: the broker does not know such requests.
        AlreadyThere: what was to be made exists.
        ConfigurationError: the broker refuses what was asked.
        Unavailable: anything else, or no answer in time.
    """
    try:
        return {key: future.result(TIMEOUT_S) for key, future in ask().items()}
    except KafkaException as error:
        code = error.args[0].code()
        if code in (KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION):
            raise NotSupported(f"{bootstrap} cannot do {what}: {error.args[0].str()}") from error
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            raise AlreadyThere(f"{bootstrap}: {what}: {error.args[0].str()}") from error
        if code in (KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.INVALID_CONFIG, KafkaError.INVALID_PARTITIONS):
            raise ConfigurationError(f"{bootstrap} refuses {what}: {error.args[0].str()}") from error
        raise from_exception(error, f"asking {bootstrap} for {what}") from error
    except TimeoutError as error:
        raise Unavailable(f"{bootstrap} did not answer within {TIMEOUT_S:g} s when asked for {what}") from error
