"""Recall of the live index, measured on the searches it serves: a share of them is repeated exactly."""

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.ports import Hit, SearchFilter, VectorIndex

_EQUAL_SCORE = 1e-6
_REST = 4.0  # times what a sample took


@dataclass(frozen=True)
class _Sample:
    query: NDArray[np.float32]
    hits: tuple[tuple[str, float], ...]
    k: int
    where: SearchFilter | None


def recall_at_k(found: Sequence[tuple[str, float]], exact: Sequence[Hit], k: int) -> float:
    """Return the share of the exact answer's k items that were found.

    An item that scores as well as the exact answer's last one counts as found: ties have no order. An empty exact
    answer gives 1.
    """
    best = exact[:k]
    if not best:
        return 1.0
    wanted = {hit.entry.item_id for hit in best}
    last = best[-1].score
    good = sum(item_id in wanted or score >= last - _EQUAL_SCORE for item_id, score in found[:k])
    return min(good, len(best)) / len(best)


class RecallSampler:
    """Repeats a share of live searches exactly, in its own thread, and reports their recall@k.

    It never slows a search down: when exact searches are slower than samples arrive, samples are dropped and counted;
    and it works a fifth of the time at most, because an exact search of a large index keeps a core busy.
    Writes between the search and its repetition count as misses; they are rare beside the items of an answer.
    """

    def __init__(
        self,
        index: VectorIndex,
        ratio: float,
        on_recall: Callable[[float, int], None],
        *,
        seed: int | None = None,
        waiting: int = 16,
    ) -> None:
        """Args:
        ratio: share of searches to repeat, 0 to 1.
        on_recall: called in the sampler's thread with the recall and its k.
        seed: makes the choice of searches repeatable.
        waiting: samples that may wait for their turn.
        """
        self._index = index
        self._ratio = ratio
        self._on_recall = on_recall
        self._random = random.Random(seed)
        self._queue: queue.Queue[_Sample | None] = queue.Queue(maxsize=waiting)
        self.dropped = 0
        self.failed = 0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if ratio > 0:
            self._thread = threading.Thread(target=self._run, name="recall-sampler", daemon=True)
            self._thread.start()

    def sample(
        self, query: NDArray[np.float32], hits: Sequence[Hit], k: int, where: SearchFilter | None = None
    ) -> bool:
        """Offer a search that was just answered; True when it will be repeated."""
        if self._thread is None or self._random.random() >= self._ratio:
            return False
        found = tuple((hit.entry.item_id, hit.score) for hit in hits)
        try:
            self._queue.put_nowait(_Sample(query.copy(), found, k, where))
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def close(self) -> None:
        """Finish the samples that wait, and stop."""
        if self._thread is not None:
            self._closing.set()
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (sample := self._queue.get()) is not None:
            began = time.monotonic()
            try:
                exact = self._index.search(sample.query, sample.k, sample.where, exact=True)
                self._on_recall(recall_at_k(sample.hits, exact, sample.k), sample.k)
            except Exception:  # the measurement must not end; the count is what tells
                self.failed += 1
            self._closing.wait(_REST * (time.monotonic() - began))
