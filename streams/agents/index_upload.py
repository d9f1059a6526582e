"""index-upload: from upload events to index entries and catalogue items.

    events -> newest state per item -> embedding (Ray Serve) -> `index.entries.v1` (acknowledged) -> catalogue + inbox

The entry is published before the catalogue remembers the event: a crash between the two publishes the same entry
again, which the index ignores (same version). The other way round it would never be published.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import faust
import msgspec
from faust.types import AgentT

from core import topics
from core.entries import IndexEntry, Version, encode_entry, pack_vector, tombstone_headers
from core.errors import ConfigurationError, InvalidInput, NotFound, Unavailable
from core.events import UploadChanged, UploadCreated, UploadDeleted, UploadHidden, event_key
from core.ports import EmbeddingService, EncodedImage, EncodeFailure, OutgoingRecord, Publisher
from monitoring.tracing import record_headers
from storage.catalogue import Catalogue, Item
from streams.agent import agent
from streams.decoding import Delivered
from streams.dependencies import StreamDeps
from streams.envelope import Rejected

NAME = "index-upload"
REMEMBERED_VECTORS = 10_000


class MediaRejected(InvalidInput):
    """The embedding service says that this media can never be embedded; its code is the service's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Outcome:
    """What a chain of events about one item comes to. `item` is None when nothing changes."""

    item: Item | None
    rejected: tuple[Rejected, ...] = ()


class UploadIndexer:
    """The handler. Applies a batch of upload events; the same event twice leaves one entry.

    Events of one item are applied in the order of their versions (event time, then offset). A change of an item that
    is not there is a dead letter `not-found` at once: its create would come on the same partition, behind it, so
    waiting could not help; `riverlight dlq replay` applies it once the item is there. A hiding or deletion of an item
    that is not there is remembered, so that a create which happened before it and arrives after it stays out.

    Hiding and deleting never wait for the embedding service: where the item's vector is not at hand, a hidden item
    leaves the index as a deleted one does (the catalogue knows the difference), and is embedded again when it is
    shown again.
    """

    def __init__(
        self, catalogue: Catalogue, embeddings: EmbeddingService, publisher: Publisher, timeout_s: float
    ) -> None:
        self._catalogue = catalogue
        self._embeddings = embeddings
        self._publisher = publisher
        self._timeout_s = timeout_s
        self._vectors: OrderedDict[str, EncodedImage] = OrderedDict()  # by media id

    async def __call__(self, batch: Sequence[Delivered]) -> list[Rejected]:
        chains: dict[str, list[Delivered]] = {}
        for one in batch:
            chains.setdefault(_item_id(one), []).append(one)
        current = await asyncio.to_thread(self._catalogue.items, list(chains))
        rejected: list[Rejected] = []
        changed: dict[str, Item] = {}
        for item_id, chain in chains.items():
            outcome = _fold(current.get(item_id), chain)
            rejected += outcome.rejected
            if outcome.item is not None:
                changed[item_id] = outcome.item

        # Removals first: they must not wait for the embedding service.
        removed = [item for item in changed.values() if item.state != "active"]
        await self._publisher.publish(
            [self._removal(item, current.get(item.item_id), _cause(item, chains)) for item in removed]
        )
        shown = [item for item in changed.values() if item.state == "active"]
        done_early = {item.item_id for item in removed} | (set(chains) - set(changed))
        await self._remember({item_id: chains[item_id] for item_id in done_early}, changed, rejected)

        entries: list[OutgoingRecord] = []
        for item, encoded in zip(shown, await self._encode(shown), strict=True):
            if isinstance(encoded, EncodeFailure):
                error: InvalidInput | Unavailable = (
                    Unavailable(encoded.message) if encoded.transient else MediaRejected(encoded.code, encoded.message)
                )
                refused = {id(entry.item) for entry in rejected}
                rejected += [Rejected(one, error) for one in chains[item.item_id] if id(one) not in refused]
                del changed[item.item_id], chains[item.item_id]
            else:
                entries.append(index_record(item, encoded, _cause(item, chains)))
        await self._publisher.publish(entries)
        await self._remember(
            {item_id: chain for item_id, chain in chains.items() if item_id not in done_early}, changed, rejected
        )
        return rejected

    async def _encode(self, items: Sequence[Item]) -> list[EncodedImage | EncodeFailure]:
        wanted = list(dict.fromkeys(item.media_id for item in items))
        if not wanted:
            return []
        answers = await self._embeddings.encode_media(wanted, timeout_s=self._timeout_s)
        if all(isinstance(answer, EncodeFailure) and answer.code == "timeout" for answer in answers):
            # Not one in time: that says nothing about these images, and all about the service.
            raise Unavailable(f"the embedding service embedded none of {len(wanted)} images in {self._timeout_s:g} s")
        results = dict(zip(wanted, answers, strict=True))
        for media_id, answer in results.items():
            if isinstance(answer, EncodedImage):
                self._vectors[media_id] = answer
                self._vectors.move_to_end(media_id)
        while len(self._vectors) > REMEMBERED_VECTORS:
            self._vectors.popitem(last=False)
        return [results[item.media_id] for item in items]

    def _removal(self, item: Item, before: Item | None, traceparent: str | None) -> OutgoingRecord:
        encoded = self._vectors.get(item.media_id) if item.state == "hidden" else None
        if encoded is not None and before is not None:
            return index_record(item, encoded, traceparent)
        headers = {**tombstone_headers(item.version), **record_headers(traceparent)}
        return OutgoingRecord(topics.INDEX_ENTRIES.name, item.item_id, None, headers)

    async def _remember(
        self, chains: dict[str, list[Delivered]], changed: dict[str, Item], rejected: Sequence[Rejected]
    ) -> None:
        refused = {id(entry.item) for entry in rejected}
        rows: list[tuple[str, Item | None]] = []
        for item_id, chain in chains.items():
            item = changed.get(item_id)
            rows += [
                (one.event.id, item if item is not None and one.event.id == item.event_id else None)
                for one in chain
                if id(one) not in refused
            ]
        if rows:
            await asyncio.to_thread(self._catalogue.apply_items, NAME, rows)


def register(app: faust.App, deps: StreamDeps) -> AgentT:
    if deps.catalogue is None or deps.embeddings is None:
        raise ConfigurationError(f"agent {NAME} needs the catalogue and the embedding service")
    settings = deps.settings.streams
    # Less than the handler's deadline: an embedding service that hangs is unavailable, not a defect of the event.
    timeout_s = 0.6 * settings.deadline_s
    return agent(
        app,
        deps,
        topic=topics.UPLOADS.name,
        stream="uploads",
        name=NAME,
        handle=UploadIndexer(deps.catalogue, deps.embeddings, deps.publisher, timeout_s),
        batch_size=settings.batch_size,
        within_s=settings.batch_within_s,
        inbox=deps.catalogue,
    )


def _fold(item: Item | None, chain: Sequence[Delivered]) -> _Outcome:
    """Return the state of an item after the events of `chain`, and the events that cannot be applied to it."""
    before = item
    rejected: list[Rejected] = []
    for one in sorted(chain, key=_version):
        try:
            item = _apply(item, one)
        except NotFound as error:
            rejected.append(Rejected(one, error))
    return _Outcome(item if item is not before else None, tuple(rejected))


def _apply(item: Item | None, one: Delivered) -> Item | None:
    """Return the item after one event; the same object when the event changes nothing. Raises NotFound."""
    event, version = one.event, _version(one)
    placeholder = item is not None and item.state == "hidden" and not item.media_id
    if item is not None and version <= item.version and not (placeholder and isinstance(event, UploadCreated)):
        return item
    match event:
        case UploadCreated(data=data):
            created = Item(
                **{name: getattr(data, name) for name in ("item_id", "owner_id", "kind", "media_id", "title")},
                description=data.description,
                tags=tuple(data.tags),
                language=data.language,
                category=data.category,
                visibility=data.visibility,
                blocked_regions=tuple(data.blocked_regions),
                state="active",
                unsafe=item.unsafe if item else False,
                version=version,
                event_id=event.id,
                created_at=item.created_at if item else event.time,
                updated_at=event.time,
            )
            if item is not None and version < item.version:  # it was hidden before it arrived; it stays hidden
                newer = Version(item.version.time_us, item.version.seq + 1)
                return replace(created, state="hidden", version=newer)
            return created
        case UploadChanged(data=data):
            if item is None or item.state == "deleted" or placeholder:
                raise NotFound(f"a change of item {data.item_id!r}, which is not there; replay it when it is")
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name in msgspec.structs.asdict(data)
                if name != "item_id" and (value := getattr(data, name)) is not msgspec.UNSET
            }
            return replace(item, **values, version=version, event_id=event.id, updated_at=event.time)
        case UploadHidden(data=data):
            state: Literal["active", "hidden"] = "hidden" if data.hidden else "active"
            if item is None:
                if not data.hidden:
                    raise NotFound(f"item {data.item_id!r} is to be shown again but is not there; replay it when it is")
                return _placeholder(one, "hidden")
            if item.state == "deleted":
                return item
            if placeholder and not data.hidden:
                raise NotFound(f"item {data.item_id!r} is to be shown again but never arrived; replay it when it did")
            return replace(item, state=state, version=version, event_id=event.id, updated_at=event.time)
        case UploadDeleted():
            if item is None:
                return _placeholder(one, "deleted")
            return replace(item, state="deleted", version=version, event_id=event.id, updated_at=event.time)
    raise TypeError(f"{type(event).__name__} is not an upload event")


def _placeholder(one: Delivered, state: Literal["hidden", "deleted"]) -> Item:
    """An item of which only its end is known."""
    event = one.event
    return Item(
        item_id=_item_id(one),
        owner_id="",
        kind="image",
        media_id="",
        title="",
        description="",
        tags=(),
        language="und",
        category="",
        visibility="private",
        blocked_regions=(),
        state=state,
        unsafe=False,
        version=_version(one),
        event_id=event.id,
        created_at=event.time,
        updated_at=event.time,
    )


def _cause(item: Item, chains: dict[str, list[Delivered]]) -> str | None:
    """Return the traceparent of the event that made the item what it is."""
    return next((one.event.traceparent for one in chains[item.item_id] if one.event.id == item.event_id), None)


def _item_id(one: Delivered) -> str:
    return event_key(one.event)  # the key of an upload event is its item


def _version(one: Delivered) -> Version:
    return Version.of(one.event.time, one.record.offset)


def index_record(item: Item, encoded: EncodedImage, traceparent: str | None) -> OutgoingRecord:
    """Return the record that puts an item, as it is and as the model sees it, into the indexes."""
    entry = IndexEntry(
        item_id=item.item_id,
        version=item.version,
        state="hidden" if item.state == "hidden" else "active",
        kind=item.kind,
        media_id=item.media_id,
        owner_id=item.owner_id,
        vector=pack_vector(encoded.vector),
        model_version=encoded.model_version,
        phash=encoded.phash,
        title=item.title,
        description=item.description,
        tags=list(item.tags),
        language=item.language,
        category=item.category,
        visibility=item.visibility,
        blocked_regions=list(item.blocked_regions),
        unsafe=item.unsafe,
        event_id=item.event_id,
        traceparent=traceparent,
    )
    return OutgoingRecord(topics.INDEX_ENTRIES.name, item.item_id, encode_entry(entry), record_headers(traceparent))
