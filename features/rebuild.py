"""State and online store made anew from the archive: the way back from a damaged disk or a changed definition."""

import sqlite3
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from core import topics
from core.clock import Clock
from core.errors import IntegrityError
from core.locks import hold_exclusive
from core.settings import FeatureSettings
from features.archive import archived_positions
from features.counting import Limits, count
from features.engine import FeatureEngine
from features.history import counted_events
from features.interactions import LocatedEvent, to_us
from features.schema import DAY_US
from features.state import FeatureState, feature_folder
from features.state_format import remove_foreign_runs
from features.totals import newest_of, write_newer
from features.transforms.windows import oldest_starts_us

_BATCH = 5_000

Fences = dict[tuple[str, int], tuple[str, int]]
Pushed = list[tuple[int, str, int]]


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild did."""

    events: int  # interactions counted or passed over as not countable
    entities: int  # rows pushed to the online store
    positions: dict[int, int]  # last archived offset per partition: the stream must go on from there or before


def rebuild(
    home: Path, archive: Path, settings: FeatureSettings, clock: Clock, *, allow_behind: bool = False
) -> RebuildReport:
    """Recompute the feature state from the archive, swap it in, and write the online store anew.

    The new state is complete before it replaces the old one, so a rebuild that is interrupted changes nothing; one
    interrupted while pushing is finished by the next `flush`. Stop the worker first.

    Args:
        home: the home folder; archive: the folder that `ArchiveWriter` writes to.
        allow_behind: go on although the archive ends before what the old state had applied. Then the stream must be
            set back to the reported positions, or the events between are lost to the features.

    Raises:
        Unavailable: a worker is using the state, or the online store does not answer.
        IntegrityError: the archive is behind the old state, and `allow_behind` is not set.
    """
    folder = feature_folder(home)
    path, fresh = folder / "state.db", folder / "state.rebuild.db"
    topic = topics.INTERACTIONS.name
    positions = archived_positions(archive, topic)
    with hold_exclusive(folder / "engine.lock"):
        fences, pushed = _old(path)
        behind = [
            f"partition {partition}: archive ends at {positions.get(partition, -1)}, state at {offset}"
            for (name, partition), (_, offset) in sorted(fences.items())
            if name == topic and offset > positions.get(partition, -1)
        ]
        if behind and not allow_behind:
            raise IntegrityError(
                f"the archive is behind the feature state ({'; '.join(behind)}); let the archive agent catch up,"
                " or allow it and set the consumer group back"
            )
        _remove(fresh)
        events = _count_archive(fresh, archive, settings, clock, {} if behind else fences, pushed)
        # The old state was closed in order, so it has no write-ahead log beside it that the new one would inherit.
        fresh.replace(path)
        remove_foreign_runs(path)
    engine = FeatureEngine.open(home, settings, clock)
    try:
        written = engine.flush()
    finally:
        engine.close()
    return RebuildReport(events, written + _restore_totals(home, archive, settings), positions)


def _restore_totals(home: Path, archive: Path, settings: FeatureSettings) -> int:
    """Write the newest totals of each author and post of the archive where they are newer; return how many were."""
    from features.moderation import archived_totals
    from features.online import OnlineStore  # imports Feast, which takes seconds

    newest = newest_of(archived_totals(archive))
    if not newest:
        return 0
    online = OnlineStore.open(home, settings)
    try:
        return write_newer(online, newest)
    finally:
        online.close()


def _count_archive(
    path: Path, archive: Path, settings: FeatureSettings, clock: Clock, fences: Fences, pushed: Pushed
) -> int:
    """Write the state of everything in the archive to a new file; return how many events it holds."""
    topic, now_us, limits = topics.INTERACTIONS.name, to_us(clock.now()), Limits.of(settings)
    state = FeatureState.open(path)
    try:
        applied = 0
        located = (
            LocatedEvent(event, topic, at.partition, at.offset, at.epoch, at.appended_ms)
            for at, event in counted_events(archive, settings)
        )
        while batch := list(islice(located, _BATCH)):
            applied += count(state, batch, now_us, limits, replayed=True).applied
        with state.transaction():
            state.set_fences(fences)
            state.forget_before(now_us // DAY_US - limits.keep_ids_days)
        state.prune(oldest_starts_us(now_us))
        state.carry_over(pushed)
        return applied
    finally:
        state.close()


def _old(path: Path) -> tuple[Fences, Pushed]:
    """Return the fences of the state at `path` and what it had pushed; nothing when it is missing or damaged."""
    if not path.exists():
        return {}, []
    try:
        state = FeatureState.open(path)
        try:
            return state.fences(), state.pushed()
        finally:
            state.close()
    except (IntegrityError, sqlite3.DatabaseError) as error:
        if isinstance(error, IntegrityError) and error.__cause__ is None:
            raise  # not damaged, but of a newer release
        _remove(path)
        return {}, []


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
