"""G5: one record in a hundred cannot be handled, in every way we know."""

import asyncio

from core.settings import ProducerSettings
from infra.chaos.goal import Goal, Play
from infra.chaos.ledger import Plan
from infra.chaos.poison import cured, with_poison
from infra.chaos.result import Outcome
from infra.chaos.stage import ARCHIVE, FEATURES, READY_S, UPLOADS, Stage
from infra.chaos.verifier import Verdict
from storage.log.producer import KafkaPublisher
from streams import dead_letters
from streams.dead_letters import DeadLetter

DEADLINE_S = 1.0
_HANDLER_CODES = ("internal", "deadline")


def play(play: Play) -> Outcome:
    # A hang costs a deadline for each halving of its batch, so the short form has smaller batches.
    settings = {"deadline_s": DEADLINE_S, "interactions_batch_size": play.pick(500, 50)}
    with play.stage(streams=settings) as stage:
        stage.encoder()
        behaviour = stage.worker("behaviour", (FEATURES, ARCHIVE), module="infra.chaos.faulty_worker")
        workers = [behaviour, *([stage.worker("content", (UPLOADS,))] if stage.takes_uploads else [])]
        for worker in workers:
            worker.wait_ready(READY_S)
        undecodable = stage.store([b"not an image " + stage.run.encode()])[0] if stage.takes_uploads else ""
        ledger = with_poison(
            stage.ledger(Plan(play.pick(10_000, 600))), 0.01, start=stage.start_of_events,
            uploads=stage.takes_uploads, undecodable=undecodable, faults=True,
        )  # fmt: skip
        stage.produce(ledger.sent).wait(120)
        play.progress(0.2)
        with_fault, _ = stage.settle(ledger.model(), play.pick(600, 90))
        labels = len(ledger.model().letters)
        play.progress(0.7)

        behaviour.terminate()
        play.timeline.add("the handler is mended")
        mended = stage.worker("behaviour-mended", (FEATURES, ARCHIVE))
        mended.wait_ready(READY_S)
        replayed, dropped = asyncio.run(_settle_letters(stage))
        play.timeline.add(f"{replayed} dead letters replayed, {dropped} dropped")
        after, _ = stage.settle(cured(ledger).model(), 120)
        left = len(_letters(stage))
        broken = (f"{left} dead letters are still open",) if left else ()
        figures = {"labels": labels, "dead_letters": with_fault.dead_lettered, "replayed": replayed, "dropped": dropped}
        return Outcome(
            ledger.events, _sum(with_fault, after), None, broken, figures, stage.took_part(),
            ("the handler's defects are planted in the feature engine of a worker that is real otherwise",),
        )  # fmt: skip


def _letters(stage: Stage) -> list[DeadLetter]:
    mark = stage.run.encode()
    return [letter for letter in dead_letters.list_dead_letters(stage.broker.bootstrap) if mark in letter.value]


async def _settle_letters(stage: Stage) -> tuple[int, int]:
    """Replay what failed by the handler's fault, drop what nobody can mend."""
    publisher = KafkaPublisher(stage.broker.bootstrap, ProducerSettings(), client_id="chaos-dead-letters")
    try:
        found = await asyncio.to_thread(_letters, stage)
        again = [letter for letter in found if letter.code in _HANDLER_CODES]
        hopeless = [letter for letter in found if letter.code not in _HANDLER_CODES]
        return await dead_letters.replay(publisher, again), await dead_letters.drop(publisher, hopeless)
    finally:
        await asyncio.to_thread(publisher.close)


def _sum(one: Verdict, other: Verdict) -> Verdict:
    both = Verdict(
        one.lost + other.lost, one.twice + other.twice, one.wrong + other.wrong, one.unexpected + other.unexpected,
        one.dead_lettered,
    )  # fmt: skip
    for what in {*one.examples, *other.examples}:
        both.examples[what] = [*one.examples.get(what, []), *other.examples.get(what, [])]
    return both


GOAL = Goal(
    name="G5",
    title="Poison",
    what="One record in a hundred is broken JSON, not text, of a wrong schema or an unknown type, 1 MiB long, holds "
    "NUL or NaN, is a bad event in a good frame, names media that is missing or no image, changes an item that is "
    "not there, or makes the handler raise or hang. Then the handler is mended and the dead letters are replayed.",
    promise="the dead letters are exactly the labels, with their codes; no good event is lost; replaying after the "
    "repair applies what the handler had failed on, and dropping the rest leaves no letter open",
    play=play,
)
