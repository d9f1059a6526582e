"""What Ray runs for a training, in processes of its own: the workers, and the desk where lessons wait for them."""

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.collective
import ray.train.torch
import torch
from numpy.typing import NDArray
from ray.train import Checkpoint
from torch import Tensor, nn

from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.training.lesson import Lesson, Place
from models.training.loop import Loop

_LESSON = "lesson.json"


@dataclass(frozen=True)
class Task:
    """A lesson for all workers; `random` is the state of torch's generator where the training was asked for."""

    number: int  # from 1
    lesson: Any  # a reference to a Lesson in Ray's object store, whence each node fetches it once
    random: Tensor


@dataclass(frozen=True)
class Learned:
    """What became of a lesson: the network's arrays by name, and where torch's generator is now."""

    arrays: dict[str, NDArray]
    random: Tensor
    resumed_after: int | None  # epochs that a checkpoint had, where workers had to be started again


class Desk:
    """An actor. Lessons are put on it one after the other; workers take them from it and hand in what was learned."""

    def __init__(self) -> None:
        self._task: Task | None = None
        self._epochs = 0
        self._learned: Learned | None = None
        self._closed = False

    async def put(self, task: Task) -> None:
        self._task, self._epochs, self._learned = task, 0, None

    async def take(self, after: int) -> Task | None:
        """Wait for a lesson after number `after` that is still to be learned; None: there will be no more."""
        while not self._closed:
            if self._task is not None and self._task.number > after and self._learned is None:
                return self._task
            await asyncio.sleep(0.05)
        return None

    async def tell(self, epochs: int) -> bool:
        """Note how many epochs of the lesson are done; tell whether anybody still waits for it."""
        self._epochs = epochs
        return not self._closed

    async def hand_in(self, learned: Learned) -> None:
        self._learned = learned

    async def look(self) -> tuple[int, Learned | None]:
        """Return how many epochs of the lesson are done, and what was learned once it is."""
        return self._epochs, self._learned

    async def close(self) -> None:
        """Have workers end: after the last lesson, or in the middle of one that nobody wants any more."""
        self._closed = True


def work(config: dict[str, Any]) -> None:
    """Learn one lesson after the other with the other workers, until the desk is closed.

    `config` has the `desk`, the `threads` to compute with, and `checkpoint_every_s`. After a worker was lost all are
    started again, and go on from the last checkpoint.
    """
    torch.set_num_threads(config["threads"])
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size())
    desk, number = config["desk"], 0
    while (task := ray.get(desk.take.remote(number))) is not None:
        number = task.number
        learned = _learn(task, place, desk, config["checkpoint_every_s"])
        if learned is None:
            return
        if place.rank == 0:
            ray.get(desk.hand_in.remote(learned))


def _learn(task: Task, place: Place, desk: Any, checkpoint_every_s: float) -> Learned | None:
    """Learn a lesson; None where it was given up."""
    lesson: Lesson[Any] = ray.get(task.lesson)
    if place.rank == 0:  # goes on where the asking process was: one worker alone learns exactly what that would
        torch.set_rng_state(task.random)
    else:
        torch.manual_seed(int(np.random.SeedSequence((lesson.recipe.seed, place.rank)).generate_state(1)[0]))
    loop = Loop(lesson, place, _joined)
    resumed = _go_on(loop, task.number)
    kept = time.monotonic()
    while not loop.finished:
        loss = loop.run_epoch()
        wanted = place.rank != 0 or ray.get(desk.tell.remote(loop.epoch))
        due = loop.finished or time.monotonic() - kept > checkpoint_every_s
        wanted, due = ray.train.collective.broadcast_from_rank_zero((wanted, due))
        if not wanted:
            return None
        if due:
            _keep(loop, task.number, loss)
            kept = time.monotonic()
    arrays = {name: value.cpu().numpy() for name, value in lesson.network.state_dict().items()}
    return Learned(arrays, torch.get_rng_state(), resumed)


def _go_on(loop: Loop, number: int) -> int | None:
    """Put the loop where the last checkpoint was taken, if that was of this lesson; return the epochs done by then."""
    last = ray.train.get_checkpoint()
    if last is None:
        return None
    with last.as_directory() as folder:
        if json.loads((Path(folder) / _LESSON).read_text(encoding="utf-8")) != number:
            return None
        load_checkpoint(loop, Path(folder))
    return loop.epoch


def _keep(loop: Loop, number: int, loss: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(loop, Path(folder))
        (Path(folder) / _LESSON).write_text(json.dumps(number), encoding="utf-8")
        metrics = {"lesson": loop.lesson.name, "epoch": loop.epoch, "loss": loss}
        ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def _joined(module: nn.Module) -> nn.Module:
    # A batch may leave a part of the network out; buffers are the same everywhere and never change.
    kwargs = {"broadcast_buffers": False, "find_unused_parameters": True}
    prepared: nn.Module = ray.train.torch.prepare_model(module, parallel_strategy_kwargs=kwargs)
    return prepared
