"""The registry of a home folder, with the weights that ship with the code."""

from collections.abc import Mapping
from pathlib import Path

from core.clock import Clock, SystemClock
from models.registry.aliases import AliasStore, FileAliasStore
from models.registry.store import ModelRegistry

_MODELS = Path(__file__).resolve().parent.parent

PACKAGED: Mapping[str, Path] = {
    "visual-search": _MODELS / "visual_search" / "weights",
    "moderation": _MODELS / "moderation" / "weights",
}


def open_registry(
    home: Path,
    *,
    clock: Clock | None = None,
    aliases: AliasStore | None = None,
    packaged: Mapping[str, Path] = PACKAGED,
) -> ModelRegistry:
    """Return the registry under `<home>/registry`; aliases live in its `aliases.json` unless a store is given."""
    root = home / "registry"
    store = aliases or FileAliasStore(root / "aliases.json", clock or SystemClock())
    return ModelRegistry(root, store, packaged)
