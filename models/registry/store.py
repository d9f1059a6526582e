"""The model registry: `<home>/registry/<model>/<version>/{model.safetensors, manifest.json, card.md}`,
and where training wrote one `drift.safetensors`.

A version is named by its weights (the first eight digits of their SHA-256), so registering the same weights twice
leaves one version, and a version can never come to mean something else. Every load checks the hash.
"""

import builtins
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidInput, NotFound
from models.registry.aliases import AliasChange, AliasStore
from models.registry.manifest import CARD, DRIFT, MANIFEST, WEIGHTS, Manifest, read_manifest, verify

CHAMPION, CHALLENGER = "champion", "challenger"
ALIASES = (CHAMPION, CHALLENGER)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")  # it becomes the name of a folder


@dataclass(frozen=True)
class ModelVersion:
    """One registered version, with the aliases that point to it."""

    model: str
    version: str
    folder: Path
    manifest: Manifest
    aliases: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name vectors and answers carry, e.g. `visual-search/3f2a91c0`."""
        return f"{self.model}/{self.version}"


class ModelRegistry:
    """Versions in folders, aliases in an `AliasStore`.

    `packaged` maps a model's name to the folder of weights that ship with the code; they are registered, and made
    champion, the first time the model is asked for while it has no champion.
    """

    def __init__(self, root: Path, aliases: AliasStore, packaged: Mapping[str, Path]) -> None:
        self._root = root
        self._aliases = aliases
        self._packaged = packaged

    def register(self, model: str, source: Path, *, alias: str | None = None) -> ModelVersion:
        """Copy a checked model folder into the registry; the same weights again change nothing.

        Raises:
            IntegrityError: the folder fails `manifest.verify`.
            InvalidInput: its manifest is of another model.
        """
        manifest = self._copy(model, source)
        if alias is not None:
            self.promote(model, manifest.version, alias=alias)
        return self.show(model, manifest.version)

    def list(self, model: str | None = None) -> list[ModelVersion]:
        """Return the registered versions, by model and then oldest first."""
        models = sorted({*self._packaged, *self._registered_models()}) if model is None else [model]
        found = []
        for name in models:
            self._ensure_packaged(name)
            versions = [self._describe(name, folder) for folder in self._version_folders(name)]
            found += sorted(versions, key=lambda item: (item.manifest.created, item.version))
        return found

    def show(self, model: str, version: str | None = None) -> ModelVersion:
        """Return one version by its name or alias (the champion by default), without checking its weights.

        Raises:
            NotFound: no such model, version or alias; the message names the ones there are.
        """
        self._ensure_packaged(model)
        folders = {folder.name: folder for folder in self._version_folders(model)}
        if not folders:
            known = ", ".join(sorted({*self._packaged, *self._registered_models()})) or "none"
            raise NotFound(f"no model {model!r} is registered; registered models: {known}")
        wanted = version or CHAMPION
        name = self._aliases.get(model, wanted) if wanted in ALIASES else wanted
        if name is None:
            raise NotFound(f"{model} has no {wanted}; promote one of: {', '.join(sorted(folders))}")
        if name not in folders:
            raise NotFound(f"{model} has no version {name!r}; there are: {', '.join(sorted(folders))}")
        return self._describe(model, folders[name])

    def resolve(self, reference: str) -> ModelVersion:
        """Return the version that `model`, `model@alias` or `model@version` names, its weights checked.

        Raises NotFound, IntegrityError.
        """
        model, _, version = reference.partition("@")
        found = self.show(model, version or None)
        verify(found.folder)
        return found

    def promote(self, model: str, version: str, *, alias: str = CHAMPION) -> ModelVersion:
        """Point an alias to a version (a name or another alias), after checking its weights."""
        if alias not in ALIASES:
            raise InvalidInput(f"{alias!r} is not an alias; aliases are: {', '.join(ALIASES)}")
        found = self.resolve(f"{model}@{version}")
        if self._aliases.get(model, alias) != found.version:
            self._aliases.set(model, alias, found.version, "promote")
        return self.show(model, found.version)

    def rollback(self, model: str, *, alias: str = CHAMPION) -> ModelVersion:
        """Point an alias back to the version before the current one; again, to the one before that.

        Raises:
            NotFound: there is no earlier version to go back to.
        """
        self._ensure_packaged(model)
        before = _stack(self._aliases.history(model, alias))[:-1]
        if not before:
            raise NotFound(f"{model} has no earlier {alias} to go back to")
        found = self.resolve(f"{model}@{before[-1]}")
        self._aliases.set(model, alias, found.version, "rollback")
        return self.show(model, found.version)

    def history(self, model: str, *, alias: str = CHAMPION) -> builtins.list[AliasChange]:
        """Return every change of an alias, oldest first."""
        self._ensure_packaged(model)
        return self._aliases.history(model, alias)

    def _ensure_packaged(self, model: str) -> None:
        source = self._packaged.get(model)
        if source is None or self._aliases.get(model, CHAMPION) is not None:
            return
        self._aliases.set(model, CHAMPION, self._copy(model, source).version, "promote")

    def _copy(self, model: str, source: Path) -> Manifest:
        manifest = verify(source)
        if not _NAME.fullmatch(model):
            raise InvalidInput(f"{model[:80]!r} is no name for a model: write lower-case letters, digits and -")
        if manifest.model != model:
            raise InvalidInput(f"{source} holds the model {manifest.model!r}, not {model!r}")
        target = self._root / model / manifest.version
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".registering-", dir=target.parent))
            try:
                temporary.chmod(0o755)
                for name in (WEIGHTS, MANIFEST, CARD, DRIFT):
                    if (source / name).is_file():
                        shutil.copyfile(source / name, temporary / name)
                try:
                    temporary.rename(target)
                except OSError:
                    if not target.is_dir():  # else another process registered the same weights meanwhile
                        raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return manifest

    def _describe(self, model: str, folder: Path) -> ModelVersion:
        aliases = tuple(alias for alias in ALIASES if self._aliases.get(model, alias) == folder.name)
        return ModelVersion(model, folder.name, folder, read_manifest(folder), aliases)

    def _registered_models(self) -> set[str]:
        return {path.name for path in self._root.glob("*") if path.is_dir()}

    def _version_folders(self, model: str) -> builtins.list[Path]:
        if not _NAME.fullmatch(model):
            return []
        return sorted(path for path in (self._root / model).glob("*") if path.is_dir() and path.name[0] != ".")


def _stack(changes: list[AliasChange]) -> list[str]:
    """Return the versions a series of promotions and rollbacks leaves, the current one last."""
    versions: list[str] = []
    for change in changes:
        if change.action == "rollback":
            versions.pop()
        else:
            versions.append(change.version)
    return versions
