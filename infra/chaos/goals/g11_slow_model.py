"""G11: the image encoder becomes slow: one replica of it, then all, then none moves at all."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import msgspec

from core.errors import ConfigurationError
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.processes import MemorySampler
from infra.chaos.replicas import frozen, replica_pids
from infra.chaos.result import Outcome
from infra.chaos.slow_encoder import Slowness
from infra.chaos.stage import READY_S, UPLOADS, Stage
from infra.chaos.steady_load import Answer, Call, SteadyLoad, counted, disturbed_s, percentile
from monitoring.canary import canary_image

ENCODER = "image-encoder"
REPLICAS = 2
TIMES = 2
REFUSED_MS = 100.0
MEMORY_MB = 50.0


@dataclass(frozen=True)
class Form:
    """Sizes of a form of the goal. Times in seconds, rates a second."""

    deadline_s: float  # of a request
    stream_deadline_s: float  # of a batch of uploads
    delay_s: float  # of a forward pass
    one_slow_s: float
    all_slow_s: float
    frozen_s: float
    calm_s: float  # after each
    searches: float
    uploads: float

    @property
    def total_s(self) -> float:
        return self.one_slow_s + self.all_slow_s + self.frozen_s + 4 * self.calm_s


FULL = Form(10, 15, 10, 30, 60, 10, 15, 12, 4)
SHORT = Form(2, 2, 3, 0, 14, 4, 4, 40, 8)


@dataclass(frozen=True)
class Fault:
    """Something that is done to replicas for a while."""

    what: str
    seconds: float
    of: AbstractContextManager[None]
    everybody: bool  # no replica escapes it


def play(play: Play) -> Outcome:
    form = SHORT if play.short else FULL
    with play.stage(
        serving={"encoder_replicas": REPLICAS},
        http={"request_timeout_s": form.deadline_s},
        streams={"deadline_s": form.stream_deadline_s},
    ) as stage:
        serve = stage.encoder(can_be_slow=True)
        if serve is None or not (pids := replica_pids(serve, ENCODER)):
            raise ConfigurationError("there is no gateway with an image encoder behind it (--no-uploads)")
        content = stage.worker("content", (UPLOADS,))
        content.wait_ready(READY_S)
        ledger = stage.ledger(Plan(int(form.uploads * form.total_s), upload_share=1.0))
        producer = stage.produce(ledger.sent, rate=form.uploads, batch=1)
        behind: list[int] = []  # at the end of each fault that no replica escaped
        calm: list[tuple[float, float]] = []  # from when until when, since the load began
        with (
            SteadyLoad(stage.http_url, _searches(stage), form.searches) as load,
            MemorySampler(content) as worker_memory,
            MemorySampler(serve) as serve_memory,
        ):
            time.sleep(form.calm_s)
            for fault in _faults(form, Slowness(stage.home), pids):
                play.timeline.add(fault.what)
                with fault.of:
                    time.sleep(fault.seconds)
                    if fault.everybody:
                        behind.append(stage.lag())
                        play.timeline.add(f"{behind[-1]} uploads wait; the worker: {content.why_unready() or 'ready'}")
                ended = time.monotonic() - load.began
                calm.append((ended, ended + form.calm_s))
                play.timeline.add("the replicas are as they were")
                time.sleep(form.calm_s)
                play.progress(ended / form.total_s)
        producer.wait(120)
        verdict, _ = stage.settle(ledger.model(), 120)
        figures = {
            "encoder_replicas": len(pids),
            **_latencies(load.answers, form),
            "uploads_behind_at_least": min(behind),
            "worker_memory_growth_mb": worker_memory.growth_mb,
            "serving_memory_growth_mb": serve_memory.growth_mb,
        }
        notes = (
            f"calls that did not succeed: {counted(load.answers)}",
            f"deadline of a request: {form.deadline_s:g} s. A call answered with 429 or 503 before half of it was over "
            "counts as refused, every other one as accepted, however it ended",
            "the delay is planted in the encoder of a service that is real otherwise; SIGSTOP is real",
            "time to recover: from the end of a fault to the last answer after it that was not a success",
        )
        recover_s = disturbed_s(load.answers, calm)
        return Outcome(ledger.events, verdict, recover_s, _broken(figures, form), figures, stage.took_part(), notes)


def _faults(form: Form, slowness: Slowness, pids: Sequence[int]) -> Iterator[Fault]:
    takes = f"takes {form.delay_s:g} s for a forward pass"
    if len(pids) > 1:
        yield Fault(f"one replica {takes}", form.one_slow_s, _slow(slowness, pids[:1], form.delay_s), False)
    yield Fault(f"every replica {takes}", form.all_slow_s, _slow(slowness, pids, form.delay_s), True)
    yield Fault("every replica is stopped (SIGSTOP)", form.frozen_s, frozen(pids), True)


@contextmanager
def _slow(slowness: Slowness, pids: Sequence[int], delay_s: float) -> Iterator[None]:
    slowness.set(pids, delay_s)
    try:
        yield
    finally:
        slowness.set((), 0.0)


def _searches(stage: Stage) -> Callable[[int], Call]:
    """Return searches that cannot be answered without the encoder: a part of a stored image."""
    media = stage.store([canary_image(stage.seed * 1000 + number) for number in range(20)])
    rng = random.Random(stage.seed + 5)

    def call(_: int) -> Call:
        body = {"media_id": rng.choice(media), "crop": [0.1, 0.1, 0.8, 0.8], "k": 5}
        return Call("search", "/v1/search/images", msgspec.json.encode(body))

    return call


def _latencies(answers: Sequence[Answer], form: Form) -> dict[str, float]:
    refusals = [one for one in answers if one.status in (429, 503)]
    refused = [one for one in refusals if one.took_s < form.deadline_s / 2]
    accepted = [one for one in answers if one not in refused]
    return {
        "calls": len(answers),
        "accepted": len(accepted),
        "accepted_and_succeeded": sum(one.good for one in accepted),
        "accepted_s_p99": percentile([one.took_s for one in accepted], 99),
        "refused": len(refused),
        "refused_ms_p99": 1000 * percentile([one.took_s for one in refused], 99),
        "refusals_without_retry_after": sum(not one.retry_after for one in refusals),
        "without_an_answer": sum(one.status == 0 for one in answers),
    }


def _broken(figures: Mapping[str, float], form: Form) -> tuple[str, ...]:
    broken: tuple[str, ...] = ()
    if figures["accepted_s_p99"] > TIMES * form.deadline_s:
        broken += (f"p99 of accepted calls {figures['accepted_s_p99']:.1f} s, promised {TIMES * form.deadline_s:g} s",)
    if figures["refused_ms_p99"] > REFUSED_MS:
        broken += (f"p99 of refused calls {figures['refused_ms_p99']:.0f} ms, promised {REFUSED_MS:g} ms",)
    if not figures["refused"]:
        broken += ("nothing was refused: the pressure was too low to prove anything",)
    if figures["refusals_without_retry_after"]:
        broken += (f"{figures['refusals_without_retry_after']:g} answers 429 or 503 had no Retry-After",)
    if figures["without_an_answer"]:
        broken += (f"{figures['without_an_answer']:g} calls had no answer at all",)
    if figures["uploads_behind_at_least"] < form.uploads:
        broken += ("the worker did not wait: no uploads were behind",)
    if figures["worker_memory_growth_mb"] > MEMORY_MB:
        broken += (f"the worker grew by {figures['worker_memory_growth_mb']:.0f} MB, promised {MEMORY_MB:g} MB",)
    return broken


GOAL = Goal(
    name="G11",
    title="Slow model",
    what=f"While searches and uploads arrive, one of {REPLICAS} replicas of the image encoder takes {FULL.delay_s:g} s "
    f"for each forward pass for {FULL.one_slow_s:g} s, then all for {FULL.all_slow_s:g} s, then all are stopped "
    f"for {FULL.frozen_s:g} s.",
    promise=f"99 % of the accepted calls are answered within {TIMES} deadlines, of the refused ones within "
    f"{REFUSED_MS:g} ms, with 429 or 503 and Retry-After; the worker waits and grows by at most {MEMORY_MB:g} MB; "
    "afterwards every upload is indexed, and none is a dead letter",
    play=play,
)
