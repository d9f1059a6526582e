"""The ids of events that were counted: the newest in memory and in the state's database, the others in runs."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.errors import IntegrityError
from features import seen_ids
from features.seen_ids import Run
from features.state_format import Format
from features.state_meta import Meta
from features.statements import write_rows


class KnownIds:
    """The tables `ids` and `runs`, and the files of the runs.

    Every method is called inside a transaction, but `unlink_replaced`; after one that failed, `forget_memory`.
    """

    def __init__(self, opened: Format, meta: Meta) -> None:
        self._db: sqlite3.Connection = opened.connection
        self._folder = opened.runs_folder
        self._prefix = opened.runs_prefix
        self._meta = meta
        self.forget_memory()

    def forget_memory(self) -> None:
        """Begin as if nothing was read yet; `catch_up` reads it."""
        self._version = -1  # how often the runs changed, by anybody
        self._seq = 0  # of the last batch that is in memory
        self._recent: dict[bytes, int] = {}
        self._runs: list[Run] = []
        self._replaced: list[Path] = []
        self.forgotten_before_day = -1  # ids of earlier event days are not known any more

    def catch_up(self, meta: Mapping[str, int]) -> None:
        """Read what is durable and not in memory: all of it at first, later what other processes did."""
        if meta["runs"] != self._version:
            self.forget_memory()
            self._version = meta["runs"]
            names = self._db.execute("SELECT name FROM runs ORDER BY name").fetchall()
            self._runs = [self._open_run(name) for (name,) in names]
        self.forgotten_before_day = meta["forgotten_before_day"]
        if meta["appended"] == self._seq:
            return
        for (packed,) in self._db.execute("SELECT ids FROM ids WHERE seq > ?", (self._seq,)).fetchall():
            self._recent.update(seen_ids.unpack(packed))
        self._seq = meta["appended"]

    @property
    def in_memory(self) -> int:
        """How many ids are in memory."""
        return len(self._recent)

    def __len__(self) -> int:
        """How many ids are known."""
        return len(self._recent) + sum(len(run.high) for run in self._runs)

    def among(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return those of the ids (see `seen_ids.digest`) that are known."""
        recent = {key for key in digests if key in self._recent}
        return recent | seen_ids.search(self._runs, digests, self.forgotten_before_day)

    def append(self, seq: int, ids: Mapping[bytes, int]) -> None:
        """Know the ids of batch number `seq`."""
        if ids:
            self._db.execute("INSERT INTO ids VALUES (?, ?)", (seq, seen_ids.pack(dict(ids))))
        self._recent.update(ids)
        self._seq = seq
        if len(self._recent) >= seen_ids.RUN_IDS:
            self._make_run()

    def forget_before(self, day: int) -> None:
        """Drop the ids of earlier event days, for good."""
        if day > self.forgotten_before_day:
            self._meta.set("forgotten_before_day", day)
            self.forgotten_before_day = day
            self._make_run()
            for run in [run for run in self._runs if bool((run.day < day).any())]:
                self._replace_runs([run])

    def remove_strays(self) -> None:
        """Remove files that a crash left between writing them and noting them; in a transaction nobody writes any."""
        known = {run.path.name for run in self._runs}
        for path in self._folder.glob(f"{self._prefix}-*.ids"):
            if path.name not in known:
                path.unlink()

    def unlink_replaced(self) -> None:
        """Remove the files of runs that others took the place of; call it when the transaction has ended."""
        for path in self._replaced:
            path.unlink(missing_ok=True)
        self._replaced = []

    def _make_run(self) -> None:
        """Move the ids in memory to a run, and merge it with runs that are not much larger."""
        if not self._recent:
            return
        run = seen_ids.write_run(self._new_path(), self._recent, self.forgotten_before_day)
        self._db.execute("DELETE FROM ids")
        self._recent = {}
        self._runs += [run] if run is not None else []
        self._note_runs()
        if run is not None and (count := seen_ids.runs_to_merge([len(each.high) for each in self._runs])) > 1:
            self._replace_runs(self._runs[-count:])

    def _replace_runs(self, runs: Sequence[Run]) -> None:
        """Make one run of several, without what is forgotten."""
        made = seen_ids.merge_runs(self._new_path(), runs, self.forgotten_before_day)
        self._replaced += [run.path for run in runs]
        self._runs = [run for run in self._runs if run not in runs] + ([made] if made is not None else [])
        self._note_runs()

    def _note_runs(self) -> None:
        self._db.execute("DELETE FROM runs")
        write_rows(self._db, "INSERT INTO runs", [(run.path.name,) for run in self._runs])
        self._version += 1
        self._meta.set("runs", self._version)

    def _new_path(self) -> Path:
        # Names grow, so that the order of names is the order of age.
        path = self._folder / f"{self._prefix}-{self._meta.next('run_names'):09d}.ids"
        path.unlink(missing_ok=True)  # of a transaction that was rolled back
        return path

    def _open_run(self, name: str) -> Run:
        try:
            return Run.open(self._folder / name)
        except (OSError, ValueError) as error:
            raise IntegrityError(f"event ids are missing: {error}; run the feature rebuild") from error
