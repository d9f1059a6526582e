"""Training on a small Ray of this machine: what one worker learns, what two do, and what becomes of a lost one."""

import contextlib
import ipaddress
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from structlog.testing import capture_logs

from models.recommendation.features import table_of_columns
from models.recommendation.feedback import Feedback
from models.recommendation.interactions import make_log
from models.recommendation.labels import label
from models.recommendation.splits import Split, leave_last_out
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import TwoTower
from models.training.on_ray import RayTrainer, Workers
from models.training.ray_cluster import LOCAL, ray_cluster

pytestmark = [pytest.mark.integration, pytest.mark.serve, pytest.mark.alone, pytest.mark.timeout(300)]

USERS, ITEMS = 40, 30
CONFIG = TowerConfig(dim=16, length=6, epochs=30, batch_users=9, negatives=64, random_negatives=16, dropout=0.1)


@pytest.fixture(scope="module")
def own_folder() -> Iterator[Path]:
    environment, threads = dict(os.environ), torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers do: other numbers of threads sum in another order
    try:
        with ray_cluster(LOCAL, cpus=2) as folder:
            assert folder is not None
            yield folder
    finally:
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_last_out(two_tastes())


def two_tastes() -> Feedback:
    """Even users like even items, odd ones odd items."""
    rng = np.random.default_rng(0)
    rows = [
        (f"u{user}", f"i{item}", 1e6 + place)
        for user in range(USERS)
        for place, item in enumerate(rng.permutation(np.arange(user % 2, ITEMS, 2))[:8])
    ]
    log = make_log(
        [row[0] for row in rows],
        [row[1] for row in rows],
        np.asarray([row[2] for row in rows]),
        values=np.full(len(rows), 5, np.float32),
        users=[f"u{user}" for user in range(USERS)],
        items=[f"i{item}" for item in range(ITEMS)],
    )
    titles = [f"{'even' if item % 2 == 0 else 'odd'} film {item}" for item in range(ITEMS)]
    return replace(label(log), item_table=table_of_columns(log.items, {"title": titles}))


def test_a_training_that_nobody_waits_for_any_more_gives_its_worker_back(own_folder, split, tmp_path):
    model = TwoTower(replace(CONFIG, epochs=1_000_000))

    def give_up(stage: str, done: int, total: int) -> None:
        if done:
            raise KeyError("a defect of whoever reports")

    with pytest.raises(KeyError), RayTrainer(Workers(2), str(tmp_path), meeting=own_folder) as model.trainer:
        model.fit(split.train, give_up)
    import ray  # only now: `ray_cluster` sets what it reads when it is imported

    deadline = time.monotonic() + 120
    while ray.available_resources().get("CPU", 0) < 2:
        assert time.monotonic() < deadline, "its workers still hold the processors"
        time.sleep(0.5)


def test_one_worker_learns_what_this_process_would_even_if_it_is_killed_meanwhile(own_folder, split, tmp_path):
    here = TwoTower(CONFIG)
    here.fit(split.train)
    here.fine_tune(split.train, epochs=2)

    there = TwoTower(CONFIG)
    killed: list[int] = []

    def kill_once(stage: str, done: int, total: int) -> None:
        if has_checkpoint(tmp_path) and 0 < done < total and not killed:
            workers = [child for child in children() if "RayTrainWorker" in child.name() + " ".join(child.cmdline())]
            assert len(workers) == 1
            killed.append(workers[0].pid)
            workers[0].kill()

    with (
        capture_logs() as logs,
        RayTrainer(Workers(), str(tmp_path), checkpoint_every_s=0, meeting=own_folder) as trainer,
    ):
        there.trainer = trainer
        there.fit(split.train, kill_once)
        there.fine_tune(split.train, epochs=2)
    assert killed
    [resumed] = [line for line in logs if line["event"] == "training_was_resumed"]
    assert 0 < resumed["after_epochs"] < CONFIG.epochs
    assert there.state().keys() == here.state().keys()
    assert all(np.array_equal(there.state()[name], value) for name, value in here.state().items())
    assert list(tmp_path.iterdir()) == []  # it ended well


def test_two_workers_learn_as_well_keep_a_checkpoint_and_are_reached_by_nobody_else(own_folder, split, tmp_path):
    model = TwoTower(CONFIG)
    open_to_all: set[str] = set()

    def look(stage: str, done: int, total: int) -> None:
        for process in (psutil.Process(), *children()):
            for one in connections(process):
                heard = one.status == psutil.CONN_LISTEN or one.type == socket.SOCK_DGRAM
                address = ipaddress.ip_address(one.laddr.ip) if one.laddr else None
                if heard and address and not (getattr(address, "ipv4_mapped", None) or address).is_loopback:
                    open_to_all.add(f"{process.name()} {one.laddr}")

    with RayTrainer(Workers(2), str(tmp_path), keep=True, meeting=own_folder) as model.trainer:
        model.fit(split.train, look)
    scores = model.score(split.users)
    own = np.arange(ITEMS)[None] % 2 == split.users.place[:, None] % 2
    assert scores[own].mean() > scores[~own].mean() + 0.3
    assert not open_to_all
    [run] = tmp_path.iterdir()
    [checkpoint] = [folder for folder in run.iterdir() if folder.is_dir()]
    assert {file.name for file in checkpoint.iterdir()} >= {"state.safetensors", "worker-0.json", "worker-1.json"}


def has_checkpoint(folder: Path) -> bool:
    """Tell whether a run has one: its snapshot says so, and is read again where it is being written."""
    for file in folder.glob("*/*snapshot.json"):
        with contextlib.suppress(ValueError):
            return bool(json.loads(file.read_text())["checkpoint_results"])
    return False


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def connections(process: psutil.Process) -> list:
    try:
        return process.net_connections("inet")
    except psutil.Error:
        return []  # it has ended, which is no matter
