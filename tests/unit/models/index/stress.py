"""Writers and readers on one live index for some seconds: `python stress.py KIND SECONDS`. Exits 0 when all held.

Four kinds of items: `still` ones are never touched and must always be found; `moving` ones are rewritten all the time
and must always be found; `blinking` ones are hidden or removed, and must not be found by a search that starts after
that; `churn` keeps segments filling, sealing and merging.
"""

import random
import sys
import threading
import time

import numpy as np

from core.entries import Version
from core.ports import SearchFilter
from core.settings import IndexSettings
from models.index import LiveIndex
from tests.unit.models.index.entries import DIM, MODEL, clustered, entry


def main(kind: str, seconds: float) -> int:
    vectors = clustered(600, seed=3)
    settings = IndexSettings(kind=kind, train_at=64, hnsw_m=8, hnsw_ef_construction=32, ivf_probe=64, tree_count=4)
    index = LiveIndex(DIM, MODEL, settings, fresh_rows=64)
    for i in range(100):
        index.apply(entry(f"still-{i}", vectors[i], owner_id="still"))
        index.apply(entry(f"moving-{i}", vectors[100 + i], owner_id="moving"))
    stop = threading.Event()
    failures: list[str] = []
    done = {"searches": 0, "writes": 0}

    def guarded(work) -> None:
        try:
            while not stop.is_set() and not failures:
                work()
        except BaseException as error:
            failures.append(f"{work.__name__}: {type(error).__name__}: {error}")

    clock = iter(range(10, 10**9))

    def move() -> None:
        i = random.randrange(100)
        assert index.apply(entry(f"moving-{i}", vectors[100 + i], at=next(clock), owner_id="moving"))
        done["writes"] += 1

    def churn() -> None:
        i = random.randrange(300)
        at = next(clock)
        if random.random() < 0.3:
            index.remove(f"churn-{i}", Version(time_us=at, seq=0))
        else:
            index.apply(entry(f"churn-{i}", vectors[300 + i], at=at, owner_id="churn", tags=[f"t{i % 3}"]))
        done["writes"] += 1
        if done["writes"] % 50 == 0:
            time.sleep(0.001)  # lets readers have the interpreter; nothing waits for it

    def blink() -> None:
        vector = vectors[250]
        index.apply(entry("blinking", vector, at=next(clock), owner_id="blinking"))
        found = [hit.entry.item_id for hit in index.search(vector, 200, SearchFilter(owner_id="blinking"))]
        assert found == ["blinking"], f"not found right after it was written: {found}"
        if random.random() < 0.5:
            index.apply(entry("blinking", vector, at=next(clock), owner_id="blinking", state="hidden"))
        else:
            index.remove("blinking", Version(time_us=next(clock), seq=0))
        found = [hit.entry.item_id for hit in index.search(vector, 200)]
        assert "blinking" not in found, "found after it was taken away"

    def read_exactly() -> None:
        name, offset = random.choice([("still", 0), ("moving", 100)])
        i = random.randrange(100)
        hits = index.search(vectors[offset + i], 100, SearchFilter(owner_id=name), exact=random.random() < 0.5)
        ids = [hit.entry.item_id for hit in hits]
        assert len(ids) == len(set(ids)), f"an item twice: {ids}"
        assert len(ids) == 100, f"{100 - len(ids)} of 100 {name} items missing"
        assert all(np.isfinite(hit.score) and hit.entry.owner_id == name for hit in hits)
        done["searches"] += 1

    def read() -> None:
        hits = index.search(vectors[random.randrange(600)], 10)
        assert len(hits) == 10 and [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert index.get(f"moving-{random.randrange(100)}") is not None
        done["searches"] += 1

    def look() -> None:
        assert index.state_hash()
        assert index.stats().items >= 200
        assert index.by_media(entry("still-1", vectors[1]).media_id) is not None

    threads = [
        threading.Thread(target=guarded, args=(work,))
        for work in (move, churn, churn, blink, read_exactly, read_exactly, read, read, look)
    ]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    stats = index.stats()
    index.close()
    sys.stdout.write(f"{done} {stats} {failures}\n")
    if stats.last_rebuild_error is not None or stats.rebuilds < 3 or done["searches"] < 50:
        failures.append("too little happened to prove anything")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
