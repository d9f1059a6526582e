"""The steps of a training: alone, shared among workers, interrupted."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.errors import IntegrityError
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.training.lesson import ALONE, Place, Recipe
from models.training.loop import Loop, train_here

ROWS, WIDTH = 23, 3
RECIPE = Recipe(epochs=6, learning_rate=0.1, weight_decay=0.0, seed=3)


@dataclass(frozen=True, eq=False)
class Line:
    """Fit a line: a lesson with nothing random in its loss but noise, where that is wanted."""

    recipe: Recipe = RECIPE
    noise: float = 0.0
    name: str = "line"
    network: nn.Linear = field(default_factory=lambda: _network())

    @property
    def steps(self) -> int:
        return 3

    def batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        return iter(np.array_split(rng.permutation(ROWS), self.steps))

    def part(self, batch: np.ndarray, place: Place) -> tuple[np.ndarray, float]:
        rows = batch[place.rows(len(batch))]
        return (rows, len(rows) / len(batch)) if len(rows) else (batch[:1], 0.0)

    def loss(self, batch: np.ndarray, rng: np.random.Generator) -> Tensor:
        x = torch.linspace(-1, 1, ROWS * WIDTH).reshape(ROWS, WIDTH)[batch]
        x = x + self.noise * torch.from_numpy(rng.normal(size=x.shape)).float() + self.noise * torch.randn(x.shape)
        return ((self.network(x).squeeze(1) - x.sum(1) * 2 - 1) ** 2).mean()


def _network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, 1)


def weights(lesson: Line) -> list[list[float]]:
    return [parameter.detach().flatten().tolist() for parameter in lesson.network.parameters()]


def test_training_here_fits_reports_every_epoch_and_leaves_the_network_ready():
    lesson, said = Line(), []
    before = float(lesson.loss(np.arange(ROWS), np.random.default_rng(0)).detach())
    train_here(lesson, lambda *what: said.append(what))
    assert said == [("line", epoch, 6) for epoch in range(1, 7)]
    assert float(lesson.loss(np.arange(ROWS), np.random.default_rng(0)).detach()) < before / 2
    assert not lesson.network.training


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_workers_gradients_average_to_that_of_the_whole_batch(world):
    lesson = Line()
    batch = next(lesson.batches(np.random.default_rng(0)))[:7]
    rng = np.random.default_rng(0)
    whole = torch.autograd.grad(lesson.loss(batch, rng), lesson.network.parameters())
    summed = [torch.zeros_like(gradient) for gradient in whole]
    for rank in range(world):
        part, share = lesson.part(batch, Place(rank, world))
        for total, gradient in zip(
            summed,
            torch.autograd.grad(lesson.loss(part, rng) * (share * world), lesson.network.parameters()),
            strict=True,
        ):
            total += gradient / world
    for total, gradient in zip(summed, whole, strict=True):
        assert torch.allclose(total, gradient, atol=1e-6)


@pytest.mark.parametrize(("count", "world"), [(7, 1), (7, 2), (2, 3), (0, 2)])
def test_every_row_is_some_workers_and_no_row_two_workers(count, world):
    rows = np.concatenate([Place(rank, world).rows(count) for rank in range(world)])
    assert sorted(rows.tolist()) == list(range(count))


def test_workers_agree_on_the_order_and_draw_for_themselves():
    loops = [Loop(Line(), Place(rank, 2)) for rank in range(2)]
    orders = [[batch.tolist() for batch in loop.lesson.batches(loop.order)] for loop in loops]
    draws = [loop.draws.random(4).tolist() for loop in loops]
    assert orders[0] == orders[1]
    assert draws[0] != draws[1]


def test_an_interrupted_training_ends_where_one_without_interruption_does(tmp_path):
    noisy = Line(noise=0.1)
    torch.manual_seed(5)
    train_here(noisy, lambda *_: None)

    first = Loop(Line(noise=0.1))
    torch.manual_seed(5)
    for _ in range(3):
        first.run_epoch()
    save_checkpoint(first, tmp_path)
    torch.manual_seed(99)
    other = Line(noise=0.1)
    nn.init.zeros_(other.network.weight)
    second = Loop(other)
    load_checkpoint(second, tmp_path)
    assert second.epoch == 3
    while not second.finished:
        second.run_epoch()
    assert weights(other) == weights(noisy)


def test_a_checkpoint_has_the_random_states_of_every_worker(tmp_path):
    loops = [Loop(Line(), Place(rank, 2)) for rank in range(2)]
    for loop in loops:
        loop.draws.random(3 + loop.place.rank)
        save_checkpoint(loop, tmp_path)
    expected = [loop.draws.random() for loop in loops]
    restored = [Loop(Line(), Place(rank, 2)) for rank in range(2)]
    for loop in restored:
        load_checkpoint(loop, tmp_path)
    assert [loop.draws.random() for loop in restored] == expected


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path):
    save_checkpoint(Loop(Line()), tmp_path)
    with pytest.raises(IntegrityError, match="of 1 workers"):
        load_checkpoint(Loop(Line(), Place(0, 2)), tmp_path)
    other = replace(Line(), network=nn.Linear(WIDTH + 1, 1))
    with pytest.raises(IntegrityError, match="line"):
        load_checkpoint(Loop(other), tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"nothing")
    with pytest.raises(IntegrityError, match="no checkpoint"):
        load_checkpoint(Loop(Line()), tmp_path)


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_the_fewest_steps_can_be_taken(epochs):
    class One(Line):
        @property
        def steps(self) -> int:
            return 1

    lesson = One(Recipe(epochs=epochs, learning_rate=0.1, weight_decay=0.0, warm_up=0.1))
    loop = Loop(lesson, ALONE)
    while not loop.finished:
        assert np.isfinite(loop.run_epoch())
