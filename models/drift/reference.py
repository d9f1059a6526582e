"""What a model was trained on, in brief: the reference that live rows are compared with. A file beside the weights.

Made where a model is trained, from the rows that it was trained on, and saved into the model's folder:

    rows = Rows(numbers={"text_length": lengths}, categories={"language": languages}, vectors={"text": vectors},
                scores={"spam": probabilities})
    reference_of(rows, system="moderation", source="10,946 training texts").save(folder, made_for=manifest.sha256)

For the harm model there is `models.moderation.drift.write_reference`, one call. Scores should be of models that did not
see the row (held-out folds): a model is surer of what it learned than of anything it will be asked about.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from core.errors import IntegrityError
from models.drift.distributions import Categories, Distribution, Floats, Numbers, Vectors
from models.registry.manifest import DRIFT

FORMAT = 1
LEAST = 100
"""Known values without which a column has no reference: noise would pass for a distribution."""

Kind = Literal["input", "embedding", "score"]


@dataclass(frozen=True)
class Rows:
    """n rows of what is watched. A column is as long as any other.

    `numbers` and `scores` are `(n,)` with NaN for unknown, `categories` have None for unknown, and `vectors` are
    `(n, D)` with a row of NaN where a vector is missing.
    """

    numbers: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    categories: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    vectors: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    scores: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    def __len__(self) -> int:
        columns = [*self.numbers.values(), *self.categories.values(), *self.vectors.values(), *self.scores.values()]
        return len(columns[0]) if columns else 0

    def column(self, kind: Kind, name: str) -> Any:
        """Return one column, None where there is none of that name."""
        if kind == "embedding":
            return self.vectors.get(name)
        if kind == "score":
            return self.scores.get(name)
        return self.numbers.get(name, self.categories.get(name))


@dataclass(frozen=True)
class Feature:
    """One column of the reference: its bins, and how many rows of the reference are in each (`tally`)."""

    kind: Kind
    name: str
    distribution: Distribution
    tally: Floats
    source: str  # in words: what the rows were

    def of(self, rows: Rows) -> Floats | None:
        """Return the tally of rows; None where they have no such column, or vectors of another width."""
        column = rows.column(self.kind, self.name)
        if column is None or (isinstance(self.distribution, Vectors) and column.shape[1] != self.distribution.dim):
            return None
        return self.distribution.tally(column)


@dataclass(frozen=True)
class Reference:
    """What a system's model was trained on. Features are told apart by kind and name."""

    system: str
    features: tuple[Feature, ...]

    def beside(self, other: "Reference") -> "Reference":
        """Return this reference with those features of another that it lacks."""
        known = {(one.kind, one.name) for one in self.features}
        more = tuple(one for one in other.features if (one.kind, one.name) not in known)
        return Reference(self.system, (*self.features, *more))

    def save(self, folder: Path, *, made_for: str) -> Path:
        """Write the file beside the weights, whole or not at all. `made_for` is what it belongs to: their SHA-256."""
        arrays: dict[str, NDArray[Any]] = {}
        described = []
        for number, feature in enumerate(self.features):
            plain, tensors = _plain(feature.distribution)
            arrays |= {f"{number}.{name}": np.ascontiguousarray(values) for name, values in tensors.items()}
            arrays[f"{number}.tally"] = np.ascontiguousarray(feature.tally)
            described.append({"kind": feature.kind, "name": feature.name, "source": feature.source, **plain})
        about = {"format": FORMAT, "system": self.system, "made_for": made_for, "features": described}
        told = json.dumps(about, sort_keys=True)
        path, temporary = folder / DRIFT, folder / f".{DRIFT}-{uuid4().hex}"
        save_file(arrays, temporary, metadata={"riverlight": told, "sha256": _digest(told, arrays)})
        temporary.replace(path)
        return path

    def save_once(self, folder: Path, *, made_for: str) -> "Reference":
        """Write the file unless another process has; return what is there then. Raises IntegrityError as `load`."""
        found = Reference.load(folder, made_for=made_for)
        if found is not None:
            return found
        with TemporaryDirectory(prefix=".drift-", dir=folder) as own:
            written = self.save(Path(own), made_for=made_for)
            with suppress(FileExistsError):  # then the other's is the reference
                (folder / DRIFT).hardlink_to(written)
        return Reference.load(folder, made_for=made_for) or self

    @classmethod
    def load(cls, folder: Path, *, made_for: str) -> "Reference | None":
        """Read the reference of a model folder; None where it has none.

        Raises:
            IntegrityError: the file is damaged, or belongs to other weights.
        """
        path = folder / DRIFT
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads(metadata["riverlight"])
            if metadata["sha256"] != _digest(metadata["riverlight"], arrays):
                raise ValueError("its hash is another than when it was written")
            if about["format"] != FORMAT:
                raise ValueError(f"it has format {about['format']!r}, this release reads {FORMAT}")
            if about["made_for"] != made_for:
                raise ValueError(f"it was made for {about['made_for'][:12]}, not for {made_for[:12]}")
            features = tuple(
                Feature(
                    plain["kind"],
                    plain["name"],
                    _distribution(plain, arrays, f"{number}."),
                    arrays[f"{number}.tally"],
                    plain["source"],
                )
                for number, plain in enumerate(about["features"])
            )
            return cls(about["system"], features)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise IntegrityError(
                f"{path} is not a reference for drift: {error}. Without the file the first live rows are the "
                "reference; training the model again writes another."
            ) from error


def reference_of(rows: Rows, *, system: str, source: str, least: int = LEAST) -> Reference:
    """Return the distributions of rows; columns with fewer than `least` known values are left out.

    With 0, columns of which nothing is known stay (that values appear is a change, too), but not those of vectors.

    `source` says in words what the rows are, e.g. `10,946 training texts`: it is shown with every comparison.
    """
    found: list[tuple[Kind, str, Distribution]] = []
    for name, values in rows.numbers.items():
        if np.isfinite(values).sum() >= least:
            found.append(("input", name, Numbers.of(values)))
    for name, labels in rows.categories.items():
        if sum(label is not None for label in labels) >= least:
            found.append(("input", name, Categories.of(labels)))
    for name, vectors in rows.vectors.items():
        if np.isfinite(vectors).all(axis=1).sum() >= max(least, LEAST):
            found.append(("embedding", name, Vectors.of(vectors)))
    for name, values in rows.scores.items():
        if np.isfinite(values).sum() >= least:
            found.append(("score", name, Numbers.of(values)))
    features = tuple(
        Feature(kind, name, distribution, distribution.tally(rows.column(kind, name)), source)
        for kind, name, distribution in found
    )
    return Reference(system, features)


def _plain(distribution: Distribution) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what of a distribution is written as text, and what as arrays."""
    match distribution:
        case Numbers(edges):
            return {"type": "numbers"}, {"edges": edges}
        case Categories(names):
            return {"type": "categories", "names": list(names)}, {}
        case Vectors(mean, axes, coordinates, spread, squared):
            arrays: dict[str, NDArray[Any]] = {"mean": mean, "axes": axes.astype(np.float32)}
            arrays |= {f"edges.{place}": bins.edges for place, bins in enumerate(coordinates)}
            plain = {"type": "vectors", "spread": spread, "spread_squared": squared, "coordinates": len(coordinates)}
            return plain, arrays


def _distribution(plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], prefix: str) -> Distribution:
    match plain["type"]:
        case "numbers":
            return Numbers(arrays[f"{prefix}edges"])
        case "categories":
            return Categories(tuple(plain["names"]))
        case "vectors":
            coordinates = tuple(Numbers(arrays[f"{prefix}edges.{place}"]) for place in range(plain["coordinates"]))
            mean, axes = arrays[f"{prefix}mean"], arrays[f"{prefix}axes"].astype(np.float64)
            return Vectors(mean, axes, coordinates, plain["spread"], plain["spread_squared"])
    raise ValueError(f"it has a distribution of type {plain['type']!r}")


def _digest(told: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    hashed = hashlib.sha256(told.encode())
    for name in sorted(arrays):
        hashed.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        hashed.update(np.ascontiguousarray(arrays[name]).data)
    return hashed.hexdigest()
