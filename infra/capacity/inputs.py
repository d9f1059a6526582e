"""What the model is given: the load, unit costs and prices. All are plain numbers with their units in their names."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

from core.errors import ConfigurationError

UNIT_COSTS = Path(__file__).with_name("unit_costs.toml")
PRICES = Path(__file__).with_name("prices.toml")
_Table = TypeVar("_Table")


@dataclass(frozen=True)
class Load:
    """What the platform is asked to carry. Rates are averages; `peak_factor` says how much more at the worst hour."""

    images: float = 1e6
    videos: float = 0.0
    frames_per_video: float = 8.0
    posts_per_day: float = 0.0
    uploads_per_day: float = 100e3
    video_uploads_share: float = 0.0
    interactions_per_day: float = 10e6
    queries_per_s: float = 10.0
    query_image_share: float = 0.2  # searches whose image has to be embedded first
    active_users: float = 1e6
    active_items_share: float = 0.1  # items that something happens to within 30 days: those have features
    peak_factor: float = 2.5
    image_bytes: float = 300e3
    video_bytes: float = 20e6
    replication: float = 3.0  # copies of the log
    retention_days: float = 7.0  # of the log's events
    trace_retention_days: float = 7.0
    archive_days: float = 365.0
    index_replicas: float = 2.0  # copies of every shard, at least

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value >= 0 or value == float("inf"):
                raise ConfigurationError(f"{field.name} is {value}: it must be a number that is not negative")
        if self.peak_factor < 1 or self.replication < 1 or self.index_replicas < 1:
            raise ConfigurationError("peak_factor, replication and index_replicas are at least 1")
        for field in dataclasses.fields(self):
            if field.name.endswith("_share") and getattr(self, field.name) > 1:
                raise ConfigurationError(f"{field.name} is {getattr(self, field.name)}: a share is at most 1")


#: The load of docs/capacity.md.
GLOBAL = Load(
    images=200e9,
    videos=10e9,
    posts_per_day=500e6,
    uploads_per_day=500e6,
    video_uploads_share=0.05,
    interactions_per_day=100e9,
    queries_per_s=50_000,
    active_users=2e9,
)


@dataclass(frozen=True)
class UnitCost:
    """One figure and how it came about."""

    name: str
    value: float
    source: Literal["measured", "design", "assumed"]
    date: date
    command: str
    meaning: str


@dataclass(frozen=True)
class UnitCosts:
    """The values of `unit_costs.toml`, by the same names."""

    upload_event_bytes: float
    interaction_event_bytes: float
    post_event_bytes: float
    index_entry_bytes: float
    compression_ratio: float
    partition_bytes_per_s: float
    broker_bytes_per_s: float
    uploads_per_s_per_worker: float
    interactions_per_s_per_worker: float
    encoder_images_per_s_per_vcpu: float
    encoder_images_per_s_per_gpu: float
    decode_images_per_s_per_vcpu: float
    search_cpu_s_per_shard: float
    gateway_cpu_s_per_search: float
    index_bytes_per_vector: float
    index_compressed_bytes_per_vector: float
    index_disk_bytes_per_vector: float
    shards_asked_ratio: float
    catalogue_bytes_per_item: float
    trace_bytes: float
    online_store_bytes_per_entity: float
    archive_bytes_per_event: float


@dataclass(frozen=True)
class Prices:
    """US dollars for a month; a `network_gib` is paid once."""

    vcpu: float
    memory_gib: float
    ssd_gib: float
    object_gib: float
    gpu: float
    network_gib: float


def read_unit_costs(path: Path = UNIT_COSTS) -> tuple[UnitCosts, dict[str, UnitCost]]:
    """Return the values, and every figure with its source.

    Raises:
        ConfigurationError: a figure is missing, unknown, or has no source.
    """
    table = _read(path)
    try:
        figures = {name: UnitCost(name=name, **entry) for name, entry in table.items()}
    except TypeError as error:
        raise ConfigurationError(f"{path}: a figure needs value, source, date, command and meaning: {error}") from error
    for figure in figures.values():
        if figure.source not in ("measured", "design", "assumed") or (figure.source == "measured") != bool(
            figure.command
        ):
            raise ConfigurationError(f"{path}: {figure.name} must be measured by a command, or design, or assumed")
    return _table(UnitCosts, {name: figure.value for name, figure in figures.items()}, path), figures


def read_prices(path: Path = PRICES) -> Prices:
    """Return the prices. Raises ConfigurationError when one is missing, unknown or negative."""
    return _table(Prices, _read(path), path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error


def _table(table: type[_Table], values: Mapping[str, Any], path: Path) -> _Table:
    names = {field.name for field in dataclasses.fields(table)}  # type: ignore[arg-type]
    if missing := sorted(names - set(values)):
        raise ConfigurationError(f"{path} lacks {', '.join(missing)}")
    if unknown := sorted(set(values) - names):
        raise ConfigurationError(f"{path}: unknown {', '.join(unknown)}; known are {', '.join(sorted(names))}")
    if wrong := sorted(name for name in names if not isinstance(values[name], int | float) or values[name] < 0):
        raise ConfigurationError(f"{path}: not numbers from 0 on: {', '.join(wrong)}")
    return table(**{name: float(values[name]) for name in names})
