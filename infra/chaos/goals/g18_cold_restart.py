"""G18: everything is killed at once and started again from what is on the disk."""

from typing import Any

from core.errors import ConfigurationError
from infra.chaos.entries import EntryPlan, publish, write_entries
from infra.chaos.goal import Goal, Play
from infra.chaos.index_api import IndexApi
from infra.chaos.ledger import Plan
from infra.chaos.result import Outcome
from infra.chaos.stage import Stage

READY_S = 60.0
ITEMS = 100_000
_IN_SNAPSHOT = 0.9  # of the entries; the rest is in the log alone
_NEVER_S = 86_400.0  # no snapshot but the one that is asked for
_GIVE_UP_S = 240.0


def play(play: Play) -> Outcome:
    with play.stage(index={"snapshot_interval_s": _NEVER_S}) as stage:
        if not stage.broker.durable:
            raise ConfigurationError(f"the {stage.broker.kind} broker keeps nothing on the disk to start from")
        if stage.encoder() is None:
            raise ConfigurationError("the index is part of the gateway, which was left out (--no-uploads)")
        stage.workers()
        ledger = stage.ledger(Plan(play.pick(2_000, 200)))
        stage.produce(ledger.sent).wait(120)
        stage.settle(ledger.model(), 120)
        index = IndexApi(stage.http_url)
        _fill(stage, index, play.pick(ITEMS, 5_000))
        play.progress(0.4)
        proved = index.verify()
        before = stage.observe(ledger.model())
        stage.crash()
        ready_s = stage.start_again(_GIVE_UP_S)
        found = index.describe()  # at once: ready means complete
        play.timeline.add(f"all ready after {ready_s:.1f} s, with {found['items']} items")
        play.progress(0.7)
        again = index.verify()
        verdict, after = stage.settle(ledger.model(), 120)
        read = sum(found["log"]["entries"].values())
        broken = _broken(ready_s, int(found["items"]), proved, again)
        if not 0 < read < again["records"] / 2:
            broken += (f"{read} of {again['records']} entries were read again: it was to be some, and not most",)
        if before.state_hash(stage.run) != after.state_hash(stage.run):
            broken += ("catalogue, index entries, features, dead letters or archive are not what they were",)
        figures = {
            "items": int(found["items"]),
            "entries_in_the_log": again["records"],
            "entries_read_after_the_start": read,
        }
        notes = (
            f"hash of the index {proved['live_hash'][:16]} before, {again['live_hash'][:16]} after",
            "ready: from the start of the broker until gateway, encoder and every worker said so",
            "SIGKILL to every process keeps what the kernel has yet to write; a power cut is another matter",
        )
        return Outcome(ledger.events, verdict, ready_s, broken, figures, stage.took_part(), notes)


def _fill(stage: Stage, index: IndexApi, items: int) -> None:
    """Bring so many items into the index; most of their entries into a snapshot, too."""
    described = index.describe()
    plan = EntryPlan(items, int(described["dim"]), str(described["model_version"]))
    # Another name than the run's: the ledger says nothing about these items.
    records = write_entries(stage.seed, f"fill-{stage.run}", plan, start=stage.start_of_events)
    read, cut = index.entries_read(), int(_IN_SNAPSHOT * len(records))
    publish(stage.broker.bootstrap, records[:cut])
    index.wait_entries_read(read + cut, _GIVE_UP_S)
    index.snapshot()
    publish(stage.broker.bootstrap, records[cut:])
    index.wait_entries_read(read + len(records), _GIVE_UP_S)
    stage.timeline.add(f"{items} items were added to the index")


def _broken(ready_s: float, items: int, before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    broken: tuple[str, ...] = ()
    if ready_s > READY_S:
        broken += (f"ready after {ready_s:.1f} s, promised {READY_S:g} s",)
    if items != before["items"]:
        broken += (f"ready with {items} items, there were {before['items']}",)
    for when, proof in (("before", before), ("after", after)):
        if not proof["equal"]:
            broken += (f"the index was not what its log says {when} the restart",)
    if before["live_hash"] != after["live_hash"]:
        broken += (f"the index is another one: hash {after['live_hash'][:16]}, was {before['live_hash'][:16]}",)
    return broken


GOAL = Goal(
    name="G18",
    title="Cold restart",
    what=f"With {ITEMS:,} items in the index, broker, gateway, encoder and workers get SIGKILL at once and are started "
    "again from their files. The last tenth of the index is in no snapshot.",
    promise=f"all ready within {READY_S:g} s; the index has the same hash as before, and the one that its log gives; "
    "so have catalogue, features, dead letters and archive",
    play=play,
    embedded="a restart loses every topic",
)
