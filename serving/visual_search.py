"""Visual search: a query image in, similar images out, with a trace of how the answer came about."""

import asyncio
import base64
import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.clock import Clock
from core.entries import unpack_vector
from core.errors import (
    InvalidInput,
    MissingMedia,
    NotFound,
    TooLarge,
    Unavailable,
    UndecodableMedia,
    UnsupportedMedia,
)
from core.ids import new_trace_id
from core.ports import Crop, EmbeddingService, EncodedImage, EncodeFailure, Hit, SearchFilter
from core.settings import SearchSettings
from models.index import LiveIndex, RecallSampler
from monitoring.catalogue import SEARCH_REMOVED, SEARCH_RESULTS, SEARCH_SECONDS
from monitoring.recorder import Recorder
from serving.exchange import Exchange
from serving.reranking import Reranked, RerankRules, rerank
from serving.restrictions.served import Restrictions
from serving.served_index import ServedIndex
from serving.traces import TraceStore
from storage.catalogue import TraceRecord

SYSTEM = "visual_search"
CANARY_CATEGORY = "riverlight.canary"  # shown only to who asks for it
_MAX_CANDIDATES = 2_000  # that are not taken down
#: Up to so many items a search is done before a thread would have begun with it: at 20,000 items and eight clients,
#: 450 answers a second without threads, 280 with one and 240 with six, which wait for the interpreter lock in turns.
_ITEMS_SEARCHED_AT_ONCE = 30_000
_NO_FILTER = SearchFilter()
_FAILURES: dict[str, type[InvalidInput]] = {
    error.code: error for error in (MissingMedia, TooLarge, UndecodableMedia, UnsupportedMedia)
}


@dataclass(frozen=True)
class VisualQuery:
    """What is searched for: exactly one of `media_id`, `item_id` and `data` (bytes that are not stored)."""

    media_id: str | None = None
    item_id: str | None = None
    data: bytes | None = None
    crop: Crop | None = None
    k: int | None = None
    min_score: float | None = None
    include_query: bool = False  # the query image may be among the results
    where: SearchFilter = field(default_factory=SearchFilter)


@dataclass(frozen=True)
class VisualAnswer:
    """The results, best first, and what became of every candidate."""

    trace_id: str
    model_version: str
    reranked: Reranked
    min_score: float

    @property
    def results(self) -> list[Hit]:
        return self.reranked.results


@dataclass(frozen=True)
class _Point:
    """The query in the embedding space: a `(dim,)` vector of length 1, and where it came from."""

    vector: NDArray[np.float32]
    source: str
    media_id: str | None = None


class VisualSearch:
    """Embeds the query, searches the live index, re-ranks, and records a trace. Safe for concurrent use."""

    def __init__(
        self,
        *,
        embedding: EmbeddingService,
        index: ServedIndex,
        restrictions: Restrictions,
        traces: TraceStore,
        settings: SearchSettings,
        recorder: Recorder,
        clock: Clock,
        embed_timeout_s: float,
        sampler: RecallSampler | None = None,
    ) -> None:
        """`sampler` measures the live recall on a share of the searches."""
        self._embedding = embedding
        self._index = index
        self._restrictions = restrictions
        self._traces = traces
        self._settings = settings
        self._recorder = recorder
        self._clock = clock
        self._embed_timeout_s = embed_timeout_s
        self._sampler = sampler
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="search")  # more would only contend

    async def search(self, query: VisualQuery, exchange: Exchange) -> VisualAnswer:
        """Answer one query.

        Raises:
            InvalidInput: `k` over the limit, or an image that cannot be used (its own subclass says why).
            NotFound: no such media, or the item is not indexed, or what shows it was taken down.
            Unavailable: the embedding service did not answer, or not every restriction is known yet.
        """
        self._restrictions.check_ready()
        k = self._settings.default_k if query.k is None else query.k
        if k > self._settings.max_k:
            raise InvalidInput(f"k is {k}; at most {self._settings.max_k} results can be asked for")
        with exchange.stage("embed"):
            point = await self._embed(query)
        rules = RerankRules(
            k=k,
            min_score=self._settings.min_score if query.min_score is None else query.min_score,
            near_duplicate_bits=self._settings.near_duplicate_bits,
            near_duplicate_score=self._settings.near_duplicate_score,
            # Known to whoever asks, so not an answer unless asked for; nor when they asked by a crop.
            query_media_id=None if query.include_query else point.media_id,
            region=query.where.region,
        )
        reranked = await self._candidates(point, query.where, rules, exchange)
        trace_id = await self._own_trace_id(exchange)
        answer = VisualAnswer(trace_id, self._index.current.model_version, reranked, rules.min_score)
        self._observe(answer, exchange)
        self._traces.record(
            TraceRecord(
                trace_id=trace_id,
                kind=SYSTEM,
                created_at=self._clock.now(),
                payload=self._explain(query, point, rules, answer, exchange),
            )
        )
        return answer

    async def _embed(self, query: VisualQuery) -> _Point:
        if query.data is not None:
            encoded = await self._embedding.encode_bytes(query.data, crop=query.crop, timeout_s=self._embed_timeout_s)
            return _Point(self._usable(encoded, "the file"), "file")
        index = self._index.current
        media_id = query.media_id
        entry = None
        if query.item_id is not None:
            entry = index.get(query.item_id)
            if entry is None or entry.state != "active" or entry.unsafe or entry.visibility == "private":
                raise NotFound(f"item {query.item_id!r} is not in the index")
            if self._restrictions.enforces(entry):  # nobody but reviewers learns why
                raise NotFound(f"item {query.item_id!r} is not in the index")
            media_id = entry.media_id
        assert media_id is not None
        entry = entry or index.by_media(media_id, self._restrictions.enforces)
        if entry is not None and self._restrictions.enforces(entry):
            raise NotFound(f"media {media_id} is not searched by: what shows it was taken down")
        if query.crop is None and entry is not None:
            return _Point(unpack_vector(entry.vector), "index", media_id)
        [encoded] = await self._embedding.encode_media([media_id], crop=query.crop, timeout_s=self._embed_timeout_s)
        return _Point(self._usable(encoded, f"media {media_id}"), "encoder", media_id)

    def _usable(self, encoded: EncodedImage | EncodeFailure, what: str) -> NDArray[np.float32]:
        if isinstance(encoded, EncodeFailure):
            if encoded.transient:
                raise Unavailable(f"{what} could not be embedded now: {encoded.message}")
            raise _FAILURES.get(encoded.code, InvalidInput)(f"{what}: {encoded.message}")
        if encoded.model_version != self._index.current.model_version:
            raise Unavailable(
                f"the encoder is {encoded.model_version}, the index was built by {self._index.current.model_version}; "
                "`riverlight index rebuild` makes them agree",
                retry_after_s=30,
            )
        return encoded.vector

    async def _candidates(self, point: _Point, where: SearchFilter, rules: RerankRules, exchange: Exchange) -> Reranked:
        """Search and re-rank; search deeper where re-ranking took out so much that the answer is short, or lowered
        something so far that what was not fetched may be better.

        Beyond `_MAX_CANDIDATES` only for what was taken down: a campaign of thousands near the query leaves no answer
        short while anything else is in the index.
        """
        index = self._index.current
        fetch = min(_MAX_CANDIDATES, math.ceil((rules.k + 1) * self._settings.overfetch))
        while True:
            changes = index.changes
            with exchange.stage("search"):
                if fetch > _MAX_CANDIDATES:
                    hits = await self._search_all(index, point.vector, fetch, where)
                elif len(index) <= _ITEMS_SEARCHED_AT_ONCE:
                    hits = index.search(point.vector, fetch, where)
                else:
                    loop = asyncio.get_running_loop()
                    hits = await loop.run_in_executor(self._threads, index.search, point.vector, fetch, where)
            if self._sampler is not None and fetch <= _MAX_CANDIDATES:
                self._sampler.sample(point.vector, hits, fetch, where)
            with exchange.stage("rerank"):
                n_up = sum(not self._restrictions.enforces(hit.entry) for hit in hits)
                exhausted, least = len(hits) < fetch, min((hit.score for hit in hits), default=0.0)
                hits = self._bounded(hits)
                found = {hit.entry.item_id: hit.entry for hit in hits}
                # Looking each of them up again is most of the work, and needed only if something was written meanwhile.
                current = found.get if index.changes == changes else index.get
                reranked = rerank(hits, rules, current, self._restrictions.of)
            if exhausted or n_up >= _MAX_CANDIDATES:
                return reranked
            complete = len(reranked.results) >= rules.k and reranked.results[-1].score >= least
            if complete or least < rules.min_score:
                return reranked
            fetch = min(_MAX_CANDIDATES, fetch * 5) if fetch < _MAX_CANDIDATES else fetch * 5

    async def _search_all(
        self, index: LiveIndex, vector: NDArray[np.float32], fetch: int, where: SearchFilter
    ) -> list[Hit]:
        """Search without approximation: an approximate index ends before everything was looked at."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: index.search(vector, fetch, where, exact=True))

    def _bounded(self, hits: list[Hit]) -> list[Hit]:
        """Return the nearest hits, and of those behind them the nearest that are not taken down."""
        behind = (hit for hit in hits[_MAX_CANDIDATES:] if not self._restrictions.enforces(hit.entry))
        return [*hits[:_MAX_CANDIDATES], *islice(behind, _MAX_CANDIDATES)]

    async def _own_trace_id(self, exchange: Exchange) -> str:
        """Return the request's trace id, or a new one where a caller's trace already names another answer."""
        if exchange.continued and await asyncio.to_thread(self._traces.get, exchange.trace_id) is not None:
            exchange.trace_id = new_trace_id()
        return exchange.trace_id

    def _observe(self, answer: VisualAnswer, exchange: Exchange) -> None:
        for stage, seconds in exchange.stages_s.items():
            self._recorder.observe(SEARCH_SECONDS, seconds, system=SYSTEM, stage=stage)
        self._recorder.observe(SEARCH_RESULTS, len(answer.results), system=SYSTEM)
        removed = Counter(verdict.reason for verdict in answer.reranked.verdicts if verdict.reason is not None)
        for reason, number in removed.items():
            self._recorder.count(SEARCH_REMOVED, number, system=SYSTEM, reason=reason)

    def _explain(
        self, query: VisualQuery, point: _Point, rules: RerankRules, answer: VisualAnswer, exchange: Exchange
    ) -> dict[str, Any]:
        """Return everything that decided this answer; the vector lets "why not" be answered later.

        Rules and verdicts are handed on as they are: the writer of traces turns them into JSON, off the event loop.
        """
        asked = {
            "media_id": query.media_id,
            "item_id": query.item_id,
            "file": query.data is not None,
            "crop": list(query.crop) if query.crop else None,
            "filters": _without_defaults(query.where),
        }
        return {
            "asked": {name: value for name, value in asked.items() if value},
            "rules": rules,
            "vector": base64.b64encode(point.vector.astype("<f4").tobytes()).decode(),
            "vector_from": point.source,
            "model_version": answer.model_version,
            "index": self._index.describe(),
            "candidates": answer.reranked.verdicts,
            **({"restricted": answer.reranked.restricted} if answer.reranked.restricted else {}),
            "stages_ms": {name: round(seconds * 1000, 3) for name, seconds in exchange.stages_s.items()},
        }


def _without_defaults(where: SearchFilter) -> dict[str, Any]:
    if where == _NO_FILTER:
        return {}
    default = asdict(_NO_FILTER)
    return {name: value for name, value in asdict(where).items() if value != default[name]}
