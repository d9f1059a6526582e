"""Aliases: which version of a model is the champion, which the challenger, and which ones were before."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from core.clock import Clock
from core.errors import IntegrityError
from core.locks import file_lock

Action = Literal["promote", "rollback"]


@dataclass(frozen=True)
class AliasChange:
    """One change of an alias. `at` is ISO 8601 in UTC."""

    version: str
    action: Action
    at: str


class AliasStore(Protocol):
    """Where aliases live. Changes are never removed: the history is the answer to "what served last Tuesday?"."""

    def get(self, model: str, alias: str) -> str | None:
        """Return the version an alias points to, or None if it was never set."""
        ...

    def set(self, model: str, alias: str, version: str, action: Action = "promote") -> AliasChange:
        """Point an alias to a version, durably, and return the change."""
        ...

    def history(self, model: str, alias: str) -> list[AliasChange]:
        """Return every change of an alias, oldest first."""
        ...


class FileAliasStore:
    """Aliases in one JSON file, replaced atomically; a lock file keeps two processes from losing a change."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def get(self, model: str, alias: str) -> str | None:
        changes = self.history(model, alias)
        return changes[-1].version if changes else None

    def set(self, model: str, alias: str, version: str, action: Action = "promote") -> AliasChange:
        change = AliasChange(version=version, action=action, at=self._clock.now().isoformat())
        with file_lock(self._path.with_suffix(".lock")):
            content = self._read()
            content.setdefault(model, {}).setdefault(alias, []).append(asdict(change))
            self._write(content)
        return change

    def history(self, model: str, alias: str) -> list[AliasChange]:
        try:
            return [
                AliasChange(
                    change["version"], "rollback" if change["action"] == "rollback" else "promote", change["at"]
                )
                for change in self._read().get(model, {}).get(alias, [])
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{self._path} is not a valid alias file: {error}") from error

    def _read(self) -> dict[str, dict[str, list[dict[str, str]]]]:
        try:
            content: dict[str, dict[str, list[dict[str, str]]]] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise IntegrityError(f"{self._path} is not valid JSON: {error}") from error
        return content

    def _write(self, content: dict[str, dict[str, list[dict[str, str]]]]) -> None:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self._path.parent, delete=False) as file:
            json.dump(content, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self._path)
