"""From a load to machines and money, by arithmetic that can be followed: each part says what it is made of and why.

Pure functions over numbers with their units in their names. Counts are rounded up where things come in pieces, which is
why a small load costs more than its share. Machines are filled to `_FILL`.
"""

import math
from dataclasses import dataclass, fields

from infra.capacity.inputs import Load, Prices, UnitCosts

DAY_S = 86_400.0
GIB = 1024.0**3
_FILL = (
    0.6  # of a machine's processors: what is left is for the peaks within the worst hour, and for a machine that ends
)
_BROKER_VCPUS, _BROKER_MEMORY_GIB, _BROKER_SSD_GIB = 8, 32.0, 16_000.0
_INDEX_MEMORY_GIB, _INDEX_VCPUS = 256.0, 32  # of one machine that holds shards
_SHARD_MEMORY_SHARE = 0.7
_IN_MEMORY_UP_TO = 200e6  # vectors; beyond, codes in memory and all else on NVMe
_SHARD_VECTORS_ON_DISK = 500e6
_SHARD_VECTORS_IN_MEMORY = 20e6
_ENCODER_THREADS = 64  # more than this many are GPUs' work
_REDIS_NODE_GIB = 64.0
_CATALOGUE_VCPUS = 8
_CATALOGUE_NODE_GIB = 8_000.0
_CATALOGUE_WRITES_PER_S = 10_000.0
_MONTH_S = 30.0 * DAY_S


@dataclass(frozen=True)
class Resources:
    """What is rented. `network_gib` is what leaves its zone in a month."""

    vcpus: float = 0.0
    memory_gib: float = 0.0
    ssd_gib: float = 0.0
    object_gib: float = 0.0
    gpus: float = 0.0
    network_gib: float = 0.0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})

    def cost_per_month(self, prices: Prices) -> float:
        """Return US dollars for a month."""
        return (
            self.vcpus * prices.vcpu
            + self.memory_gib * prices.memory_gib
            + self.ssd_gib * prices.ssd_gib
            + self.object_gib * prices.object_gib
            + self.gpus * prices.gpu
            + self.network_gib * prices.network_gib
        )


@dataclass(frozen=True)
class Part:
    """One part of the system: how many of what, what they take, and the arithmetic in words."""

    name: str
    counts: dict[str, int]
    resources: Resources
    because: str


@dataclass(frozen=True)
class Plan:
    """All parts."""

    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    @property
    def total(self) -> Resources:
        return sum((part.resources for part in self.parts), Resources())

    def cost_per_month(self, prices: Prices) -> float:
        """Return US dollars for a month."""
        return self.total.cost_per_month(prices)


def plan(load: Load, costs: UnitCosts) -> Plan:
    """Return what the load needs."""
    return Plan(
        (
            log(load, costs),
            content_workers(load, costs),
            behaviour_workers(load, costs),
            encoders(load, costs),
            index(load, costs),
            gateways(load, costs),
            online_store(load, costs),
            catalogue(load, costs),
            objects(load),
            archive(load, costs),
        )
    )


def log(load: Load, costs: UnitCosts) -> Part:
    """Kafka: events for their retention, and the newest index entry of every item for ever."""
    events_per_s = {
        "uploads": load.uploads_per_day / DAY_S,
        "posts": load.posts_per_day / DAY_S,
        "interactions": load.interactions_per_day / DAY_S,
    }
    bytes_per_s = costs.compression_ratio * (
        events_per_s["uploads"] * (costs.upload_event_bytes + costs.index_entry_bytes)
        + events_per_s["posts"] * costs.post_event_bytes
        + events_per_s["interactions"] * costs.interaction_event_bytes
    )
    kept = bytes_per_s * DAY_S * load.retention_days + _items(load) * costs.index_entry_bytes * costs.compression_ratio
    written_at_peak_per_s = bytes_per_s * load.peak_factor * load.replication
    ssd_gib = kept * load.replication / GIB / _FILL
    partitions = _ceil(bytes_per_s * load.peak_factor / costs.partition_bytes_per_s) if bytes_per_s else 0
    partitions = max(
        partitions,
        _ceil(events_per_s["interactions"] * load.peak_factor / costs.interactions_per_s_per_worker),
        _ceil(events_per_s["uploads"] * load.peak_factor / costs.uploads_per_s_per_worker),
    )
    brokers = max(_ceil(written_at_peak_per_s / costs.broker_bytes_per_s), _ceil(ssd_gib / _BROKER_SSD_GIB))
    brokers = max(brokers, _ceil(load.replication)) if kept else 0
    return Part(
        "log (Kafka)",
        {"brokers": brokers, "partitions of the busiest topic": partitions},
        Resources(
            vcpus=brokers * _BROKER_VCPUS,
            memory_gib=brokers * _BROKER_MEMORY_GIB,
            ssd_gib=ssd_gib,
            network_gib=bytes_per_s * _MONTH_S * (load.replication - 1) / GIB,
        ),
        f"{bytes_per_s * load.peak_factor / 1e6:,.1f} MB/s at the peak × {load.replication:g} copies; "
        f"{load.retention_days:g} days of events and the newest entry of {_items(load):.3g} items",
    )


def content_workers(load: Load, costs: UnitCosts) -> Part:
    """Workers of the agent index-upload: one processor and 1 GiB each."""
    per_s = load.uploads_per_day / DAY_S * load.peak_factor
    workers = _ceil(per_s / costs.uploads_per_s_per_worker)
    return Part(
        "content workers",
        {"workers": workers},
        Resources(vcpus=workers, memory_gib=workers),
        f"{per_s:,.0f} uploads a second at the peak, {costs.uploads_per_s_per_worker:g} a worker",
    )


def behaviour_workers(load: Load, costs: UnitCosts) -> Part:
    """Workers of the agents interactions and archive: one processor and 2 GiB each."""
    per_s = load.interactions_per_day / DAY_S * load.peak_factor
    workers = _ceil(per_s / costs.interactions_per_s_per_worker)
    return Part(
        "behaviour workers",
        {"workers": workers},
        Resources(vcpus=workers, memory_gib=2 * workers, ssd_gib=50 * workers),
        f"{per_s:,.0f} interactions a second at the peak, {costs.interactions_per_s_per_worker:g} a worker",
    )


def encoders(load: Load, costs: UnitCosts) -> Part:
    """What turns images into vectors: new uploads, a video's frames, and the images that people search with.

    By processors as long as few threads do it, then by GPUs.
    """
    per_upload = 1 - load.video_uploads_share + load.video_uploads_share * load.frames_per_video
    per_s = load.peak_factor * (load.uploads_per_day / DAY_S * per_upload + load.queries_per_s * load.query_image_share)
    decoders = _ceil(per_s / costs.decode_images_per_s_per_vcpu / _FILL)
    threads = _ceil(per_s / costs.encoder_images_per_s_per_vcpu / _FILL)
    if threads <= _ENCODER_THREADS:
        resources = Resources(vcpus=decoders + threads, memory_gib=2 * (decoders + threads))
        counts = {"encoder threads": threads, "decoding processes": decoders}
        pace = f"{costs.encoder_images_per_s_per_vcpu:g} a thread"
    else:
        cards = _ceil(per_s / costs.encoder_images_per_s_per_gpu / _FILL)
        resources = Resources(vcpus=decoders, memory_gib=2 * decoders + 16 * cards, gpus=cards)
        counts = {"GPUs": cards, "decoding processes": decoders}
        pace = f"{costs.encoder_images_per_s_per_gpu:,.0f} a GPU"
    return Part("image encoders", counts, resources, f"{per_s:,.0f} images a second at the peak, {pace}")


def index(load: Load, costs: UnitCosts) -> Part:
    """The vector index. One shard that all replicas hold, as long as it fits; then shards, in memory or on NVMe."""
    vectors = _vectors(load)
    queries_per_s = load.queries_per_s * load.peak_factor
    on_disk = vectors > _IN_MEMORY_UP_TO
    per_shard = _SHARD_VECTORS_ON_DISK if on_disk else _SHARD_VECTORS_IN_MEMORY
    shards = _ceil(vectors / per_shard)
    asked = max(1.0, shards * costs.shards_asked_ratio) if on_disk else float(shards)
    bytes_in_memory = vectors * (costs.index_compressed_bytes_per_vector if on_disk else costs.index_bytes_per_vector)
    search_vcpus = queries_per_s * min(asked, shards) * costs.search_cpu_s_per_shard / _FILL
    # Each replica of all shards holds everything once; more replicas when the searches need more processors.
    memory_gib_once = bytes_in_memory / GIB / _SHARD_MEMORY_SHARE
    # One at least, for a handful of vectors, too; else not rounded: one machine more must not cost less of all others.
    machines_once = max(1.0, memory_gib_once / _INDEX_MEMORY_GIB)
    replicas = max(load.index_replicas, search_vcpus / (machines_once * _INDEX_VCPUS)) if shards else 0.0
    disk_gib = vectors * costs.index_disk_bytes_per_vector * replicas / GIB / _FILL if on_disk else 0.0
    where = "codes in memory, vectors on NVMe" if on_disk else "in memory"
    return Part(
        "vector index",
        {"shards": shards, "replicas": _ceil(replicas), "machines": _ceil(machines_once * replicas)},
        Resources(vcpus=max(search_vcpus, 2 * replicas), memory_gib=memory_gib_once * replicas, ssd_gib=disk_gib),
        f"{vectors:.3g} vectors {where}; a search asks {asked:,.0f} of {shards:,} shards",
    )


def gateways(load: Load, costs: UnitCosts) -> Part:
    """What answers HTTP: two at least, 4 processors and 8 GiB each, without the index."""
    cpu_per_s = load.queries_per_s * load.peak_factor * costs.gateway_cpu_s_per_search
    replicas = max(2, _ceil(cpu_per_s / 4 / _FILL)) if load.queries_per_s else 0
    return Part(
        "gateways",
        {"replicas": replicas},
        Resources(vcpus=4 * replicas, memory_gib=8 * replicas),
        f"{load.queries_per_s * load.peak_factor:,.0f} searches a second at the peak, "
        f"{costs.gateway_cpu_s_per_search * 1000:g} ms of a processor each",
    )


def online_store(load: Load, costs: UnitCosts) -> Part:
    """Redis: features of the items and users that something happened to, each kept twice."""
    entities = _items(load) * load.active_items_share + load.active_users
    gib = 2 * entities * costs.online_store_bytes_per_entity / GIB / _FILL
    nodes = _ceil(gib / _REDIS_NODE_GIB)
    return Part(
        "online store (Redis)",
        {"nodes": nodes},
        Resources(vcpus=2 * nodes, memory_gib=gib),
        f"features of {entities:.3g} items and users, twice",
    )


def catalogue(load: Load, costs: UnitCosts) -> Part:
    """PostgreSQL: items for ever and explanations of answers for days, each kept twice."""
    item_gib = _items(load) * costs.catalogue_bytes_per_item / GIB
    trace_gib = load.queries_per_s * DAY_S * load.trace_retention_days * costs.trace_bytes / GIB
    writes_per_s = load.peak_factor * (load.uploads_per_day / DAY_S + load.queries_per_s)
    gib = 2 * (item_gib + trace_gib) / _FILL
    shards = max(_ceil(gib / 2 / _CATALOGUE_NODE_GIB), _ceil(writes_per_s / _CATALOGUE_WRITES_PER_S))
    return Part(
        "catalogue (PostgreSQL)",
        {"shards": shards, "machines": 2 * shards},
        Resources(vcpus=2 * shards * _CATALOGUE_VCPUS, memory_gib=2 * shards * 4 * _CATALOGUE_VCPUS, ssd_gib=gib),
        f"items {item_gib:,.0f} GiB, explanations of {load.trace_retention_days:g} days {trace_gib:,.0f} GiB, twice",
    )


def objects(load: Load) -> Part:
    """The media themselves."""
    gib = (load.images * load.image_bytes + load.videos * load.video_bytes) / GIB
    return Part(
        "objects (S3)",
        {},
        Resources(object_gib=gib),
        f"{load.images:.3g} images of {load.image_bytes / 1e3:g} kB and {load.videos:.3g} videos of "
        f"{load.video_bytes / 1e6:g} MB",
    )


def archive(load: Load, costs: UnitCosts) -> Part:
    """Every event in Parquet."""
    per_day = load.uploads_per_day + load.posts_per_day + load.interactions_per_day
    gib = per_day * load.archive_days * costs.archive_bytes_per_event / GIB
    return Part(
        "archive (Parquet)",
        {},
        Resources(object_gib=gib),
        f"{per_day:.3g} events a day for {load.archive_days:g} days",
    )


def backfill_gpu_days(load: Load, costs: UnitCosts) -> float:
    """Return the days that one GPU takes to embed everything once: for a start, or for a new encoder."""
    return _vectors(load) / costs.encoder_images_per_s_per_gpu / DAY_S


def _items(load: Load) -> float:
    return load.images + load.videos


def _vectors(load: Load) -> float:
    return load.images + load.videos * load.frames_per_video


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-9)
