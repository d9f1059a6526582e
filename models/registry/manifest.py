"""What is kept beside a model's weights, and the check that the weights are the ones it was written for."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.errors import IntegrityError

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"
CARD = "card.md"
DRIFT = "drift.safetensors"  # what the model was trained on, in brief; models may lack it
FORMAT = 1

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy")


@dataclass(frozen=True)
class Manifest:
    """How a version came to be. `sha256` is of the weights file; the version is its first eight digits."""

    model: str
    sha256: str
    created: str  # ISO 8601, UTC
    code_version: str
    command: str
    seed: int
    parent: str | None = None  # what training started from
    data: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def version(self) -> str:
        return self.sha256[:8]

    def write(self, folder: Path) -> None:
        text = json.dumps({**asdict(self), "version": self.version}, indent=2, sort_keys=True, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a model folder without touching the weights.

    Raises:
        IntegrityError: it is missing, is not valid, or was written by a newer release.
    """
    path = folder / MANIFEST
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.get("format") != FORMAT:
            raise IntegrityError(
                f"{path} has format {fields.get('format')!r}; this release reads format {FORMAT}. Use the release "
                "that wrote it, or train again."
            )
        fields.pop("version", None)
        return Manifest(**fields)
    except FileNotFoundError as error:
        raise IntegrityError(f"{folder} is not a model folder: {MANIFEST} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} is not a valid manifest: {error}") from error


def verify(folder: Path) -> Manifest:
    """Check a model folder and return its manifest.

    Raises:
        IntegrityError: the weights are missing or do not match their recorded hash, or the folder holds a file that
            would have to be unpickled.
    """
    manifest = read_manifest(folder)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise IntegrityError(
            f"{folder} holds {', '.join(pickles)}: files that can run code when loaded are refused. Convert the "
            "weights to safetensors and remove them."
        )
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise IntegrityError(f"{folder} has no {WEIGHTS}")
    found = file_sha256(weights)
    if found != manifest.sha256:
        raise IntegrityError(
            f"{weights} has SHA-256 {found[:12]}…, its manifest says {manifest.sha256[:12]}…: the file was changed or "
            "is damaged. Restore it, or register the model again."
        )
    return manifest
