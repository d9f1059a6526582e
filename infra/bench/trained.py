"""What a trained system costs an answer, and the two towers' search among a million videos.

In one process without HTTP, one request at a time: the recommender over a live state of the size of MovieLens 100K,
with a quick system and without one, in turns. The system is fitted for a few passes only, which makes it worse and not
faster.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.clock import SystemClock
from core.entries import IndexEntry, Version, pack_vector
from core.errors import RiverlightError
from core.events import AnyEvent, Dislike, Interaction, Like, Upload, UploadCreated
from core.settings import CatalogueSettings, IndexSettings, RecommendationSettings
from infra.bench.percentiles import milliseconds
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, compare
from infra.bench.system import scratch_home
from models.index import LiveIndex
from models.recommendation.data import load_feedback
from models.recommendation.feedback import Feedback
from models.recommendation.interactions import make_log
from models.recommendation.labels import label
from models.recommendation.ranker import RankerConfig
from models.recommendation.system import QUICK, FullSystem, quick_system
from models.recommendation.towers import TowerConfig
from models.recommendation.two_tower import TwoTower
from models.recommendation.weights import load_model, save_model
from monitoring.recorder import Recorder
from serving.exchange import Exchange
from serving.recommendation.columns import SPECIFICATION
from serving.recommendation.generators import TwoTower as TwoTowerSearch
from serving.recommendation.live_state import LiveState
from serving.recommendation.opening import state_of
from serving.recommendation.ports import Viewer
from serving.recommendation.recommend import Recommender, RecommendQuery
from serving.recommendation.served_state import ServedState
from serving.recommendation.trained.parts import SystemOver, system_over
from serving.recommendation.trained.system import TrainedSystem, system_of
from serving.traces import TraceStore
from storage.catalogue import Catalogue

DIM = 64
LIMIT = 250  # asked of a generator
WITH, WITHOUT, SEARCH = "answer with a trained system", "answer without one", "two towers' search"
_LATE_S = 5.0  # what takes long is to be measured, not left out
_EPOCH_S = 1_700_000_000.0


def run(options: BenchOptions) -> BenchResult:
    """Time answers, then searches. Recall is measured against exact searches of the same vectors."""
    repeats, requests = (1, 50) if options.quick else (options.repeats, 400)
    count = 20_000 if options.quick else 1_000_000
    samples: dict[str, list[list[float]]] = {WITH: [], WITHOUT: [], SEARCH: []}
    feedback, data = _feedback()
    with scratch_home() as home:
        state = _state(feedback)
        over = system_over(_trained(feedback, home), state, ("content",))
        over.catch_up()
        options.report(f"a quick system over {len(state.audience)} users and {state.videos.rows} videos of {data}")
        with _recommender(state, home, over, feedback.users) as ask:
            for number in range(repeats):
                for name in (WITHOUT, WITH):
                    samples[name].append(ask(name == WITH, requests, number))
                    options.report(f"{name}: p99 {milliseconds(samples[name][-1], 99):.1f} ms")
        over.close()
    search, recall = _search(count)
    for number in range(repeats):
        samples[SEARCH].append(search(requests, number))
        options.report(
            f"{count:,} videos: p99 {milliseconds(samples[SEARCH][-1], 99):.1f} ms, recall@{LIMIT} {recall:.3f}"
        )
    measurements = [
        Measurement(f"{name}, p{share}", "ms", "lower", tuple(milliseconds(rounds, share) for rounds in found))
        for name, found in samples.items()
        for share in (50, 99)
    ]
    return BenchResult(
        name="trained",
        title="What a trained system costs an answer",
        command="riverlight bench run trained",
        measurements=tuple(measurements),
        comparisons=(compare(measurements, f"{WITH}, p50", f"{WITHOUT}, p50"),),
        details={"data": data, "requests": requests, "searched_videos": count, "recall": round(recall, 3)},
        notes=(
            f"One process, one request at a time, no HTTP; {requests} answers of ten a repetition, of random users.",
            f"The search is among random unit vectors of {DIM} dimensions, the hardest kind: none is near another. It "
            f"finds {LIMIT} and looks up which may be shown.",
        ),
    )


BENCHMARK = Benchmark("trained", "what a trained system costs an answer; two towers among a million videos", run)


def _feedback() -> tuple[Feedback, str]:
    """Return MovieLens 100K where it is installed, else random feedback of its size; and which it is."""
    try:
        return load_feedback(Path("var")).feedback, "MovieLens 100K"
    except RiverlightError:
        draw = np.random.default_rng(7)
        users, items, times = draw.integers(0, 943, 100_000), draw.zipf(1.3, 100_000) % 1682, draw.random(100_000) * 1e7
        pairs = {(int(user), int(item)): at for user, item, at in zip(users, items, times, strict=True)}
        log = make_log(
            [f"u{user}" for user, _ in pairs],
            [f"i{item}" for _, item in pairs],
            _EPOCH_S + np.array(list(pairs.values())),
            values=draw.integers(1, 6, len(pairs)).astype(np.float32),
        )
        return label(log), "random feedback of the size of MovieLens 100K"


def _trained(feedback: Feedback, home: Path) -> TrainedSystem:
    config = replace(QUICK, held_out=1, tune_epochs=1, ranker=RankerConfig(epochs=1))
    system = FullSystem(config, [TwoTower(TowerConfig(epochs=1)), *quick_system().generators[1:]])
    system.fit(feedback)
    save_model(system, feedback, home / "model.safetensors")
    return system_of(load_model(home / "model.safetensors"), "recommendation-quick-system/bench")


def _state(feedback: Feedback) -> LiveState:
    state = state_of(RecommendationSettings())
    first_s = float(feedback.time[0]) - 1
    for item in feedback.items:
        state.apply(_uploaded(item, first_s))
    rows = zip(feedback.user, feedback.item, feedback.time, feedback.label, strict=True)
    for number, (user, item, time_s, liked) in enumerate(rows):
        data = Interaction(user_id=feedback.users[user], item_id=feedback.items[item])
        kind = Like if liked > 0 else Dislike
        state.apply(_event(partial(kind, data=data), data.user_id, number, float(time_s)))
    return state


def _uploaded(item_id: str, time_s: float) -> AnyEvent:
    upload = Upload(
        item_id=item_id, owner_id=f"by-{item_id}", kind="video", media_id=f"{hash(item_id) & 2**63 - 1:064x}"
    )
    return _event(partial(UploadCreated, data=upload), item_id, 0, time_s)


def _event(make: Callable[..., AnyEvent], subject: str, number: int, time_s: float) -> AnyEvent:
    at = datetime.fromtimestamp(time_s, UTC)
    return make(id=f"{subject}-{number}", source="bench", time=at, subject=subject)


@contextmanager
def _recommender(
    state: LiveState, home: Path, over: SystemOver, people: Sequence[str]
) -> Iterator[Callable[[bool, int, int], list[float]]]:
    """Give a function that asks with or without the system, so many times, and returns the seconds of each answer."""
    traces = TraceStore(Catalogue.open(f"sqlite:///{home / 'catalogue.db'}", CatalogueSettings()))
    is_trained = True
    recommender = Recommender(
        served=ServedState(state),
        ready=lambda: (True, ""),
        traces=traces,
        settings=RecommendationSettings(generator_deadline_s=_LATE_S, ranker_deadline_s=_LATE_S),
        recorder=Recorder(),
        clock=SystemClock(),
        trained=lambda _: over.parts if is_trained else None,
    )

    async def ask_all(requests: int, seed: int) -> list[float]:
        taken = []
        for user_id in np.random.default_rng(seed).choice(list(people), requests):
            began = time.perf_counter()
            await recommender.recommend(RecommendQuery(str(user_id), 10), Exchange())
            taken.append(time.perf_counter() - began)
        return taken

    def ask(trained: bool, requests: int, seed: int) -> list[float]:
        nonlocal is_trained
        is_trained = trained
        return asyncio.run(ask_all(requests, seed))

    try:
        yield ask
    finally:
        recommender.close()
        traces.close()


class _Given:
    """A tower that says the vector it was given."""

    version = "bench"

    def __init__(self) -> None:
        self.vector: NDArray[np.float32] = np.zeros(DIM, np.float32)

    def user_vector(self, viewer: Viewer) -> NDArray[np.float32]:
        return self.vector


def _search(count: int) -> tuple[Callable[[int, int], list[float]], float]:
    """Index random unit vectors; return a function that times searches, and the recall of fifty of them."""
    draw = np.random.default_rng(11)
    state, index, tower = state_of(RecommendationSettings()), LiveIndex(DIM, "bench", IndexSettings()), _Given()
    vectors = _unit(draw.normal(size=(count, DIM)))
    _fill(state, [f"v{number}" for number in range(count)])
    for number, vector in enumerate(vectors):
        index.apply(_entry(f"v{number}", vector))
    index.settle(600)
    generator, viewer = TwoTowerSearch(state, tower, index), Viewer("somebody", datetime.now(UTC))

    def propose(query: NDArray[np.float32]) -> NDArray[np.int64]:
        tower.vector = query
        return generator.propose(viewer, LIMIT).rows

    def search(requests: int, seed: int) -> list[float]:
        taken = []
        for query in _unit(np.random.default_rng(seed).normal(size=(requests, DIM))):
            began = time.perf_counter()
            propose(query)
            taken.append(time.perf_counter() - began)
        return taken

    shares = []
    for query in _unit(draw.normal(size=(50, DIM))):
        nearest = np.argpartition(-(vectors @ query), LIMIT)[:LIMIT]
        shares.append(len(np.intersect1d(propose(query), nearest)) / LIMIT)
    index.close()
    return search, float(np.mean(shares))


def _fill(state: LiveState, item_ids: list[str]) -> None:
    """Have videos of which nothing is known but their ids: restored, which takes seconds where events take minutes."""
    nothing: dict[str, NDArray[Any]] = {"rows": np.zeros(0, np.int32), "lengths": np.zeros(0, np.int64)}
    arrays: dict[str, NDArray[Any]] = {
        name: np.full((len(item_ids), *shape), fill, dtype) for name, (dtype, shape, fill) in SPECIFICATION.items()
    }
    arrays |= {f"{name}.{part}": empty for name in ("by_word", "by_creator") for part, empty in nothing.items()}
    names = dict.fromkeys(("creators", "languages", "categories", "tag_names", "region_sets", "withheld"), ())
    state.videos.restore(arrays, {"item_ids": item_ids, "titles": [""] * len(item_ids), **names})


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _entry(item_id: str, vector: NDArray[np.float32]) -> IndexEntry:
    return IndexEntry(
        item_id=item_id,
        version=Version(1, 0),
        kind="video",
        media_id="",
        owner_id="",
        vector=pack_vector(vector),
        model_version="bench",
        event_id="",
    )
