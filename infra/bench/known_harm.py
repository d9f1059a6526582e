"""Known harm: looking hashes up among a million of them, while others are added, beside FAISS's multi-index hashing.

Half of the hashes asked for are near to a listed one, half are not. Everything runs on one thread but the adding, which
has its own; FAISS is not changed while it is searched, because it cannot be.
"""

import gc
import threading
import time
from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray

from infra.bench.percentiles import milliseconds
from infra.bench.result import Benchmark, BenchOptions, BenchResult, Measurement, bar, compare
from models.moderation.known_harm import HashChange, KnownHarm, format_hash
from models.moderation.known_harm.bands import scan

BATCH = 64  # hashes of one call: what a worker asks about its batch of posts
DISTANCE, WIDEST = 6, 12
LOOKUPS_PER_S, ADD_S = 10_000.0, 1.0
ADDED_PER_S = 100
OURS, FAISS = "ours", "faiss IndexBinaryMultiHash"
LIST = "bench"

Hashes = NDArray[np.uint64]


def run(options: BenchOptions) -> BenchResult:
    """List the hashes, look up, look up while adding, add one by one."""
    n, seconds = (20_000, 0.3) if options.quick else (1_000_000, 5.0)
    repeats = 1 if options.quick else options.repeats
    rng = np.random.default_rng(20261122)
    listed = np.unique(rng.integers(0, 2**64, n, dtype=np.uint64))
    asked = _asked(rng, listed, 4_096)
    texts = [format_hash(value) for value in asked.tolist()]
    index = KnownHarm()
    changes = [HashChange(list_name=LIST, phash=format_hash(value)) for value in listed.tolist()]
    began = time.perf_counter()
    index.apply(changes)
    listing_s = time.perf_counter() - began
    del changes
    options.report(f"{n:,} hashes listed in {listing_s:.1f} s, {index.nbytes / 1e6:.0f} MB")
    faiss.omp_set_num_threads(1)
    theirs, packed = _faiss(listed), _packed(asked)
    gc.collect()
    samples: dict[str, list[float]] = {}
    for number in range(repeats):
        for name, value in (
            (f"{OURS}, distance {DISTANCE}", _rate(lambda at: index.lookup(texts[at], distance=DISTANCE), seconds)),
            (f"{OURS}, distance {WIDEST}", _rate(lambda at: index.lookup(texts[at], distance=WIDEST), seconds)),
            (f"{FAISS}, distance {DISTANCE}", _rate(lambda at: theirs.range_search(packed[at], DISTANCE + 1), seconds)),
            (f"{OURS}, distance {DISTANCE}, while adding", _while_adding(index, texts, rng, seconds)),
        ):
            samples.setdefault(name, []).append(value)
            options.report(f"round {number + 1}: {name}: {value:,.0f} a second")
        slowest = _adds(index, rng, 500 if options.quick else 5_000)
        samples.setdefault("add, median", []).append(milliseconds(slowest, 50))
        samples.setdefault("add, slowest", []).append(max(slowest))
    recall = _recall(index, listed, asked[:256])
    measurements = [
        *(
            Measurement(f"lookups, {name}", "/s", "higher", tuple(values))
            for name, values in samples.items()
            if not name.startswith("add")
        ),
        Measurement("add, median", "ms", "lower", tuple(samples["add, median"])),
        Measurement("add, slowest", "s", "lower", tuple(samples["add, slowest"])),
        Measurement("recall, distance 12", "", "higher", (recall,)),
        Measurement("memory", "MB", "lower", (index.nbytes / 1e6,)),
        Measurement("listing all at once", "s", "lower", (listing_s,)),
    ]
    ours = f"lookups, {OURS}, distance {DISTANCE}"
    return BenchResult(
        name="known-harm",
        title=f"Known harm among {n:,} hashes",
        command="riverlight bench run known-harm",
        measurements=tuple(measurements),
        comparisons=(compare(measurements, ours, f"lookups, {FAISS}, distance {DISTANCE}"),),
        bars=(
            bar(measurements, ours, LOOKUPS_PER_S),
            bar(measurements, f"{ours}, while adding", LOOKUPS_PER_S),
            bar(measurements, "add, slowest", ADD_S),
            bar(measurements, "recall, distance 12", 1.0),
        ),
        details={"hashes": n, "batch": BATCH, "added_per_s": ADDED_PER_S},
        notes=(
            f"{n:,} random hashes on one list; {BATCH} hashes a call, given as text. Half of them lie 0 to 12 bits "
            "from a listed one, half are random.",
            f"While adding: another thread adds {ADDED_PER_S} hashes a second, one a call. The slowest add is one that "
            "made the tables anew, which every 4,096th does.",
            "Recall: of all listed hashes within 12 bits of 256 of those, found by comparing with each, the share that "
            f"a lookup found. {FAISS} has 4 tables of 16 bits with one flip, which is exact up to distance 7.",
        ),
    )


def _asked(rng: np.random.Generator, listed: Hashes, n: int) -> Hashes:
    asked = rng.integers(0, 2**64, n, dtype=np.uint64)
    for place in range(0, n, 2):
        bits = rng.choice(64, int(rng.integers(0, WIDEST + 1)), replace=False)
        asked[place] = rng.choice(listed) ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64), initial=0)
    return asked


def _packed(hashes: Hashes) -> NDArray[np.uint8]:
    return np.ascontiguousarray(hashes.astype("<u8")).view(np.uint8).reshape(-1, 8)


def _faiss(listed: Hashes) -> "faiss.IndexBinaryMultiHash":
    index = faiss.IndexBinaryMultiHash(64, 4, 16)
    index.nflip = 1
    index.add(_packed(listed))
    return index


def _rate(lookup: Callable[[slice], object], seconds: float) -> float:
    """Return how many hashes a second are looked up, a batch a call."""
    lookup(slice(0, BATCH))
    done, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        start = done % 4_096
        lookup(slice(start, start + BATCH))
        done += BATCH
    return done / taken


def _while_adding(index: KnownHarm, texts: list[str], rng: np.random.Generator, seconds: float) -> float:
    stop = threading.Event()
    new = rng.integers(0, 2**64, int(ADDED_PER_S * (seconds + 5)), dtype=np.uint64).tolist()

    def add() -> None:
        for value in new:
            if stop.wait(1 / ADDED_PER_S):
                return
            index.apply([HashChange(list_name=LIST, phash=format_hash(value))])

    thread = threading.Thread(target=add)
    thread.start()
    try:
        return _rate(lambda at: index.lookup(texts[at], distance=DISTANCE), seconds)
    finally:
        stop.set()
        thread.join()


def _adds(index: KnownHarm, rng: np.random.Generator, n: int) -> list[float]:
    """Return how long each of `n` adds took until it could be found, in seconds."""
    seconds = []
    for value in rng.integers(0, 2**64, n, dtype=np.uint64).tolist():
        change = HashChange(list_name=LIST, phash=format_hash(value))
        began = time.perf_counter()
        index.apply([change])
        seconds.append(time.perf_counter() - began)
        if len(seconds) % 500 == 0 and (LIST, change.phash) not in index:
            raise AssertionError(f"{change.phash} was added and is not found")
    return seconds


def _recall(index: KnownHarm, listed: Hashes, asked: Hashes) -> float:
    expected = scan(listed, asked, WIDEST)
    wanted = set(zip(expected.queries.tolist(), listed[expected.rows].tolist(), strict=True))
    found = index.search(asked, WIDEST)
    return len(wanted & set(zip(found.queries.tolist(), found.hashes.tolist(), strict=True))) / max(1, len(wanted))


BENCHMARK = Benchmark("known-harm", "looking hashes up among a million, while others are added", run)
