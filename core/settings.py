"""All settings, as one frozen tree built once in an entry point and handed out in pieces.

Sources, the first that has a value wins: arguments, environment variables (`RIVERLIGHT_HTTP__PORT=9000`), a folder of
secrets (named by `RIVERLIGHT_SECRETS`, one file a setting: `catalogue__url`), a TOML file (`riverlight.toml`, or the
file named by `RIVERLIGHT_CONFIG`), the defaults below. This is the only module that reads the environment.
"""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from core.errors import ConfigurationError

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(Section):
    """The HTTP API."""

    host: str = Field("127.0.0.1", description="Address the API binds to. Anything but loopback needs authentication.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the API and the console.")
    url: str | None = Field(
        None,
        description="Where workers and the canary reach the API, when that is not `http://<host>:<port>`: another "
        "machine or container.",
    )
    request_timeout_s: float = Field(10.0, gt=0, description="A request that takes longer is answered with 504.")
    max_body_bytes: int = Field(
        1024 * 1024, ge=1024, description="Largest body of a JSON request; larger is answered with 413."
    )
    max_upload_bytes: int = Field(20 * 1024 * 1024, ge=1024, description="Largest multipart upload (one media file).")
    max_events_per_call: int = Field(1_000, ge=1, description="Events in one call of the collector.")
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="Addresses or networks (`10.0.0.0/8`) of proxies in front of the API: `X-Forwarded-For` counts "
        "from them only.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ipaddress.ip_network(network)  # its ValueError says what is wrong
        return networks


class AuthSettings(Section):
    """Who may call the API. docs/how-to/access.md has the roles and recipes."""

    mode: Literal["open", "tokens"] = Field(
        "open",
        description="`tokens`: every request shows a signed token. `open`: nobody is asked; allowed in the local "
        "profile on loopback only.",
    )
    audience: str = Field("riverlight", min_length=1, description="The `aud` that a token must be for.")
    keys: Path | None = Field(
        None,
        description="Folder of this installation's own keys (`riverlight access keys new`); to verify, its `jwks.json` "
        "is enough. Unset: `<home>/access`.",
    )
    issuer: str | None = Field(
        None, description="The `iss` of your identity provider. Unset: only this installation's own tokens count."
    )
    jwks: Path | None = Field(
        None,
        description="The identity provider's public keys: a JWKS file, or a folder of them; read again when they "
        "change.",
    )
    roles_claim: str = Field(
        "roles", min_length=1, description="Where the provider's tokens name roles; dots lead inward (`realm.roles`)."
    )
    role_prefix: str = Field("", description="What stands before our role names in the provider's tokens.")
    max_lifetime_s: float = Field(
        900.0, gt=0, le=86_400, description="A token that is made for longer (exp − iat) is refused."
    )
    leeway_s: float = Field(10.0, ge=0, le=120, description="How far clocks may differ.")
    token_file: Path | None = Field(
        None,
        description="The token that this process shows when it calls the API; somebody renews it (`riverlight up` "
        "does). Unset: signed here, with the private key in `auth.keys`.",
    )


_RATE = r"\d+/\d*(second|minute|hour|day)"
Rate = Annotated[str, Field(pattern=rf"^({_RATE}(;{_RATE})*)?$")]


class RateSettings(Section):
    """How often one caller may call: by token subject, or by address where nobody has to show one.

    A rate is written as `600/minute` or `20/second`; several, separated by `;`, must all hold; empty is no limit.
    """

    enabled: bool | None = Field(None, description="Unset: on with `auth.mode=tokens`, off when access is open.")
    search: Rate = Field("1200/minute", description="Searches.")
    media: Rate = Field("600/minute", description="Uploads of media.")
    events: Rate = Field("1200/minute", description="Calls of the collector (each up to `http.max_events_per_call`).")
    read: Rate = Field("3000/minute", description="Everything else that only reads.")
    maintenance: Rate = Field("60/minute", description="Verifying, rebuilding and saving the index.")
    refused: Rate = Field("120/minute", description="Requests with a token that is not valid, by address.")
    storage: str = Field(
        "memory://",
        description="Where calls are counted. Several gateway replicas need one place: `redis://host:port/db`.",
    )


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
        7.0, gt=0, description="How long answers can be explained, and their clicks learned from (10 kB each)."
    )


class ObjectSettings(Section):
    """The object store."""

    url: str | None = Field(
        None, description="`file:///path`, `s3://bucket/prefix` or `memory://`. Unset: `<home>/objects`."
    )


class FeatureSettings(Section):
    """Feature aggregation and the Feast stores."""

    online_store: Literal["sqlite", "redis"] = Field("sqlite", description="Feast online store.")
    redis_url: str = Field("localhost:6379", description="Redis connection string in Feast's form, host:port[,k=v].")
    max_lateness_days: float = Field(
        7.0, gt=0, description="An interaction older than this is a dead letter (`late-event`)."
    )
    flush_interval_s: float = Field(0.25, gt=0, description="Longest wait before touched entities are pushed.")
    ttl_days: float = Field(32.0, gt=0, description="A feature row older than this reads as missing.")


class StreamSettings(Section):
    """Agents and their envelope."""

    batch_size: int = Field(32, ge=1, description="Uploads embedded in one call.")
    batch_within_s: float = Field(0.02, gt=0, description="Longest wait for a batch to fill.")
    interactions_batch_size: int = Field(
        10_000, ge=1, description="Interaction records applied in one transaction at most, when that many wait."
    )
    interactions_within_s: float = Field(0.05, gt=0, description="Longest wait for that batch to fill.")
    archive_within_s: float = Field(5.0, gt=0, description="Longest wait before archived events are written.")
    archive_batch_size: int = Field(5_000, ge=1, description="Records in one Parquet file at most.")
    deadline_s: float = Field(15.0, gt=0, description="Longest time a handler may take for one batch.")
    attempts: int = Field(5, ge=1, description="Tries of a transient failure before it is a dead letter.")
    backoff_s: float = Field(0.2, gt=0, description="First wait between tries; doubles, with jitter.")
    max_future_s: float = Field(300.0, gt=0, description="Events further in the future are dead letters.")
    commit_interval_s: float = Field(1.0, gt=0, description="How often offsets are committed.")
    commit_every: int = Field(20_000, ge=1, description="Commit after this many records, too.")
    stream_buffer: int = Field(5_000, ge=1, description="Records buffered before consumption pauses (and 8 MiB).")
    fetch_max_wait_s: float = Field(
        0.1, gt=0, description="How long the broker may hold a fetch for which it has no records yet."
    )
    session_timeout_s: float = Field(10.0, gt=0, description="Silence after which a worker is out of its group.")
    no_progress_s: float = Field(
        30.0, gt=0, description="Lag without a commit for this long fails readiness and ends the worker."
    )


class MediaSettings(Section):
    """Limits on untrusted media, enforced in a separate, limited process."""

    max_bytes: int = Field(20 * 1024 * 1024, ge=1024, description="Size of one media file.")
    max_pixels: int = Field(40_000_000, ge=1, description="Pixels of one image, checked before it is decoded.")
    max_side: int = Field(16_384, ge=1, description="Longest side of an image, in pixels.")
    max_frames: int = Field(64, ge=1, description="Frames of an animated file that are looked at.")
    decode_timeout_s: float = Field(5.0, gt=0, description="A decode that takes longer is killed.")
    memory_mb: int = Field(1024, ge=128, description="Address space of a decoding process.")
    decode_px: int = Field(512, ge=32, description="Longest side of the canonical image handed to models.")
    workers: int = Field(1, ge=1, description="Decoding processes per replica.")
    queue_max: int = Field(256, ge=1, description="Images waiting for a decoding process; more are answered with 429.")
    recycle_after: int = Field(2_000, ge=1, description="Images after which a decoding process is replaced.")


class EncoderSettings(Section):
    """The image encoder."""

    kind: Literal["lite", "huggingface"] = Field(
        "lite",
        description="`lite`: EfficientNet-Lite0 with the projection trained here. `huggingface`: see `model`.",
    )
    model: str = Field(
        "visual-search@champion",
        description="For `lite`: registry model and alias or version. For `huggingface`: a hub id or a local folder.",
    )
    threads: int = Field(1, ge=1, description="CPU threads of one encoder replica.")
    batch_size: int = Field(16, ge=1, description="Images in one forward pass.")
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")


class IndexSettings(Section):
    """The live vector index."""

    kind: Literal["flat", "tree", "lsh", "ivf_flat", "ivf_sq8", "ivf_pq", "hnsw"] = Field(
        "ivf_sq8", description="Index structure; docs/how-to/choose-an-index.md says which for what."
    )
    hnsw_m: int = Field(32, ge=4, le=128, description="HNSW: links per node. Higher: better recall, more memory.")
    hnsw_ef_construction: int = Field(120, ge=8, description="HNSW: breadth while building.")
    hnsw_ef_search: int = Field(128, ge=8, description="HNSW: breadth while searching. Higher: recall for latency.")
    ivf_lists: int = Field(0, ge=0, description="IVF: clusters; 0 takes 4·√n at each training.")
    ivf_probe: int = Field(
        0, ge=0, description="IVF: clusters searched; 0 measures at each training how many `ivf_recall` needs."
    )
    ivf_recall: float = Field(
        0.99, gt=0, le=1, description="IVF: share of true neighbours that should lie in the clusters searched."
    )
    ivf_scan_limit: int = Field(
        100_000, ge=1_000, description="IVF: about as many vectors are scanned at most, whatever `ivf_recall` asks for."
    )
    pq_m: int = Field(32, ge=1, description="PQ: bytes per vector (must divide the dimension).")
    lsh_bits: int = Field(512, ge=8, description="LSH: bits per vector.")
    tree_count: int = Field(10, ge=1, description="Tree: trees in the forest.")
    train_at: int = Field(5_000, ge=1, description="Items at which a structure that needs training is first trained.")
    rebuild_tombstone_ratio: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of removed vectors at which the structure is rebuilt in the background.",
    )
    tombstones_kept: int = Field(
        200_000,
        ge=1,
        description="Removals remembered, so that an older entry that arrives late does not bring an item back.",
    )
    snapshot_interval_s: float = Field(60.0, gt=0, description="Time between snapshots while entries arrive.")
    snapshots_kept: int = Field(3, ge=1, description="Snapshots kept.")
    recall_sample_ratio: float = Field(
        0.02, ge=0, le=1, description="Share of live searches repeated exactly to measure recall."
    )


class SearchSettings(Section):
    """Visual search and its re-ranking."""

    default_k: int = Field(20, ge=1, description="Results when the request does not say.")
    max_k: int = Field(200, ge=1, description="Most results a request may ask for.")
    overfetch: float = Field(3.0, ge=1, description="Candidates fetched per result, for re-ranking to choose from.")
    min_score: float = Field(
        0.35, ge=-1, le=1, description="Cosine below which an image is not similar: nothing is an answer."
    )
    near_duplicate_bits: int = Field(
        4,
        ge=0,
        le=64,
        description="Images whose perceptual hashes differ in at most this many of 64 bits "
        "are near-duplicates of each other; the better-ranked one stays.",
    )
    near_duplicate_score: float = Field(
        0.97, ge=0, le=1, description="And whose embeddings are at least this similar (both must hold)."
    )


class ServingSettings(Section):
    """Ray Serve."""

    num_cpus: float = Field(2.0, gt=0, description="CPUs Ray may schedule locally.")
    object_store_mb: int = Field(150, ge=80, description="Ray's shared-memory object store.")
    gateway_replicas: int = Field(1, ge=1, description="Replicas of the gateway.")
    encoder_replicas: int = Field(1, ge=1, description="Replicas of the image encoder.")
    encoder_gpus: float = Field(0.0, ge=0, description="GPU fraction of an encoder replica.")
    max_ongoing_requests: int = Field(16, ge=1, description="Requests a replica works on at once.")
    max_queued_requests: int = Field(64, ge=1, description="Requests waiting; more are answered with 429.")
    max_receiving_requests: int = Field(
        256,
        ge=1,
        description="Requests that wait for the rest of their bodies from slow clients; more are answered with 429.",
    )
    encoder_wait_s: float = Field(0.01, ge=0, description="Longest wait for an encoder batch to fill.")
    haproxy: bool = Field(True, description="Serve's HAProxy ingress: several times the requests of the default.")
    ray_address: str | None = Field(None, description="An existing Ray cluster. Unset: one is started locally.")


class MonitoringSettings(Section):
    """Metrics, Prometheus and canaries."""

    host: str = Field(
        "127.0.0.1",
        description="Address of the ports that show `/metrics` without asking who looks: workers, canary, and the two "
        "below. Where it is not loopback, keep others away from these ports.",
    )
    gateway_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of a gateway replica's metrics; 0: only in the API, which asks for a token.",
    )
    encoder_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of an image-encoder replica's metrics; 0: only beside its API."
    )
    prometheus: bool = Field(True, description="Start Prometheus where it is installed.")
    prometheus_port: int = Field(9090, ge=0, le=65535, description="Port of that Prometheus.")
    worker_metrics_port: int = Field(9101, ge=0, le=65535, description="First port of the workers' `/metrics`.")
    scrape_interval_s: float = Field(5.0, gt=0, description="How often Prometheus asks.")
    canary: bool = Field(True, description="Send a known image through the whole path, for ever.")
    canary_interval_s: float = Field(10.0, gt=0, description="Time between canary uploads.")
    canary_timeout_s: float = Field(10.0, gt=0, description="A canary that takes longer has failed.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Level of all logs.")
    log_format: Literal["text", "json"] = Field(
        "text", description="`text`: lines for people. `json`: an object a line, for whoever collects logs."
    )


class TracingSettings(Section):
    """OpenTelemetry traces, from a request or event to everything it causes in other processes."""

    exporter: Literal["none", "console", "otlp", "file"] = Field(
        "none",
        description="Where spans go. `otlp`: a collector, OTLP over HTTP. `console`: standard output. `file`: "
        "`<home>/traces/<process>.jsonl`. `none`: there are none, and they cost nothing.",
    )
    endpoint: str = Field("http://127.0.0.1:4318/v1/traces", description="URL of the collector, for `otlp`.")
    sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the traces begun here that are recorded. A caller's decision is kept."
    )


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="RIVERLIGHT_",
        env_nested_delimiter="__",
    )

    home: Path = Field(Path("var"), description="Everything a command leaves lives under this folder.")
    profile: Literal["local", "production"] = Field(
        "local",
        description="`production` refuses unsafe settings: volatile broker, open bind without authentication.",
    )
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    rates: RateSettings = RateSettings()
    broker: BrokerSettings = BrokerSettings()
    producer: ProducerSettings = ProducerSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    objects: ObjectSettings = ObjectSettings()
    features: FeatureSettings = FeatureSettings()
    streams: StreamSettings = StreamSettings()
    media: MediaSettings = MediaSettings()
    encoder: EncoderSettings = EncoderSettings()
    index: IndexSettings = IndexSettings()
    search: SearchSettings = SearchSettings()
    serving: ServingSettings = ServingSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="after")
    def _refuse_unsafe(self) -> "Settings":
        if self.profile == "production":
            if self.broker.kind == "embedded":
                raise ValueError("broker.kind: the embedded broker loses everything at a restart; not in production")
            if self.broker.replication_factor < 2:
                raise ValueError("broker.replication_factor: production needs at least 2 (better 3)")
        if self.auth.mode == "open" and (self.profile != "local" or self.http.host not in LOOPBACK_HOSTS):
            raise ValueError(
                "auth.mode: `open` asks nobody who they are, which only the local profile on loopback may "
                f"(profile is {self.profile}, http.host is {self.http.host}); set auth.mode to `tokens`"
            )
        if (self.auth.issuer is None) != (self.auth.jwks is None):
            raise ValueError("auth.issuer and auth.jwks: an identity provider needs both")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources: list[PydanticBaseSettingsSource] = [init_settings, EnvSettingsSource(settings_cls)]
        if secrets := os.environ.get("RIVERLIGHT_SECRETS"):
            sources.append(_secrets(settings_cls, Path(secrets)))
        file = Path(os.environ.get("RIVERLIGHT_CONFIG", "riverlight.toml"))
        if file.is_file():
            sources.append(TomlConfigSettingsSource(settings_cls, toml_file=file))
        return tuple(sources)

    @property
    def api_url(self) -> str:
        """Where other processes reach the API, without a slash at the end."""
        return (self.http.url or f"http://{self.http.host}:{self.http.port}").rstrip("/")

    @property
    def own_keys_folder(self) -> Path:
        """Where this installation's own keys are."""
        return self.auth.keys or self.home.resolve() / "access"

    @property
    def catalogue_url(self) -> str:
        return self.catalogue.url or f"sqlite:///{self.home.resolve() / 'catalogue.db'}"

    @property
    def objects_url(self) -> str:
        return self.objects.url or (self.home.resolve() / "objects").as_uri()


def _secrets(settings_cls: type[BaseSettings], folder: Path) -> PydanticBaseSettingsSource:
    """Return the source that reads one file a setting: what compose and Kubernetes mount as secrets."""
    if not folder.is_dir():
        raise ConfigurationError(f"RIVERLIGHT_SECRETS names {folder}, which is no folder")
    return NestedSecretsSettingsSource(
        settings_cls,  # type: ignore[arg-type]  # it takes the class as well, and says so in a comment
        secrets_dir=folder,
        secrets_prefix="",
        secrets_nested_delimiter="__",
    )


def load_settings(**overrides: Any) -> Settings:
    """Build the settings from arguments, environment and file.

    Raises:
        ConfigurationError: naming each setting that is wrong, where it is set and what is allowed.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in item['loc']) or 'settings'}: {item['msg']}" for item in error.errors()
        ]
        raise ConfigurationError(
            "settings are not valid (environment RIVERLIGHT_*, riverlight.toml):\n" + "\n".join(lines)
        ) from error


def child_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment with changes, for a process that is about to be started."""
    return {**os.environ, **changes}


def set_environment(**values: str) -> None:
    """Give this process, and those it starts, variables that a library reads; what is set already stays."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
