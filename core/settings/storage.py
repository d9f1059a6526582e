"""Where things are kept: broker, producer, catalogue, objects."""

from pydantic import Field

from core.settings.section import Section


class BrokerSettings(Section):
    """The Kafka broker."""

    kind: str = Field(
        "auto",
        description="`auto` (Apache Kafka where Java and Maven are present, else embedded), `kafka`, `embedded` "
        "(volatile), or the `HOST:PORT` of a broker that somebody else runs.",
    )
    port: int = Field(9092, ge=0, le=65535, description="Port of the broker that `riverlight up` starts.")
    heap_mb: int = Field(512, ge=128, description="Java heap of the local Kafka broker.")
    bootstrap: str | None = Field(
        None,
        description="Bootstrap servers. Unset: those of the running system (`riverlight up` writes them down).",
    )
    replication_factor: int = Field(1, ge=1, description="Replicas of each topic; 3 on a cluster.")
    partitions: int | None = Field(None, ge=1, description="Partitions of each source topic, instead of the declared.")


class ProducerSettings(Section):
    """The producer wrapper over librdkafka."""

    linger_ms: int = Field(5, ge=0, description="How long a batch waits for more records.")
    queue_max_records: int = Field(10_000, ge=1, description="Bounded queue; full is answered with 429.")
    delivery_timeout_s: float = Field(30.0, gt=0, description="After this an unacknowledged record has failed.")


class CatalogueSettings(Section):
    """The SQL catalogue: the store of record."""

    url: str | None = Field(
        None,
        description="SQLAlchemy URL. Unset: SQLite in WAL mode at `<home>/catalogue.db`. PostgreSQL: "
        "`postgresql+psycopg://user@host/db`.",
    )
    busy_timeout_s: float = Field(5.0, gt=0, description="How long a SQLite writer waits for another.")
    trace_retention_days: float = Field(
        7.0, gt=0, description="How long answers can be explained, and their clicks learned from (10 to 30 kB each)."
    )


class ObjectSettings(Section):
    """The object store."""

    url: str | None = Field(
        None, description="`file:///path`, `s3://bucket/prefix` or `memory://`. Unset: `<home>/objects`."
    )
