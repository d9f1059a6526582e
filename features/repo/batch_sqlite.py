"""Feast's SQLite online store, with its own tables and reads, writing a batch in a few statements.

Feast writes every feature of every row with a statement of its own; see `features.statements` for what that costs
next to a thread that computes. Feast finds the store, and the class of its configuration, by this module's name.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import features.feast_without_torch  # noqa: F401  # isort: skip  # before Feast: see there
from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from features.statements import write_rows

STORE: Literal["features.repo.batch_sqlite.BatchSqliteOnlineStore"] = (
    "features.repo.batch_sqlite.BatchSqliteOnlineStore"
)
_COLUMNS = "(entity_key, feature_name, value, event_ts, created_ts)"
_REPLACE = (
    "ON CONFLICT (entity_key, feature_name) DO UPDATE"
    " SET value = excluded.value, value_text = NULL, event_ts = excluded.event_ts, created_ts = excluded.created_ts"
)


class BatchSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    type: Literal["features.repo.batch_sqlite.BatchSqliteOnlineStore"] = STORE  # type: ignore[assignment]


class BatchSqliteOnlineStore(SqliteOnlineStore):
    """For numeric features: `value_text`, which Feast fills for texts, is left empty."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write the rows in one transaction."""
        version = config.entity_key_serialization_version
        rows: list[tuple[Any, ...]] = []
        for key, values, event_time, _ in data:
            key_bytes = serialize_entity_key(key, entity_key_serialization_version=version)
            at = int(event_time.replace(tzinfo=None).timestamp())  # as Feast has it: read as if it were local time
            rows += [(key_bytes, name, value.SerializeToString(), at, None) for name, value in values.items()]
        name = compute_table_id(config.project, table, config.registry.enable_online_feature_view_versioning)
        connection = self._get_conn(config)
        with connection:
            write_rows(connection, f'INSERT INTO "{name}" {_COLUMNS}', rows, _REPLACE)
        if progress:
            progress(len(data))
