"""A Feast online store in SQLite that keeps the features of an entity in one row, and writes many rows at once.

To Feast it is like its own SQLite store: features are defined, written and read by name. Feast's keeps a row and two
index entries for every feature, thirteen times as many, each written by a statement of its own (`features.statements`
says what that costs next to a thread that computes). Feast finds this store, and the class of its configuration, by
the module's name.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import features.feast_without_torch  # noqa: F401  # isort: skip  # before Feast: see there
import msgspec
from feast import Entity, FeatureView, RepoConfig
from feast.infra.infra_object import InfraObject
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from features.statements import write_rows

STORE: Literal["features.repo.packed_sqlite.PackedSqliteOnlineStore"] = (
    "features.repo.packed_sqlite.PackedSqliteOnlineStore"
)
_PACK = msgspec.msgpack.Encoder()
_UNPACK = msgspec.msgpack.Decoder(dict[str, bytes])


class PackedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    type: Literal["features.repo.packed_sqlite.PackedSqliteOnlineStore"] = STORE  # type: ignore[assignment]


class PackedSqliteOnlineStore(SqliteOnlineStore):
    """Tables `packed_<view>` of entity key, event time and all features. Written by arrival, as Feast's own."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write the rows in one transaction. A row holds all features of its entity: the last one is what counts."""
        version = config.entity_key_serialization_version
        rows = [
            (
                serialize_entity_key(key, entity_key_serialization_version=version),
                int(event_time.timestamp()),
                _PACK.encode({name: value.SerializeToString() for name, value in values.items()}),
            )
            for key, values, event_time, _ in data
        ]
        connection = self._get_conn(config)
        with connection:
            write_rows(connection, f'INSERT OR REPLACE INTO "{_name(config, table)}"', rows)
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Return event time and features of each entity, in the order asked; (None, None) for one without a row."""
        version = config.entity_key_serialization_version
        keys = [serialize_entity_key(key, entity_key_serialization_version=version) for key in entity_keys]
        found = self._get_conn(config).execute(
            f'SELECT entity_key, event_s, features FROM "{_name(config, table)}"'
            f" WHERE entity_key IN ({','.join('?' * len(keys))})",
            keys,
        )
        rows = {key: (event_s, packed) for key, event_s, packed in found.fetchall()}
        return [_row(rows.get(key), requested_features) for key in keys]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Make the tables of the views that are kept; what Feast's own store had of them is dropped."""
        connection = self._get_conn(config)
        for table in tables_to_keep:
            connection.execute(
                f'CREATE TABLE IF NOT EXISTS "{_name(config, table)}"'
                " (entity_key BLOB PRIMARY KEY, event_s INTEGER NOT NULL, features BLOB NOT NULL) WITHOUT ROWID"
            )
            connection.execute(f'DROP TABLE IF EXISTS "{_feast_name(config, table)}"')
        for table in tables_to_delete:
            connection.execute(f'DROP TABLE IF EXISTS "{_name(config, table)}"')

    def plan(self, config: RepoConfig, desired_registry_proto: Any) -> list[InfraObject]:
        """Return nothing: `update` makes the tables."""
        return []


def _row(
    found: tuple[int, bytes] | None, requested: list[str] | None
) -> tuple[datetime | None, dict[str, Value] | None]:
    if found is None:
        return None, None
    values = _UNPACK.decode(found[1])
    names = values if requested is None else [name for name in requested if name in values]
    return datetime.fromtimestamp(found[0], UTC), {name: Value.FromString(values[name]) for name in names}


def _name(config: RepoConfig, table: FeatureView) -> str:
    return f"packed_{_feast_name(config, table)}"


def _feast_name(config: RepoConfig, table: FeatureView) -> str:
    return str(compute_table_id(config.project, table, config.registry.enable_online_feature_view_versioning))
