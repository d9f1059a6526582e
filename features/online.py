"""The Feast online store behind the engine and the reader: SQLite or Redis, by settings.

Feast is used at its provider, below `push` and `get_online_features`, which parse the whole registry on every call.
What its stores do not promise is kept here or by the engine: a growing event time per entity (SQLite overwrites by
arrival, Redis drops equal times), one call at a time, an exact `as_of` (SQLite rounds to seconds).
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import features.feast_without_torch  # noqa: F401  # isort: skip  # before Feast: see there
import feast
import numpy as np
from feast import FeatureStore, FeatureView, RepoConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from redis.exceptions import RedisError

from core.errors import ConfigurationError, Unavailable
from core.locks import file_lock
from core.settings import FeatureSettings
from features.interactions import from_us
from features.repo.definitions import PROJECT, definitions
from features.repo.packed_sqlite import STORE
from features.schema import ALL_VIEWS, View
from features.state import feature_folder
from features.transforms.windows import Floats, Ints

_READ_CHUNK = 500
_REMEMBERED = 65_536
_REDIS_TIMEOUT_S = 2


def open_feast(home: Path, settings: FeatureSettings, views: Sequence[View] = ALL_VIEWS) -> FeatureStore:
    """Return a Feast store over the home, with the definitions applied to its registry.

    The registry is written only when the definitions or the store changed, under a lock: services find it as it is.
    """
    folder = feature_folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "online.db"
    online: dict[str, object] = {"type": STORE, "path": str(database)}
    if settings.online_store == "redis":
        online = {
            "type": "redis",
            "connection_string": _with_timeouts(settings.redis_url),
            # Only garbage collection: what reads as missing is decided by the reader.
            "key_ttl_seconds": int((settings.ttl_days + 1) * 86_400),
        }
    store = FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry={"path": str(folder / "registry.db"), "cache_ttl_seconds": 0},
            online_store=online,
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )
    described = repr((feast.__version__, settings.online_store, settings.ttl_days, tuple(views)))
    fingerprint = hashlib.sha256(described.encode()).hexdigest()
    marker = folder / "registry.applied"
    with file_lock(folder / "registry.lock"):
        complete = (folder / "registry.db").exists() and (settings.online_store != "sqlite" or database.exists())
        if not complete or not marker.exists() or marker.read_text() != fingerprint:
            store.apply([*definitions(timedelta(days=settings.ttl_days), views)])
            if settings.online_store == "sqlite":
                with closing(sqlite3.connect(database)) as connection:
                    connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
            marker.write_text(fingerprint)
    return store


class OnlineStore:
    """Writes and reads rows of the views. Calls of several threads take turns; open one per process."""

    def __init__(self, store: FeatureStore, views: Sequence[View] = ALL_VIEWS) -> None:
        self._config = store.config
        self._provider = store._get_provider()
        self._views: dict[str, FeatureView] = {view.name: store.get_feature_view(view.name) for view in views}
        self._lock = threading.Lock()
        self._kind = "redis" if store.config.online_store.type == "redis" else "sqlite"
        # The same few thousand numbers come again and again, and a message costs more than looking it up.
        self._integer = lru_cache(_REMEMBERED)(lambda value: Value(int64_val=value))
        self._real = lru_cache(_REMEMBERED)(lambda value: Value(double_val=value))

    @classmethod
    def open(cls, home: Path, settings: FeatureSettings) -> "OnlineStore":
        """Open the configured store. Raises Unavailable when it cannot be reached."""
        with _unavailable(settings.online_store):
            return cls(open_feast(home, settings))

    def write(self, view: View, ids: Sequence[str], as_of_us: Ints, values: Floats) -> None:
        """Write one row per entity; `as_of_us` must be greater than that of the entity's last row.

        Args:
            ids: `q` distinct entity ids; as_of_us: `(q,)`; values: `(q, len(view.features) - 1)` in schema order.

        Raises:
            Unavailable: the store did not take them; any of them may still have been written.
        """
        columns = [
            [self._integer(value) for value in column.astype(np.int64).tolist()]
            if feature.dtype == "int64"
            else [self._real(value) for value in column.tolist()]
            for feature, column in zip(view.features[:-1], values.T, strict=True)
        ]
        names = view.feature_names
        rows: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]] = [
            (
                _key(view, entity_id),
                dict(zip(names, (*row, Value(int64_val=time_us)), strict=True)),  # as_of_us is the last feature
                from_us(time_us),
                None,
            )
            for entity_id, time_us, row in zip(ids, as_of_us.tolist(), zip(*columns, strict=True), strict=True)
        ]
        if rows:
            with self._lock, _unavailable(self._kind):
                self._provider.online_write_batch(self._config, self._views[view.name], rows, None)

    def read(self, view: View, ids: Sequence[str]) -> list[dict[str, int | float] | None]:
        """Return the values of each entity by feature name, None for an entity without a row.

        Raises:
            Unavailable: the store did not answer.
        """
        found: list[dict[str, int | float] | None] = []
        for first in range(0, len(ids), _READ_CHUNK):
            keys = [_key(view, entity_id) for entity_id in ids[first : first + _READ_CHUNK]]
            with self._lock, _unavailable(self._kind):
                # A new list each time: the Redis store appends to the one it is given.
                rows = self._provider.online_read(self._config, self._views[view.name], keys, list(view.feature_names))
            found += (_values(view, protos) for _, protos in rows)
        return found

    def close(self) -> None:
        """Close the connection to the store."""
        store = self._provider.online_store
        for name in ("_conn", "_client"):
            connection = getattr(store, name, None)
            if connection is not None:
                connection.close()
                setattr(store, name, None)


def _key(view: View, entity_id: str) -> EntityKey:
    return EntityKey(join_keys=[view.join_key], entity_values=[Value(string_val=entity_id)])


def _values(view: View, protos: dict[str, Value] | None) -> dict[str, int | float] | None:
    """Return plain values; None unless the row holds every feature of the view (then it is of another release)."""
    if not protos:
        return None
    row: dict[str, int | float] = {}
    for feature in view.features:
        proto = protos.get(feature.name)
        if proto is None or proto.WhichOneof("val") is None:
            return None
        row[feature.name] = proto.int64_val if feature.dtype == "int64" else proto.double_val
    return row


def _with_timeouts(connection: str) -> str:
    """Bound every wait on Redis and try once, unless the connection string says otherwise."""
    if ":" not in connection.split(",")[0]:
        raise ConfigurationError(f"features.redis_url must be host:port[,key=value], got {connection!r}")
    for name in ("socket_timeout", "socket_connect_timeout"):
        if name not in connection:
            connection += f",{name}={_REDIS_TIMEOUT_S}"
    if "retry=" not in connection:
        # The client would try three times more and wait up to 10 s between tries: nine seconds for a read of a store
        # that is down. Readers answer without features at once, and the pusher tries again by itself.
        connection += ",retry=null"
    return connection


@contextmanager
def _unavailable(store: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, sqlite3.OperationalError) as error:
        raise Unavailable(f"the {store} feature store did not answer: {error}") from error
