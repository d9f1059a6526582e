"""What can be refused before Ray is started or asked."""

import socket

import pytest

from core.errors import InvalidInput, Unavailable
from models.training.on_ray import Workers
from models.training.ray_cluster import ray_cluster


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_an_address_for_clients_from_outside_is_refused_with_what_to_do(address):
    with pytest.raises(InvalidInput, match="ray job submit"), ray_cluster(address, cpus=1):
        pass


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:six", ""])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InvalidInput, match="host:port"), ray_cluster(address, cpus=1):
        pass


def test_a_cluster_that_does_not_answer_is_named():
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"no Ray cluster answers at {address}"), ray_cluster(address, cpus=1):
            pass


@pytest.mark.parametrize(
    ("wrong", "why"), [({"count": 0}, "one worker"), ({"cpus": 0}, "one CPU"), ({"gpus": -1}, "0")]
)
def test_impossible_workers_are_refused(wrong, why):
    with pytest.raises(InvalidInput, match=why):
        Workers(**wrong)


def test_workers_cannot_share_a_gpu_among_them():
    with pytest.raises(InvalidInput, match="share a GPU"):
        Workers(count=2, gpus=0.5)
    assert Workers(count=1, gpus=0.5).resources == {"CPU": 1.0, "GPU": 0.5}
    assert Workers(count=2, cpus=3).resources == {"CPU": 3.0}
