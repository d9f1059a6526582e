"""G16: five times what the collector can take."""

import asyncio
import time
from dataclasses import replace

from core.errors import ConfigurationError
from core.events import encode_frame
from infra.chaos.goal import Goal, Play
from infra.chaos.http_load import Batch, CollectorLoad, Tally
from infra.chaos.ledger import Plan
from infra.chaos.processes import MemorySampler
from infra.chaos.result import Outcome
from infra.chaos.stage import ARCHIVE, FEATURES, READY_S

TIMES = 5
GOODPUT = 0.8
MEMORY_MB = 100.0
RECOVERED_S = 10.0
EVENTS_A_CALL = 100
_CLIENTS = 8
_CONNECTIONS = 200


def play(play: Play) -> Outcome:
    measure_s, overload_s = play.pick(5.0, 0.5), play.pick(20.0, 3.0)
    with play.stage() as stage:
        gateway = stage.encoder()
        if gateway is None:
            raise ConfigurationError("the collector is part of the gateway, which was left out (--no-uploads)")
        stage.worker("behaviour", (FEATURES, ARCHIVE)).wait_ready(READY_S)
        ledger = stage.ledger(Plan(play.pick(800_000, 80_000), upload_share=0.0, frame_share=0.0, users=2_000))
        events = [event for one in ledger.sent for event in one.good]
        batches = [
            Batch(tuple(event.id for event in some), encode_frame(some))
            for some in (events[start : start + EVENTS_A_CALL] for start in range(0, len(events), EVENTS_A_CALL))
        ]
        load = CollectorLoad(stage.settings.http.host, stage.settings.http.port, batches)

        async def overload() -> tuple[float, Tally, float, float]:
            await load.closed_loop(_CLIENTS, measure_s / 2, leave=len(batches) * 3 // 4)  # warm
            calm = await load.closed_loop(_CLIENTS, measure_s, leave=len(batches) // 2)
            play.progress(0.2)
            capacity = calm.accepted_events / calm.took_s
            play.timeline.add(f"capacity: {capacity:,.0f} events a second; now {TIMES} times that")
            spent_s = time.process_time()
            pressed = await load.open_loop(TIMES * capacity / EVENTS_A_CALL, overload_s, _CONNECTIONS)
            processors = (time.process_time() - spent_s) / pressed.took_s
            play.timeline.add("the overload is over")
            recovered_s = await load.until_well(10, 1.0, 60)
            await load.settle()
            return capacity, pressed, recovered_s, processors

        with MemorySampler(gateway) as memory:
            capacity, pressed, recovered_s, processors = asyncio.run(overload())
        play.progress(0.7)
        accepted = tuple(
            replace(one, good=kept)
            for one in ledger.sent
            if (kept := tuple(event for event in one.good if event.id in load.accepted))
        )
        model = replace(ledger, sent=accepted).model()
        verdict, _ = stage.settle(model, play.pick(300, 60))
        goodput = pressed.accepted_events / pressed.took_s / capacity
        growth_mb = memory.growth_mb
        broken: tuple[str, ...] = ()
        if goodput < GOODPUT:
            broken += (f"goodput was {goodput:.0%} of capacity, promised {GOODPUT:.0%}",)
        if growth_mb > MEMORY_MB:
            broken += (f"memory grew by {growth_mb:.0f} MB, promised at most {MEMORY_MB:g}",)
        if recovered_s > RECOVERED_S:
            broken += (f"calm again after {recovered_s:.1f} s, promised {RECOVERED_S:g} s",)
        refused = [seconds for status in (429, 503) for seconds in pressed.seconds.get(status, [])]
        figures = {
            "capacity_events_per_s": capacity,
            "goodput_share_of_capacity": goodput,
            "calls_accepted": pressed.calls[202],
            "calls_refused": len(refused),
            "calls_without_an_answer": pressed.calls[0],
            "calls_not_begun": pressed.not_sent,
            "memory_growth_mb": growth_mb,
            "processors_taken_by_the_load": processors,
        }
        note = "the load comes from the same machine and takes part of its processors"
        return Outcome(len(model.events), verdict, recovered_s, broken, figures, stage.took_part(), (note,))


GOAL = Goal(
    name="G16",
    title="Overload of the collector",
    what=f"For 20 s, {TIMES} times as many interactions as it can take are sent to `POST /v1/events/interactions`, in "
    f"calls of {EVENTS_A_CALL}, at a pace that does not wait for answers.",
    promise=f"it goes on accepting at least {GOODPUT:.0%} of its capacity, refuses the rest, grows by at most "
    f"{MEMORY_MB:g} MB and is calm within {RECOVERED_S:g} s; every accepted event is applied once",
    play=play,
)
