"""The demo's trained system: fitted on the past, registered, promoted; fitted once for the same films and past."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from core.errors import NotFound
from core.settings.recommendation import SERVED_MODEL
from infra.demo.films import Films
from models.recommendation.data import DEFAULT
from models.recommendation.learning.version import base_of
from models.recommendation.ranker import RankerConfig
from models.recommendation.system import QUICK, FullSystem, quick_system
from models.recommendation.weights import load_model, save_model
from models.registry.manifest import WEIGHTS, Manifest, file_sha256
from models.registry.packaged import open_registry
from models.registry.store import ModelVersion

COMMAND = "riverlight demo"
FEWER_PASSES = replace(QUICK, held_out=2, tune_epochs=1, ranker=RankerConfig(epochs=4))  # the demo's minutes are few


def served_model(home: Path, films: Films, progress: Callable[[str], None]) -> tuple[FullSystem, ModelVersion] | None:
    """Return the system that answers, fitting and promoting it where need be.

    What has learned from this system goes on answering. None where somebody else's model is champion: the demo does not
    take its place.
    """
    registry = open_registry(home)
    digest = _digest(films)
    try:
        champion = registry.show(SERVED_MODEL)
    except NotFound:
        champion = None
    begun_with = base_of(champion.manifest).get("digest") if champion is not None else None
    if champion is not None and begun_with is None:
        progress(f"{champion.label} answers here and stays champion, so the demo's model does not")
        return None
    if champion is None or begun_with != digest:
        progress(f"fitting a recommender to {len(films.past):,} ratings")
        champion = registry.register(SERVED_MODEL, _fit(home, films, digest), alias="champion")
    return load_model(champion.folder / WEIGHTS).model, champion


def _fit(home: Path, films: Films, digest: str) -> Path:
    feedback, system = films.feedback(), quick_system(FEWER_PASSES)
    system.fit(feedback)
    folder = home / "demo" / "recommendation"
    folder.mkdir(parents=True, exist_ok=True)
    save_model(system, feedback, folder / WEIGHTS)
    Manifest(
        model=SERVED_MODEL,
        sha256=file_sha256(folder / WEIGHTS),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version="demo",
        command=COMMAND,
        seed=0,
        data={"digest": digest, "films_of": DEFAULT, "pairs": len(feedback.positives())},
    ).write(folder)
    return folder


def _digest(films: Films) -> str:
    text = repr((films.films, films.past)).encode()
    return hashlib.sha256(text).hexdigest()[:16]
