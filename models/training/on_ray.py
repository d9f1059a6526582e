"""Training on Ray Train: the same loop in several workers, each on its part of every batch."""

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
import torch

from core.errors import InvalidInput, Unavailable
from models.progress import Report
from models.training.lesson import Lesson

_log = structlog.get_logger(__name__)

_RESTARTS = 2  # of all workers, from the last checkpoint, after one was lost
_STARTS = 4  # further attempts of a minute each to start the workers, while a cluster grows
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Workers:
    """How many there are, and what each takes of the cluster. A worker computes with as many threads as CPUs."""

    count: int = 1
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.cpus < 1 or self.gpus < 0:
            raise InvalidInput("a training needs one worker and one CPU of each at least, and no fewer than 0 GPUs")
        if self.count > 1 and 0 < self.gpus < 1:
            raise InvalidInput(f"workers cannot share a GPU ({self.gpus:g} each): NCCL wants a whole one for each")

    @property
    def resources(self) -> dict[str, float]:
        """What each takes, as Ray calls it."""
        return {"CPU": float(self.cpus)} | ({"GPU": self.gpus} if self.gpus else {})


class RayTrainer:
    """A `Trainer` on the Ray that this process is connected to (`ray_cluster`), as a context manager.

    The workers are started for the first lesson and stay for the next ones, since starting them costs many seconds.
    One worker learns the very weights that the process alone would, if it computes with as many threads. More take the
    same steps, and each draws its own negatives and dropout, so that the weights differ as they do between seeds.
    """

    def __init__(
        self,
        workers: Workers,
        checkpoints: str,
        *,
        keep: bool = False,
        checkpoint_every_s: float = 15.0,
        meeting: Path | None = None,
    ) -> None:
        """Train with `workers`.

        Args:
            checkpoints: a folder, or an address such as `s3://bucket/folder`, that every node of the cluster reaches.
                The last checkpoint is kept in a folder of its own in it, for going on when a worker was lost.
            keep: leave it there when all has ended well; else it goes.
            checkpoint_every_s: the least time between two, of which there is one at the end of every lesson besides.
            meeting: the private folder of a Ray on this machine alone, where its workers find each other.
        """
        self.workers = workers
        self._checkpoints = checkpoints
        self._keep = keep
        self._checkpoint_every_s = checkpoint_every_s
        self._meeting = meeting
        self._run = f"riverlight-{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:8]}"
        self._lessons = 0
        self._desk: Any = None
        self._thread: threading.Thread | None = None
        self._result: Any = None  # of the workers' run: Ray's Result, or the exception it ended with

    def __enter__(self) -> "RayTrainer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        import ray

        if error is not None:  # what is under way ends after an epoch, or with the connection to Ray
            with contextlib.suppress(ray.exceptions.RayError):
                self._desk.close.remote()
            return
        ray.get(self._desk.close.remote())
        self._thread.join()
        if not self._keep and not isinstance(self._result, BaseException):
            self._result.filesystem.delete_dir(self._result.path)

    def __call__(self, lesson: Lesson[Any], report: Report) -> None:
        """Train the lesson's network, in place.

        Raises:
            Unavailable: a worker failed, more often than was tried again, or the cluster has no room for them.
        """
        import ray

        from models.training.ray_worker import Learned, Task

        self._lessons += 1
        total, said = lesson.recipe.epochs, 0
        report(lesson.name, said, total)
        learned: Learned | None = None
        with _said_of(lesson.name):
            if self._thread is None:
                self._start()
            ray.get(self._desk.put.remote(Task(self._lessons, ray.put(lesson), torch.get_rng_state())))
        while learned is None:
            self._raise_if_ended(lesson.name)
            time.sleep(_LOOK_EVERY_S)
            with _said_of(lesson.name):
                done, learned = ray.get(self._desk.look.remote())
            if done > said:
                said = done
                report(lesson.name, said, total)
        if learned.resumed_after is not None:
            _log.warning("training_was_resumed", lesson=lesson.name, after_epochs=learned.resumed_after)
        lesson.network.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in learned.arrays.items()})
        lesson.network.eval()
        torch.set_rng_state(learned.random)

    def _start(self) -> None:
        import ray
        import ray.train
        from ray.train.torch import TorchConfig, TorchTrainer

        from models.training.ray_backend import MeetInAFile
        from models.training.ray_worker import Desk, work

        train: Any = ray.train  # where it runs its names stand for newer classes than where types are checked
        self._warn_of_missing(ray.cluster_resources())
        self._desk = ray.remote(num_cpus=0)(Desk).remote()
        trainer = TorchTrainer(
            work,
            train_loop_config={
                "desk": self._desk,
                "threads": self.workers.cpus,
                "checkpoint_every_s": self._checkpoint_every_s,
            },
            torch_config=MeetInAFile(folder=str(self._meeting)) if self._meeting else TorchConfig(),
            scaling_config=train.ScalingConfig(
                num_workers=self.workers.count,
                use_gpu=self.workers.gpus > 0,
                resources_per_worker=self.workers.resources,
            ),
            run_config=train.RunConfig(
                name=self._run,
                storage_path=self._checkpoints,
                checkpoint_config=train.CheckpointConfig(num_to_keep=1),
                failure_config=train.FailureConfig(max_failures=_RESTARTS, controller_failure_limit=_STARTS),
                logging_config=train.LoggingConfig(log_level="ERROR"),
            ),
        )

        def run() -> None:
            try:
                self._result = trainer.fit()
            except BaseException as error:  # whatever it is, the thread that waits for a lesson says it
                self._result = error

        # Not in the main thread, where Ray Train would take Ctrl-C for itself and end the process as if all were well.
        self._thread = threading.Thread(target=run, name="ray-training", daemon=True)
        self._thread.start()

    def _warn_of_missing(self, there: dict[str, float]) -> None:
        for kind, each in self.workers.resources.items():
            wanted = each * self.workers.count
            if there.get(kind, 0.0) < wanted:
                _log.warning("waiting_for_the_cluster_to_grow", resource=kind, has=there.get(kind, 0.0), wanted=wanted)

    def _raise_if_ended(self, lesson: str) -> None:
        """Say why the workers' run is over before the lesson was learned."""
        assert self._thread is not None
        if self._thread.is_alive():
            return
        import ray

        error = self._result
        failures: dict[int, Exception] = getattr(error, "worker_failures", {})
        if failures:
            rank, first = min(failures.items())
            problem = (
                f"after {_RESTARTS} new starts, worker {rank} of 0 to {self.workers.count - 1} failed again: "
                f"{_last_line(first)}. Checkpoints: {self._checkpoints.rstrip('/')}/{self._run}"
            )
        else:
            has = {kind: ray.cluster_resources().get(kind, 0.0) for kind in self.workers.resources}
            problem = (
                f"{_last_line(error)}. Asked for were {self.workers.count} workers of {self.workers.resources}, the "
                f"cluster has {has}"
            )
        raise Unavailable(f"training {lesson} on Ray failed: {problem}") from error


@contextmanager
def _said_of(lesson: str) -> Iterator[None]:
    """Say of which training it is what Ray raises. Raises Unavailable."""
    import ray

    try:
        yield
    except (ray.exceptions.RayError, ValueError, OSError) as error:
        raise Unavailable(f"training {lesson} on Ray failed: {_last_line(error)}") from error


def _last_line(error: BaseException) -> str:
    """Return what an error says: of a worker's, which is a whole traceback, the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
