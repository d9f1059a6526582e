"""The local Prometheus: found where it is installed (or fetched by `riverlight doctor --fix`), loopback only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.debian_packages import Program
from monitoring import prometheus_config

RULES = Path(__file__).parent / "provisioning" / "prometheus" / "rules.json"


@dataclass(frozen=True)
class PrometheusServer:
    """A Prometheus that scrapes the processes of one system: what to prepare, what to run."""

    program: Program
    folder: Path
    port: int

    def prepare(self, targets: Mapping[str, str], scrape_interval_s: float, tokens: Mapping[str, Path]) -> None:
        """Write the configuration; `targets` are job name to `host:port`, `tokens` job name to a file with a token."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(prometheus_config.render(targets, [RULES], scrape_interval_s, tokens=tokens))

    def command(self) -> list[str]:
        """Return the command line that runs it in the foreground. `prepare` comes first."""
        return [
            str(self.program.path), f"--config.file={self._config}", f"--storage.tsdb.path={self._data}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.retention.time=15d", "--log.level=warn",
        ]  # fmt: skip

    @property
    def _config(self) -> Path:
        return self.folder.resolve() / "prometheus.yml"

    @property
    def _data(self) -> Path:
        return self.folder.resolve() / "data"
