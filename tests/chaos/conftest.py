"""One Kafka for all goals of a session, and a cheap encoder: everything else is what `riverlight chaos run` plays."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.settings import load_settings
from infra.chaos.goals import named
from infra.chaos.processes import BrokerProcess
from infra.chaos.result import GoalResult
from infra.chaos.run import Options, run_goal
from tests.integration.brokers import kafka_broker

CHEAP_ENCODER = ("tests.chaos.cheap_encoder",)
GATEWAY = ("tests.chaos.gateway_process",)
MODERATED = (*GATEWAY, "--moderator")
PlayGoal = Callable[..., GoalResult]


@pytest.fixture(scope="session")
def chaos_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    folder = tmp_path_factory.mktemp("chaos-kafka")
    broker = BrokerProcess(kafka_broker(folder), folder)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def play(chaos_broker: BrokerProcess, tmp_path: Path) -> PlayGoal:
    """Play the short form of a goal with seed 7 and return what was found."""

    def play_goal(name: str, encoder: tuple[str, ...] = CHEAP_ENCODER) -> GoalResult:
        options = Options(load_settings(), tmp_path, 7, short=True, encoder=encoder)
        (goal,) = named([name])
        return run_goal(goal, "kafka", options, chaos_broker)

    return play_goal
