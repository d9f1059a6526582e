"""Reading features as serving does: fifty features of a hundred items, and how that grows with the number of views.

Three readers over the same values, in turns: ours (Feast's provider, below its registry), Feast's own
`get_online_features`, and a raw read of one packed row per entity from SQLite, which is the floor.
"""

import gc
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from core.settings import FeatureSettings
from features.online import OnlineStore, open_feast
from features.schema import AS_OF, Feature, View
from features.transforms.windows import Floats, Ints
from infra.bench.percentiles import milliseconds
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Curve, Measurement, bar, compare
from infra.bench.system import scratch_home

PER_VIEW = 10
VIEWS_AT_BAR = 5  # fifty features
ENTITIES = 2_000
ITEMS = 100
OURS, FEAST, RAW = "ours", "Feast get_online_features", "raw SQLite, one packed row"


def run(options: BenchOptions) -> BenchResult:
    view_counts = (1, VIEWS_AT_BAR) if options.quick else (1, VIEWS_AT_BAR, 10, 50)
    repeats, reads = (1, 30) if options.quick else (options.repeats, 200)
    samples: dict[tuple[int, str], list[list[float]]] = {}
    for count in view_counts:
        with scratch_home() as home:
            readers = _open(home, count)
            gc.collect()
            gc.freeze()  # as every serving process does
            for number in range(repeats):
                for name, read in readers.items():
                    # Of many views only the median is shown, and it needs few reads.
                    enough = max(20, min(reads, 1_000 // count))
                    samples.setdefault((count, name), []).append(_time(read, enough, seed=number))
            gc.unfreeze()
        options.report(
            f"{count * PER_VIEW} features: "
            + ", ".join(f"{name} p99 {milliseconds(samples[count, name][-1], 99):.1f} ms" for name in readers)
        )
    at_bar = {name: samples[VIEWS_AT_BAR, name] for name in (OURS, FEAST, RAW)}
    measurements = [
        Measurement(f"{name}, p{share}", "ms", "lower", tuple(milliseconds(rounds, share) for rounds in found))
        for name, found in at_bar.items()
        for share in (50, 99)
    ]
    return BenchResult(
        name="features",
        title=f"{VIEWS_AT_BAR * PER_VIEW} features of {ITEMS} items",
        command="riverlight bench run features",
        measurements=tuple(measurements),
        comparisons=(
            compare(measurements, f"{OURS}, p50", f"{FEAST}, p50"),
            compare(measurements, f"{OURS}, p50", f"{RAW}, p50"),
        ),
        bars=(bar(measurements, f"{OURS}, p99", 15),),
        curves=(
            Curve(
                f"Reading {PER_VIEW} features of each view for {ITEMS} items, p50",
                "feature views",
                "ms",
                tuple(float(count) for count in view_counts),
                {
                    name: tuple(
                        float(np.median([milliseconds(rounds, 50) for rounds in samples[count, name]]))
                        for count in view_counts
                    )
                    for name in (OURS, FEAST, RAW)
                },
            ),
        ),
        details={"entities": ENTITIES, "reads": reads},
        notes=(
            f"SQLite online store of {ENTITIES} entities, {PER_VIEW} features and a time in each view; each read is of "
            f"{ITEMS} random entities, {reads} reads a repetition (fewer of many views), in one process without other "
            "load.",
        ),
    )


BENCHMARK = Benchmark("features", "fifty features of a hundred items, against Feast's own call and a raw read", run)


def _open(home: Path, count: int) -> dict[str, Callable[[Sequence[str]], object]]:
    """Fill the three stores with the same values and return their readers by name."""
    views = [_view(number) for number in range(count)]
    ids = [f"item-{number}" for number in range(ENTITIES)]
    settings = FeatureSettings()
    feast = open_feast(home, settings, views)
    store = OnlineStore(feast, views)
    rng = np.random.default_rng(7)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    times: Ints = np.full(ENTITIES, now_us, np.int64)
    columns: list[Floats] = []
    for view in views:
        values = rng.random((ENTITIES, PER_VIEW))
        store.write(view, ids, times, values)
        columns.append(values)
    raw = _raw(home / "raw.db", ids, np.hstack(columns))
    names = [f"{view.name}:{feature}" for view in views for feature in view.feature_names]

    def ours(chosen: Sequence[str]) -> object:
        return [store.read(view, chosen) for view in views]

    def by_feast(chosen: Sequence[str]) -> object:
        rows = [{"item_id": entity} for entity in chosen]
        return feast.get_online_features(features=names, entity_rows=rows, full_feature_names=True).to_dict()

    return {OURS: ours, FEAST: by_feast, RAW: raw}


def _view(number: int) -> View:
    features = [Feature(f"value_{position}", "float64", "A random number.") for position in range(PER_VIEW)]
    as_of = Feature(AS_OF, "int64", "When the row was computed, microseconds since the epoch.")
    return View(f"bench_{number}", "item", "item_id", (*features, as_of), "Random numbers.")


def _raw(path: Path, ids: Sequence[str], values: Floats) -> Callable[[Sequence[str]], object]:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE packed (id TEXT PRIMARY KEY, row BLOB) WITHOUT ROWID")
        database.executemany(
            "INSERT INTO packed VALUES (?, ?)", [(i, row.tobytes()) for i, row in zip(ids, values, strict=True)]
        )
    reading = sqlite3.connect(path)

    def read(chosen: Sequence[str]) -> object:
        marks = ",".join("?" * len(chosen))
        rows = dict(reading.execute(f"SELECT id, row FROM packed WHERE id IN ({marks})", list(chosen)))
        return [np.frombuffer(rows[entity]) for entity in chosen]

    return read


def _time(read: Callable[[Sequence[str]], object], reads: int, *, seed: int) -> list[float]:
    rng = random.Random(seed)
    ids = [f"item-{number}" for number in range(ENTITIES)]
    for _ in range(3):
        read(rng.sample(ids, ITEMS))
    seconds = []
    for _ in range(reads):
        chosen = rng.sample(ids, ITEMS)
        began = time.perf_counter()
        read(chosen)
        seconds.append(time.perf_counter() - began)
    return seconds
