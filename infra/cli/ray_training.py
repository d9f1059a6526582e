"""The options of a command that can train on Ray, and the trainer they stand for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import InvalidInput
from core.settings import Settings

if TYPE_CHECKING:
    from models.training.on_ray import RayTrainer

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Train on Ray: a cluster's host:port, `auto` on a node of it, or `local` for one started here meanwhile. "
        "Without it --workers takes serving.ray_address, else `local`; without either, this process trains alone.",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="On Ray: how many share each step. Default: 1.")
]
CpusOption = Annotated[
    int | None, typer.Option("--cpus-per-worker", min=1, help="On Ray: CPUs, and so threads, of each. Default: 1.")
]
GpusOption = Annotated[float | None, typer.Option("--gpus-per-worker", min=0, help="On Ray: GPUs of each. Default: 0.")]
CheckpointsOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoints",
        metavar="PLACE",
        help="On Ray: a folder or s3://… that all nodes reach, for the last checkpoint, which stays there. Default: "
        "below <home>/training, until all has ended well.",
    ),
]


@dataclass(frozen=True)
class RayOptions:
    """What was said of Ray on the command line."""

    address: str | None = None
    workers: int | None = None
    cpus: int | None = None
    gpus: float | None = None
    checkpoints: str | None = None

    @property
    def asked(self) -> bool:
        """Whether to train on Ray at all. Raises InvalidInput where only its details are given."""
        asked = self.address is not None or self.workers is not None
        if not asked and (self.cpus, self.gpus, self.checkpoints) != (None, None, None):
            raise InvalidInput(
                "--cpus-per-worker, --gpus-per-worker and --checkpoints are for training on Ray; say --workers, too"
            )
        return asked

    @property
    def command(self) -> str:
        """What to write down of it as part of the command. Where the cluster is, is nobody's business later."""
        given = {"workers": self.workers or 1, "cpus-per-worker": self.cpus, "gpus-per-worker": self.gpus}
        return "".join(f" --{name} {value:g}" for name, value in given.items() if value) if self.asked else ""

    @contextmanager
    def trainer(self, settings: Settings) -> Iterator["RayTrainer | None"]:
        """Yield a trainer on the cluster, connected for as long as the block lasts, or None.

        Raises:
            InvalidInput: the options make no sense.
            Unavailable: the cluster cannot be reached, or Ray cannot be started here.
        """
        if not self.asked:
            yield None
            return
        from models.training.on_ray import RayTrainer, Workers
        from models.training.ray_cluster import LOCAL, ray_cluster

        workers = Workers(self.workers or 1, self.cpus or 1, self.gpus or 0.0)
        address = self.address or settings.serving.ray_address or LOCAL
        with ray_cluster(address, cpus=workers.count * workers.cpus) as own:
            with RayTrainer(workers, self._place(settings.home), keep=self.checkpoints is not None, meeting=own) as ray:
                yield ray

    def _place(self, home: Path) -> str:
        if self.checkpoints is None:
            return str(home.resolve() / "training" / "checkpoints")
        return self.checkpoints if "://" in self.checkpoints else str(Path(self.checkpoints).resolve())
