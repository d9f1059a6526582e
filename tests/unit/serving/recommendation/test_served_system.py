"""Which trained system answers: promoted versions take over while answers go on, and a bad one changes nothing."""

import asyncio
import math
import threading
import time

import pytest

from core.clock import SystemClock
from core.events import encode
from models.registry.manifest import WEIGHTS
from monitoring.catalogue import MODEL_CREATED, MODEL_LOADS
from monitoring.recorder import Recorder
from serving.exchange import Exchange
from serving.recommendation.opening import open_recommender
from serving.recommendation.recommend import Recommender, RecommendQuery
from serving.recommendation.scoring import BLEND
from serving.recommendation.served_state import ServedState
from serving.recommendation.topic_log import STREAMS
from serving.recommendation.trained.served import ServedSystem
from tests.fakes.entry_log import MemoryEntryLog
from tests.unit.serving.recommendation import live_events as ev
from tests.unit.serving.recommendation.answering_world import StoppedClock
from tests.unit.serving.recommendation.trained_world import NAME, NEW, feedback, live_state, register, registry_in


@pytest.fixture
def registry(tmp_path):
    return registry_in(tmp_path)


@pytest.fixture
def make(registry):
    made = []

    def make(reference=f"{NAME}@champion"):
        served = ServedState(live_state())
        clock, recorder = StoppedClock(), Recorder()
        system = ServedSystem(
            registry,
            reference,
            served,
            check_s=5.0,
            scored_whole=1_000,
            live_names=("content", "popular"),
            recorder=recorder,
            clock=clock,
        )
        system.state, system.clock, system.recorder, system.served = served.current, clock, recorder, served
        made.append(system)
        return system

    yield make
    for one in made:
        one.close()


def look(system, after_s=5.0):
    system.clock.forward(after_s)
    system.look()
    parts = system.parts(system.served.current)
    return parts.version if parts is not None else None


def until(holds, within_s=20.0):
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def counts(system):
    """Return the looks at the registry that came to something, by outcome."""
    outcomes = ("loaded", "refused", "failed", "missing")
    found = {one: system.recorder.value(MODEL_LOADS, system="recommendation", outcome=one) for one in outcomes}
    return {outcome: int(number) for outcome, number in found.items() if number}


def test_nothing_is_served_while_nothing_is_registered_and_then_it_is(make, registry, tmp_path):
    system = make()
    assert look(system) is None
    assert "no model 'recommendation-quick-system' is registered" in system.describe()["problem"]
    label = register(registry, tmp_path / "a", promote=False)
    assert look(system) is None
    assert "has no champion" in system.describe()["problem"]
    registry.promote(NAME, label.split("/")[1])
    assert look(system, after_s=1.0) is None  # it looks every 5 s
    assert counts(system) == {"missing": 2}
    assert look(system, after_s=4.0) == label
    assert counts(system) == {"missing": 2, "loaded": 1}
    told = system.describe()
    assert (told["version"], told["problem"], told["items"], told["new_videos"]) == (label, None, 30, 12)
    assert system.recorder.value(MODEL_CREATED, version=label) > 0


def test_a_promotion_and_a_rollback_are_followed(make, registry, tmp_path):
    system = make()
    first = register(registry, tmp_path / "a")
    assert look(system) == first
    parts = system.parts(system.state)
    assert look(system) == first
    assert system.parts(system.state) is parts  # nothing was exchanged
    second = register(registry, tmp_path / "b", popular=2.0)
    assert second != first
    assert look(system) == second
    assert math.isnan(system.recorder.value(MODEL_CREATED, version=first))
    registry.rollback(NAME)
    assert look(system) == first
    assert counts(system) == {"loaded": 3}


def test_a_version_can_be_pinned(make, registry, tmp_path):
    first = register(registry, tmp_path / "a")
    system = make(f"{NAME}@{first.split('/')[1]}")
    register(registry, tmp_path / "b", popular=2.0)
    assert look(system) == first


def test_damaged_weights_change_nothing_until_they_are_restored(make, registry, tmp_path):
    system = make()
    first = register(registry, tmp_path / "a")
    assert look(system) == first
    second = register(registry, tmp_path / "b", popular=3.0)
    file = registry.show(NAME).folder / WEIGHTS
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert look(system) == first
    assert "SHA-256" in system.describe()["problem"] and "damaged" in system.describe()["problem"]
    assert look(system, after_s=60.0) == first
    assert counts(system) == {"loaded": 1, "refused": 2}
    file.write_bytes(whole)
    assert look(system) == first  # it is not tried again at once
    assert counts(system) == {"loaded": 1, "refused": 2}
    assert look(system, after_s=60.0) == second
    assert system.describe()["problem"] is None


def test_another_kind_of_model_is_refused_in_words(make, registry, tmp_path, monkeypatch):
    system = make()
    register(registry, tmp_path / "a")
    monkeypatch.setattr("models.recommendation.weights._build", lambda described: _Alone())
    assert look(system) is None
    assert "alone" in system.describe()["problem"]


def test_a_defect_of_ours_is_counted_and_said_and_the_thread_goes_on(make, registry, tmp_path, monkeypatch):
    register(registry, tmp_path / "a")
    system = make()
    broken = threading.Event()

    def load_system(version):
        broken.set()
        raise KeyError("a defect")

    monkeypatch.setattr("serving.recommendation.trained.system.load_system", load_system)
    system.start()
    assert broken.wait(20)
    until(lambda: counts(system))
    assert counts(system) == {"failed": 1}
    assert "KeyError('a defect')" in system.describe()["problem"]
    monkeypatch.undo()
    system.clock.forward(5.0)
    until(lambda: "loaded" in counts(system))
    assert counts(system) == {"failed": 1, "loaded": 1}


class _Alone:
    name = "ease"

    def restore(self, state):
        pass


def test_the_system_is_over_another_state_before_that_answers(make, registry, tmp_path):
    system = make()
    label = register(registry, tmp_path / "a")
    assert look(system) == label
    another, asked = live_state(), []
    system.served.before_another(lambda state: asked.append(system.parts(state).version))
    system.served.serve(another)
    assert asked == [label]
    assert system.parts(another).version == label
    assert system.parts(system.state) is not None  # who still answers from the state before does so
    ahead = system.parts(another)
    assert look(system, after_s=0.1) == label
    assert system.parts(another) is ahead  # it was not made twice
    assert system.parts(system.state) is None
    assert system.describe()["new_videos"] == 12
    system.served.serve(another)
    assert asked == [label]  # the follower says so whenever it has read more


def test_many_states_one_after_the_other_before_anybody_looked_each_have_the_system(make, registry, tmp_path):
    version = register(registry, tmp_path / "a")
    system = make()
    assert look(system) == version
    states, meanwhile = [live_state() for _ in range(4)], []
    system.served.before_another(lambda _: meanwhile.append(system.parts(system.served.current).version))
    for state in states:
        system.served.serve(state)
        assert system.parts(state).version == version
    assert meanwhile == [version] * 4, "what answers until then needs it, too"
    assert look(system, after_s=0.1) == version
    assert [system.parts(state) for state in states[:-1]] == [None] * 3, "they are not kept"


def test_a_state_is_served_even_where_the_system_cannot_be_put_over_it(make, registry, tmp_path, monkeypatch):
    system = make()
    label = register(registry, tmp_path / "a")
    assert look(system) == label

    def system_over(*args, **options):
        raise RuntimeError("a defect")

    monkeypatch.setattr("serving.recommendation.trained.parts.system_over", system_over)
    another = live_state()
    system.served.serve(another)
    assert system.served.current is another
    assert system.parts(another) is None
    monkeypatch.undo()
    assert look(system, after_s=0.1) == label


def test_a_promotion_and_another_state_at_once(make, registry, tmp_path):
    """The new version is made over the state of now; the one before answers until then, whichever state that is."""
    system = make()
    first = register(registry, tmp_path / "a")
    assert look(system) == first
    second = register(registry, tmp_path / "b", popular=2.0)
    another = live_state()
    system.served.serve(another)
    assert system.parts(another).version == first
    assert look(system) == second
    third = live_state()
    system.served.serve(live_state())
    system.served.serve(third)  # before anybody has looked
    assert system.parts(third).version == second
    assert look(system, after_s=0.1) == second
    assert system.parts(another) is None
    register(registry, tmp_path / "c", popular=3.0)
    version = look(system)
    assert version not in (first, second)
    assert system.parts(third).version == version


def test_it_is_ready_once_it_has_looked(make, registry, tmp_path):
    label = register(registry, tmp_path / "a")
    system = make()
    assert system.ready() == (False, f"{NAME}@champion is being loaded")
    system.start()
    until(lambda: system.ready()[0])
    assert system.ready() == (True, "")
    assert system.parts(system.state).version == label


async def test_versions_are_exchanged_between_answers_and_no_answer_is_without_one(
    make, registry, tmp_path, make_answering
):
    """Answers go on all the while; each is by one version, and none is degraded."""
    system = make()
    labels = [register(registry, tmp_path / "a"), register(registry, tmp_path / "b", popular=2.0)]
    assert look(system) == labels[1]
    world = make_answering(generator_deadline_s=5.0, ranker_deadline_s=5.0)
    recommender = Recommender(
        served=system.served,
        ready=lambda: (True, ""),
        traces=world.traces,
        settings=world.settings,
        recorder=system.recorder,
        clock=world.clock,
        trained=system.parts,
    )
    stop = threading.Event()

    def promote():
        at = 0
        while not stop.wait(0.05):
            registry.promote(NAME, labels[at % 2].split("/")[1])
            look(system)
            at += 1

    thread = threading.Thread(target=promote)
    thread.start()
    seen = []
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (len(seen) < 200 or len(set(seen)) < 2):
            answer = await recommender.recommend(RecommendQuery(f"u{len(seen) % 40}", 5), Exchange())
            assert (answer.degraded, len(answer.results)) == ((), 5)
            assert answer.scored_by != BLEND
            for verdict in answer.verdicts()[:5]:
                assert "pick" in verdict.objectives or "blend" in verdict.objectives
            seen.append(answer.scored_by)
            await asyncio.sleep(0.005)
    finally:
        stop.set()
        thread.join()
        recommender.close()
    assert set(seen) == set(labels)
    [kept] = [world.traces.get(answer.trace_id)]
    assert kept.payload["scored_by"] == answer.scored_by
    assert "ease" in kept.payload["generators"]


async def test_no_answer_is_a_blend_while_the_log_is_read_again(registry, tmp_path, make_answering):
    """A system answers all through rebuilds of the live state, and takes part in every answer."""
    label = register(registry, tmp_path / "a")
    world = make_answering(generator_deadline_s=5.0, ranker_deadline_s=5.0)
    logs = {stream: MemoryEntryLog() for stream in STREAMS}
    for item in (*feedback().items, *NEW):
        logs["uploads"].append(item, encode(ev.created(item, 0, owner_id=f"by-{item}")))
    running = open_recommender(
        world.settings,
        logs,
        folder=tmp_path / "states",
        traces=world.traces,
        recorder=Recorder(),
        clock=SystemClock(),
        at_once=4,
        restrictions=world.restrictions,
        registry=registry,
    )
    running.start()
    recommender, follower = running.recommender, running.follower
    stop, rebuilt = threading.Event(), []

    def rebuild():
        while not stop.wait(0.05):
            rebuilt.append(follower.start_again())

    thread = threading.Thread(target=rebuild)
    try:
        deadline = time.monotonic() + 20
        await asyncio.to_thread(until, lambda: follower.ready()[0] and running.model.ready()[0])
        thread.start()
        seen = []
        while time.monotonic() < deadline and (len(seen) < 200 or len(rebuilt) < 5):
            answer = await recommender.recommend(RecommendQuery(f"u{len(seen) % 40}", 5), Exchange())
            seen.append((answer.scored_by, answer.degraded, len(answer.results)))
            await asyncio.sleep(0.005)
    finally:
        stop.set()
        if thread.is_alive():
            thread.join()
        running.close()
    assert set(seen) == {(label, (), 5)}
    assert len(rebuilt) >= 5
