from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.recommendation.answering_world import PLAIN, Answering


@pytest.fixture
def make_answering(tmp_path: Path) -> Iterator[Callable[..., Answering]]:
    """Make a recommender over an empty live state; without chance unless told otherwise."""
    made: list[Answering] = []

    def make(**options: Any) -> Answering:
        made.append(Answering(tmp_path, **{**PLAIN, **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def answering(make_answering: Callable[..., Answering]) -> Answering:
    return make_answering()
