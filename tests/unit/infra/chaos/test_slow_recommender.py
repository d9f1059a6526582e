"""Generators and ranker have exactly the trouble they are told to have."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from core.errors import Unavailable
from infra.chaos import slow_recommender
from infra.chaos.slow_recommender import GENERATORS, HANGS, RAISES, RANKER, Trouble, TroubledGenerator, TroubledRanker
from serving.recommendation.generators import all_generators
from serving.recommendation.live_state import empty_state
from serving.recommendation.ports import Candidates, Viewer

NOBODY = Viewer("nobody", datetime(2026, 11, 20, tzinfo=UTC))
CANDIDATES = Candidates(np.array([3, 1], np.int64), {})


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    monkeypatch.setattr(slow_recommender, "_HANG_S", 0.05)
    return Trouble(tmp_path)


def test_without_trouble_they_answer(trouble: Trouble) -> None:
    for generator in all_generators(empty_state()):
        troubled = TroubledGenerator(generator, trouble)
        assert troubled.name == generator.name
        assert len(troubled.propose(NOBODY, 10).rows) == 0
    assert TroubledRanker(trouble).predict(NOBODY, CANDIDATES)["pick"].tolist() == [3, 1]


def test_only_who_is_named_fails_and_only_until_it_is_over(trouble: Trouble) -> None:
    generator = TroubledGenerator(all_generators(empty_state())[0], trouble)
    trouble.set(**{GENERATORS: RAISES})
    with pytest.raises(Unavailable):
        generator.propose(NOBODY, 10)
    TroubledRanker(trouble).predict(NOBODY, CANDIDATES)
    trouble.set()
    generator.propose(NOBODY, 10)


def test_who_hangs_answers_late(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(slow_recommender.time, "sleep", slept.append)
    trouble.set(**{RANKER: HANGS})
    TroubledRanker(trouble).predict(NOBODY, CANDIDATES)
    assert slept == [0.05]
