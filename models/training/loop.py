"""The steps of a training. One worker or many take the same ones."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.progress import Report
from models.training.lesson import ALONE, Lesson, Place


class _LossOf(nn.Module):
    """The loss as what the module computes: torch averages workers' gradients of what goes through `forward`."""

    def __init__(self, lesson: Lesson[Any]) -> None:
        super().__init__()
        self.network = lesson.network
        self._lesson = lesson

    def forward(self, batch: Any, rng: np.random.Generator) -> Tensor:
        return self._lesson.loss(batch, rng)


class Loop:
    """A training under way: all that changes from step to step, so that it can be kept and gone on with."""

    def __init__(
        self,
        lesson: Lesson[Any],
        place: Place = ALONE,
        prepare: Callable[[nn.Module], nn.Module] = lambda module: module,
    ) -> None:
        """`prepare` puts the module on its device and joins it with those of the other workers."""
        recipe = lesson.recipe
        self.lesson, self.place = lesson, place
        self.epoch = 0
        self._module = prepare(_LossOf(lesson))
        # Workers agree on the order of the batches, and each draws its own negatives.
        self.order = np.random.default_rng(recipe.seed)
        self.draws = self.order if place.world == 1 else np.random.default_rng((recipe.seed, place.rank))
        self.optimizer = torch.optim.AdamW(
            lesson.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        steps = max(2, recipe.epochs * lesson.steps)
        # Where the rate would rise for the first step alone, torch divides by zero.
        rising = recipe.warm_up * (1 + 1e-6 * (recipe.warm_up * steps == 1))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.learning_rate, total_steps=steps, pct_start=rising
        )

    @property
    def finished(self) -> bool:
        return self.epoch >= self.lesson.recipe.epochs

    def run_epoch(self) -> float:
        """Take every step of the next epoch; return the mean loss of this worker's rows."""
        lesson, place = self.lesson, self.place
        lesson.network.train()
        losses = []
        for batch in lesson.batches(self.order):
            part, share = lesson.part(batch, place)
            loss = self._module(part, self.draws)
            self.optimizer.zero_grad()
            # The workers' gradients are averaged, and their parts may differ in size.
            (loss * (share * place.world)).backward()
            torch.nn.utils.clip_grad_norm_(lesson.network.parameters(), lesson.recipe.longest_gradient)
            self.optimizer.step()
            self.schedule.step()
            losses.append(loss.detach())
        self.epoch += 1
        return float(torch.stack(losses).mean()) if losses else 0.0


def train_here(lesson: Lesson[Any], report: Report) -> None:
    """Train in this process, as a `Trainer` does."""
    loop = Loop(lesson)
    while not loop.finished:
        loop.run_epoch()
        report(lesson.name, loop.epoch, lesson.recipe.epochs)
    lesson.network.eval()
