"""Fitted transforms as a JSON file, kept beside the model that was trained with them."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.errors import IntegrityError
from features.transforms.bucketing import Bucketing
from features.transforms.encoding import EmbeddingIndex, IntegerEncoding, OneHotEncoding
from features.transforms.hashing import FeatureHashing
from features.transforms.imputation import Imputation
from features.transforms.scaling import LogScale, MinMax, ZScore

Transform = (
    Imputation
    | MinMax
    | ZScore
    | LogScale
    | Bucketing
    | IntegerEncoding
    | OneHotEncoding
    | EmbeddingIndex
    | FeatureHashing
)

KINDS: dict[str, Callable[..., Transform]] = {
    "imputation": Imputation,
    "min-max": MinMax,
    "z-score": ZScore,
    "log": LogScale,
    "bucketing": Bucketing,
    "integer": IntegerEncoding,
    "one-hot": OneHotEncoding,
    "embedding-index": EmbeddingIndex,
    "feature-hashing": FeatureHashing,
}
_NAMES: dict[object, str] = {kind: name for name, kind in KINDS.items()}


def to_json(transforms: Mapping[str, Transform]) -> str:
    """Return the transforms, by feature name, as JSON. Floats keep every bit."""
    saved: dict[str, dict[str, Any]] = {}
    for name, transform in transforms.items():
        fields = {f.name: getattr(transform, f.name) for f in dataclasses.fields(transform) if f.init}
        saved[name] = {"kind": _NAMES[type(transform)], **fields}
    return json.dumps(saved, indent=2, sort_keys=True, allow_nan=False)


def from_json(text: str) -> dict[str, Transform]:
    """Read `to_json` back. Raises IntegrityError, naming the entry, for anything else."""
    try:
        saved = json.loads(text)
        items = list(saved.items())
    except (ValueError, AttributeError) as error:
        raise IntegrityError(f"not a file of fitted transforms: {error}") from error
    transforms: dict[str, Transform] = {}
    for name, entry in items:
        try:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
            }
            transforms[name] = KINDS[fields.pop("kind")](**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"fitted transform {name!r} cannot be read: {error!r}") from error
    return transforms


def save(path: Path, transforms: Mapping[str, Transform]) -> None:
    """Write the transforms to `path`."""
    path.write_text(to_json(transforms) + "\n", encoding="utf-8")


def load(path: Path) -> dict[str, Transform]:
    """Read the transforms from `path`. Raises IntegrityError when the file is not what `save` writes."""
    return from_json(path.read_text(encoding="utf-8"))
