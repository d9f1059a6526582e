"""What Feast knows: entities, and per view a push source over a Parquet file of its history.

Paths are relative to the feature folder of the home (`<home>/features`). There are no on-demand transformations:
Feast stores their code pickled in the registry.
"""

from collections.abc import Sequence
from datetime import timedelta

import features.feast_without_torch  # noqa: F401  # isort: skip  # before Feast: see there
from feast import Entity, FeatureView, Field, FileSource, PushSource
from feast.types import Float64, Int64, String
from feast.value_type import ValueType

from features.schema import ALL_VIEWS, View

PROJECT = "riverlight"
TIMESTAMP = "event_timestamp"
_DTYPES = {"int64": Int64, "float64": Float64}


def offline_path(view: View) -> str:
    """Return where the view's history lies, relative to the feature folder."""
    return f"offline/{view.name}.parquet"


def entity(view: View) -> Entity:
    return Entity(name=view.entity, join_keys=[view.join_key], value_type=ValueType.STRING)


def feature_view(view: View, ttl: timedelta) -> FeatureView:
    """Return the Feast view; `ttl` bounds how far back a point-in-time join looks, unless the view lasts."""
    history = FileSource(name=f"{view.name}_history", path=offline_path(view), timestamp_field=TIMESTAMP)
    return FeatureView(
        name=view.name,
        description=view.description,
        entities=[entity(view)],
        ttl=timedelta(0) if view.lasting else ttl,  # 0 is without bound
        schema=[
            Field(name=view.join_key, dtype=String),
            *(Field(name=f.name, dtype=_DTYPES[f.dtype], description=f.description) for f in view.features),
        ],
        source=PushSource(name=f"{view.name}_push", batch_source=history),
        online=True,
    )


def definitions(ttl: timedelta, views: Sequence[View] = ALL_VIEWS) -> list[Entity | FeatureView]:
    """Return everything to apply to the registry."""
    entities = {view.entity: entity(view) for view in views}
    return [*entities.values(), *(feature_view(view, ttl) for view in views)]
