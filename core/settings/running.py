"""How the system runs and is watched: serving, monitoring, tracing."""

from typing import Literal

from pydantic import Field

from core.settings.section import Section


class ServingSettings(Section):
    """Ray Serve."""

    num_cpus: float = Field(2.0, gt=0, description="CPUs Ray may schedule locally.")
    object_store_mb: int = Field(150, ge=80, description="Ray's shared-memory object store.")
    gateway_replicas: int = Field(1, ge=1, description="Replicas of the gateway.")
    encoder_replicas: int = Field(1, ge=1, description="Replicas of the image encoder.")
    moderator_replicas: int = Field(1, ge=1, description="Replicas of the moderator, which scores posts for harm.")
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
        description="Address of the ports that show `/metrics` without asking who looks: workers, canary, and the "
        "replicas' below. Where it is not loopback, keep others away from these ports.",
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
    moderator_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a moderator replica's metrics; 0: only beside its API."
    )
    prometheus: bool = Field(True, description="Start Prometheus where it is installed.")
    prometheus_port: int = Field(9090, ge=0, le=65535, description="Port of that Prometheus.")
    worker_metrics_port: int = Field(9101, ge=0, le=65535, description="First port of the workers' `/metrics`.")
    scrape_interval_s: float = Field(5.0, gt=0, description="How often Prometheus asks.")
    drift_window_s: float = Field(3600.0, gt=0, description="The span that is compared with the reference for drift.")
    drift_first_rows: int = Field(
        2000,
        ge=100,
        description="So many first live rows become the reference for drift of what training gave none for.",
    )
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
