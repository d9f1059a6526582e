"""G39: homepages while generators and ranker hang and fail, Redis is away, and the gateway is killed."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import httpx

from core.errors import ConfigurationError, Unavailable
from infra.chaos.answers import AnswerWatch, Question, Shown
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.processes import Part
from infra.chaos.proxy import Fault, FaultProxy
from infra.chaos.replicas import keep_down
from infra.chaos.result import Outcome
from infra.chaos.slow_recommender import GENERATORS, HANGS, RAISES, RANKER, Trouble
from infra.chaos.stage import ARCHIVE, FEATURES, READY_S, Stage
from infra.chaos.steady_load import percentile
from infra.chaos.viewers import PASTS
from infra.ports import free_port
from infra.redis_server import RedisServer, find_redis

ANSWER_MS = 200.0
BACK_S = 60.0
RATE = 40
USERS = 20
_KILLED = "gateway killed"
_SLOW_S = 2.5  # for each answer of Redis


@dataclass(frozen=True)
class Trial:
    """One fault: what is done before and after it, and which parts answers must say they had to do without."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    without: str = ""


def play(play: Play) -> Outcome:
    fault_s, calm_s = play.pick(10.0, 3.0), play.pick(5.0, 2.0)
    redis_port = free_port()
    with FaultProxy("127.0.0.1", redis_port) as proxy:
        features = {"online_store": "redis", "redis_url": f"127.0.0.1:{proxy.port}"}
        with play.stage(features=features) as stage:
            server = RedisServer(find_redis(stage.tools), stage.home / "redis", redis_port)
            try:
                server.start()
                serve = stage.encoder(recommender=True)
                if serve is None:
                    raise ConfigurationError("there is no gateway, and so no homepage (--no-uploads)")
                trials = _trials(stage, serve, server, proxy)
                return _homepages(play, stage, trials, fault_s, calm_s)
            finally:
                server.stop()


def _homepages(play: Play, stage: Stage, trials: Sequence[Trial], fault_s: float, calm_s: float) -> Outcome:
    stage.worker("behaviour", (FEATURES, ARCHIVE)).wait_ready(READY_S)
    seconds = (fault_s + calm_s) * len(trials) + 2 * calm_s
    plan = Plan(int(RATE * seconds), upload_share=0.15, uploaded="video", users=USERS, frame_share=0.0)
    ledger = stage.ledger(plan)
    _wait_recommender(stage)
    producer = stage.produce(ledger.sent, rate=RATE, batch=4)
    spans: dict[str, tuple[float, float]] = {}
    with AnswerWatch(stage.http_url, stage.broker.bootstrap, _homepage_of(stage.run), stage.run, PASTS) as watch:
        begun = time.monotonic()
        time.sleep(2 * calm_s)
        spans["calm"] = (begun + calm_s, time.monotonic())
        for number, trial in enumerate(trials):
            play.timeline.add(trial.name)
            since = time.monotonic()
            trial.begin()
            time.sleep(max(0.0, since + fault_s - time.monotonic()))
            spans[trial.name] = (since, time.monotonic())
            trial.end()
            play.timeline.add("all is as it was")
            time.sleep(calm_s)
            play.progress((number + 1) / (len(trials) + 1))
        producer.wait(120)
        back_s = _wait_recommender(stage)
        time.sleep(calm_s)
    verdict, _ = stage.settle(ledger.model(), 120)
    late = watch.late()
    figures = {**watch.figures(), **_by_span(watch.answers, spans)}
    broken = _broken(watch.answers, spans, trials)
    if late:
        broken += (f"{len(late)} times something was shown after 1 s: {late[0]}",)
    down_s = _outage_s(watch.answers, spans[_KILLED][0])
    if down_s > BACK_S:
        broken += (f"{down_s:.0f} s without homepages after the gateway was killed, promised {BACK_S:g} s",)
    figures["back_after_the_kill_s"] = down_s
    notes = (
        "troubles are planted in the generators and the ranker of a service that is real otherwise; where no trained "
        "model is served, a ranker of a few lines stands for it. Redis and its death are real",
        f"a homepage is asked for ten times a second by one of {USERS} viewers; milliseconds are those of the client",
        "time to recover: from the kill of the gateway's only replica to the first homepage after it",
    )
    return Outcome(
        ledger.events, verdict, max(down_s, back_s), broken, figures, (*stage.took_part(), "redis-server"), notes
    )


def _trials(stage: Stage, serve: Part, server: RedisServer, proxy: FaultProxy) -> list[Trial]:
    trouble = Trouble(stage.home)

    def kill() -> None:
        if not keep_down(serve, "gateway", 0.2, stage.timeline):
            serve.kill()  # it is the gateway itself, without Ray Serve

    def back() -> None:
        _wait_recommender(stage)

    return [
        Trial("generators hang", partial(trouble.set, **{GENERATORS: HANGS}), trouble.set, "generators"),
        Trial("ranker hangs", partial(trouble.set, **{RANKER: HANGS}), trouble.set, "ranker"),
        Trial("both fail", partial(trouble.set, **{GENERATORS: RAISES, RANKER: RAISES}), trouble.set, "generators"),
        Trial("redis killed", server.stop, server.start),
        Trial("redis slow", partial(proxy.set, Fault(delay_s=_SLOW_S)), partial(proxy.set, Fault())),
        Trial(_KILLED, kill, back),
    ]


def _homepage_of(run: str) -> Callable[[int], Question]:
    def question(number: int) -> Question:
        viewer = f"{run}-user-{number % USERS}"
        return Question("homepage", "GET", f"/v1/recommendations/{viewer}?k=50", viewer=viewer)

    return question


def _wait_recommender(stage: Stage, timeout_s: float = 120) -> float:
    """Return how long it took until a homepage was answered. Raises Unavailable."""
    begun = time.monotonic()
    with httpx.Client(base_url=stage.http_url, timeout=5, trust_env=False) as client:
        while time.monotonic() - begun < timeout_s:
            with suppress(httpx.HTTPError):
                if client.get("/v1/recommendations/nobody").is_success:
                    return time.monotonic() - begun
            time.sleep(0.1)
    raise Unavailable(f"no homepage within {timeout_s:g} s")


def _within(answers: Sequence[Shown], span: tuple[float, float]) -> list[Shown]:
    return [one for one in answers if span[0] <= one.begun_s and one.ended_s <= span[1]]


def _by_span(answers: Sequence[Shown], spans: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, span in spans.items():
        found = _within(answers, span)
        good = [one for one in found if one.status == 200]
        named = name.replace(" ", "_")
        figures[f"{named}_answers"] = len(found)
        figures[f"{named}_given"] = len(good)
        figures[f"{named}_degraded"] = sum(bool(one.degraded) for one in good)
        figures[f"{named}_ms_p99"] = 1000 * percentile([one.ended_s - one.begun_s for one in good], 99)
    return figures


def _broken(
    answers: Sequence[Shown], spans: Mapping[str, tuple[float, float]], trials: Sequence[Trial]
) -> tuple[str, ...]:
    broken: tuple[str, ...] = ()
    took_s: list[float] = []
    for trial in trials:
        found = _within(answers, spans[trial.name])
        if trial.name == _KILLED:
            continue
        good = [one for one in found if one.status == 200]
        if not good or len(good) < len(found):
            broken += (f"{trial.name}: {len(found) - len(good)} of {len(found)} homepages were not given",)
            continue
        took_s += [one.ended_s - one.begun_s for one in good]
        whole = sum(not one.degraded for one in good[5:])  # the first ones may have been on their way
        if trial.without and whole:
            broken += (f"{trial.name}: {whole} homepages do not say that they did without",)
    slowest = 1000 * percentile(took_s, 99)  # of all troubles together: of one there are too few for a hundredth
    if slowest > ANSWER_MS:
        broken += (f"p99 of homepages in trouble {slowest:.0f} ms, promised {ANSWER_MS:g} ms",)
    return broken


def _outage_s(answers: Sequence[Shown], since_s: float) -> float:
    """Return how long after a moment the first answer came that was asked for after the last that failed."""
    failed = [one.ended_s for one in answers if one.begun_s >= since_s - 1 and one.status != 200]
    if not failed:
        return 0.0
    back = [one.ended_s for one in answers if one.begun_s >= max(failed) and one.status == 200]
    return (min(back) if back else float("inf")) - since_s


GOAL = Goal(
    name="G39",
    title="Recommender in trouble",
    what="While people watch, like and hide videos and owners take theirs away, homepages are asked for all the time. "
    "For ten seconds each, the generators hang, the ranker hangs, and both fail; Redis is killed, then slow; then the "
    "gateway is killed.",
    promise=f"but for the gateway's absence every homepage is given, 99 % within {ANSWER_MS:g} ms, and says what it "
    "did without; what a viewer has seen and what was hidden or deleted is in no answer after 1 s, the new gateway's "
    f"included, which answers within {BACK_S:g} s; afterwards every interaction is counted once",
    play=play,
)
