"""G12: replicas of the gateway and of the encoder are killed while they answer."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec

from core.errors import ConfigurationError, Unavailable
from core.events import encode_frame
from infra.chaos.goal import Goal, Play
from infra.chaos.http_load import Batch, CollectorLoad
from infra.chaos.ledger import Plan
from infra.chaos.replicas import RandomKiller, replica_pids
from infra.chaos.result import Outcome
from infra.chaos.stage import ARCHIVE, FEATURES, READY_S, Stage
from infra.chaos.steady_load import Answer, Call, SteadyLoad, counted, disturbed_s, percentile
from monitoring.canary import canary_image

SUCCESS = 0.995
RATE = 20.0
EVERY_S = 10.0
REPLICAS = 2
EVENTS_A_CALL = 5
DEPLOYMENTS = ("gateway", "image-encoder")


def play(play: Play) -> Outcome:
    kills = play.pick(12, 2)
    serving = {f"{name}_replicas": REPLICAS for name in ("gateway", "encoder")}
    with play.stage(serving=serving) as stage:
        if not stage.on_ray_serve:
            raise ConfigurationError("replicas that are started again are Ray Serve's, which was left out")
        serve = stage.encoder()
        assert serve is not None
        wanted = dict.fromkeys(DEPLOYMENTS, REPLICAS)
        _wait_replicas(stage, wanted)
        stage.worker("behaviour", (FEATURES, ARCHIVE)).wait_ready(READY_S)
        calls = int(RATE * EVERY_S * (kills + 2))
        ledger = stage.ledger(Plan(calls * EVENTS_A_CALL // 2, upload_share=0.0, frame_share=0.0))
        events = [event for one in ledger.sent for event in one.good]
        batches = [
            Batch(tuple(event.id for event in some), encode_frame(some))
            for some in (events[start : start + EVENTS_A_CALL] for start in range(0, len(events), EVENTS_A_CALL))
        ]
        killer = RandomKiller(serve, DEPLOYMENTS, stage.rng, play.timeline)
        stopped, kills_at_s = "", list[float]()
        with SteadyLoad(stage.http_url, _mixed(stage, batches), RATE) as load:
            time.sleep(EVERY_S / 2)
            for number in range(kills):
                begun = time.monotonic()
                kills_at_s.append(begun - load.began)
                try:
                    killer.kill()
                except Unavailable as error:
                    stopped = str(error)
                play.progress(number / (kills + 1))
                time.sleep(max(0.0, begun + EVERY_S - time.monotonic()))
        _wait_replicas(stage, wanted)
        answers = load.answers
        recover_s = disturbed_s(answers, list(pairwise([*kills_at_s, float("inf")])))
        _send_again(stage, batches, answers)
        verdict, _ = stage.settle(ledger.model(), play.pick(120, 60))
        good = sum(answer.good for answer in answers)
        broken: tuple[str, ...] = ()
        if good < SUCCESS * len(answers):
            broken += (f"{good} of {len(answers)} calls succeeded ({good / len(answers):.2%}), promised {SUCCESS:.1%}",)
        if len(answers) != load.begun:
            broken += (f"{load.begun} calls were begun and {len(answers)} ended",)
        if stopped:
            broken += (stopped,)
        figures = {
            "kills": killer.kills,
            "kills_of_the_only_replica": killer.lone_kills,
            "calls": len(answers),
            "calls_succeeded": good,
            "success_share": good / len(answers),
            "ms_p99": 1000 * percentile([answer.took_s for answer in answers], 99),
            "replicas_of_each": REPLICAS,
        }
        notes = (
            f"calls that failed: {counted(answers)}",
            "no call is repeated by the client before it is counted; afterwards, events that were not accepted are "
            "sent again, and each must be applied once",
            "time to recover: from a kill to the last answer before the next one that was not a success",
        )
        return Outcome(ledger.events, verdict, recover_s, broken, figures, stage.took_part(), notes)


def _mixed(stage: Stage, batches: Sequence[Batch]) -> Callable[[int], Call]:
    """Return the calls: every other one brings events, the rest are searches that need gateway and encoder."""
    media = stage.store([canary_image(stage.seed * 1000 + number) for number in range(20)])
    rng = random.Random(stage.seed + 5)

    def call(number: int) -> Call:
        if number % 2 and number // 2 < len(batches):
            batch = batches[number // 2]
            return Call("events", "/v1/events/interactions", batch.body, batch.ids)
        body = {"media_id": rng.choice(media), "crop": [0.1, 0.1, 0.8, 0.8], "k": 5}
        return Call("search", "/v1/search/images", msgspec.json.encode(body))

    return call


def _wait_replicas(stage: Stage, wanted: dict[str, int]) -> float:
    """Return how long it took until every deployment had its replicas, and the gateway said that it is ready."""
    begun = time.monotonic()
    serve = stage.parts["serve"]
    found: dict[str, int] = {}
    while time.monotonic() - begun < READY_S:
        found = {name: len(replica_pids(serve, name)) for name in wanted}
        if found == wanted and not serve.why_unready():
            return time.monotonic() - begun
        time.sleep(0.2)
    raise Unavailable(f"after {READY_S:g} s there are {found} replicas, should be {wanted}")


def _send_again(stage: Stage, batches: Sequence[Batch], answers: Sequence[Answer]) -> None:
    """Send what was not accepted, or not sent at all, until it is accepted."""
    accepted = {answer.call.ids for answer in answers if answer.good}
    load = CollectorLoad(stage.settings.http.host, stage.settings.http.port, ())
    load.uncertain = [batch for batch in batches if batch.ids not in accepted]
    asyncio.run(load.settle())


GOAL = Goal(
    name="G12",
    title="Killed replicas",
    what=f"At {RATE:g} calls a second (searches that need the encoder, and events), a replica gets SIGKILL every "
    f"{EVERY_S:g} s for two minutes: of the gateway and of the encoder in turns, of which there are two each.",
    promise=f"at least {SUCCESS:.1%} of the calls succeed at their first try; every event that was accepted is applied "
    "once; Serve replaces what was killed",
    play=play,
)
