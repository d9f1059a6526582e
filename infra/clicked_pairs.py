"""Training pairs from the clicks of the running system: who searched with this image clicked on that one.

A click event names its answer (trace id); the trace in the catalogue says what was asked and what was shown; the
catalogue says whether both images may still be used; the object store has their bytes. Uploads are untrusted, so they
are decoded in the limited child process and trained on as the canonical pixels that serving embeds.
"""

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from core import topics
from core.errors import IntegrityError, InvalidInput
from core.events import Click, UploadChanged, UploadCreated, UserErased
from core.ports import Crop, ObjectStore
from core.settings import Settings
from features.archive import read_events
from models.datasets.catalogue import list_datasets, list_images
from models.media.decoder import MediaDecoder
from models.visual_search.clicks import click_weights
from monitoring.canary import CATEGORY as CANARY_CATEGORY
from monitoring.canary import OWNER as CANARY_OWNER
from storage.catalogue import Catalogue, Item, TraceRecord
from storage.objects import open_object_store

KIND = "visual_search"
MINIMUM_CLICKS = 20

LeftOut = Literal[
    "no-trace",  # the click names no answer, or one that is not kept any more
    "other-answer",  # of another system than visual search
    "not-shown",  # the answer did not hold the item: nobody can vote for what they were not shown
    "query-not-stored",  # the query was a file in the request; search by media id to learn from clicks
    "removed",  # query or item is hidden, deleted, not public or unsafe now
    "replaced",  # query or item showed another image then
    "canary",
    "user-erased",
    "same-image",
    "repeated",  # the same user on the same pair: a user has one vote
    "held-out",  # an image that models are measured on
    "unreadable",  # the bytes are gone, or do not decode
]


@dataclass(frozen=True)
class Picture:
    """A stored image, or a part of one."""

    media_id: str
    crop: Crop | None = None


@dataclass(frozen=True)
class Vote:
    """One user's first click on an image among the answers to another; `position` counts from 0."""

    user_id: str
    query: Picture
    clicked: Picture
    position: int


@dataclass(frozen=True)
class ClickedPairs:
    """What the clicks say: pairs of images, what was left out, and why."""

    pairs: list[tuple[Path, Path, float]]  # query image, clicked image, weight (their mean is 1)
    clicks: int  # click events in the archive
    users: int
    left_out: Mapping[str, int]

    def as_dict(self) -> dict[str, object]:
        return {
            "clicks": self.clicks,
            "used": len(self.pairs),
            "pairs": len({pair[:2] for pair in self.pairs}),
            "users": self.users,
            "left_out": dict(self.left_out),
        }


def clicked_pairs(
    settings: Settings, folder: Path, *, datasets: Sequence[str], minimum: int = MINIMUM_CLICKS, eta: float = 1.0
) -> ClickedPairs:
    """Return the pairs that the clicks in the archive make, with images written to `folder` (emptied first).

    Clicks weigh by the inverse chance of looking at their position (`click_weights`, `eta`).

    Args:
        datasets: what is trained on beside the clicks. Images of other installed data sets, and the validation and
            test images of these, are what models are measured on: no click brings them in (by content hash).
        minimum: fewer usable clicks than this are refused.

    Raises:
        InvalidInput: not enough usable clicks; the message says what became of the others.
        ConfigurationError: one of `datasets` is not installed.
    """
    archive = settings.home.resolve() / "archive"
    trained, held_out = _known_images(settings.home, datasets)
    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    try:
        clicks = [at.event for at in read_events(archive, topics.INTERACTIONS.name) if isinstance(at.event, Click)]
        votes, left_out = collect_votes(clicks, archive, catalogue, held_out)
    finally:
        catalogue.close()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store = open_object_store(settings.objects_url)
    wanted = {picture for vote in votes for picture in (vote.query, vote.clicked)}
    files = asyncio.run(_write_images(sorted(wanted, key=repr), folder, store, settings, trained))
    used = [vote for vote in votes if vote.query in files and vote.clicked in files]
    left_out["unreadable"] += len(votes) - len(used)
    left_out = +left_out
    if len(used) < max(minimum, 1):
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common()) or "there are none"
        raise InvalidInput(
            f"{len(used)} of {len(clicks)} archived clicks can be learned from, and {max(minimum, 1)} are needed "
            f"(left out: {why}); docs/how-to/train.md says what each means"
        )
    weights = click_weights([vote.position + 1 for vote in used], eta=eta)  # there positions count from 1
    return ClickedPairs(
        pairs=[(files[v.query], files[v.clicked], float(w)) for v, w in zip(used, weights, strict=True)],
        clicks=len(clicks),
        users=len({vote.user_id for vote in used}),
        left_out=left_out,
    )


def collect_votes(
    clicks: Iterable[Click], archive: Path, catalogue: Catalogue, held_out: frozenset[str] = frozenset()
) -> tuple[list[Vote], Counter[str]]:
    """Return the clicks that may be learned from, in the order given, and how many were left out for which reason."""
    judge = _Judge(archive, catalogue, held_out)
    votes: dict[tuple[str, Picture, str], Vote] = {}
    left_out: Counter[str] = Counter()
    for click in clicks:
        vote = judge.vote(click)
        if not isinstance(vote, Vote):
            left_out[vote] += 1
        elif (key := (vote.user_id, vote.query, vote.clicked.media_id)) in votes:
            left_out["repeated"] += 1
        else:
            votes[key] = vote
    return list(votes.values()), left_out


class _Judge:
    """Decides on clicks one by one; traces and items are read once."""

    def __init__(self, archive: Path, catalogue: Catalogue, held_out: frozenset[str]) -> None:
        self._catalogue = catalogue
        self._held_out = held_out
        self._history = _MediaHistory(archive)
        self._erased = _erased_users(archive)
        self._traces: dict[str, TraceRecord | None] = {}
        self._items: dict[str, Item | None] = {}

    def vote(self, click: Click) -> Vote | LeftOut:
        data = click.data
        item_id = data.item_id
        assert item_id is not None  # the schema of a click asks for it
        if data.user_id in self._erased:
            return "user-erased"
        trace = self._trace(data.trace_id)
        if trace is None:
            return "no-trace"
        if trace.kind != KIND:
            return "other-answer"
        shown = {one["item_id"]: one["position"] for one in trace.payload["candidates"]}
        if shown.get(item_id) is None:
            return "not-shown"
        clicked = self._image_of(item_id, trace.created_at)
        if not isinstance(clicked, Picture):
            return clicked
        query = self._query(trace)
        if not isinstance(query, Picture):
            return query
        if {query.media_id, clicked.media_id} & self._held_out:
            return "held-out"
        if query.media_id == clicked.media_id:
            return "same-image"
        return Vote(data.user_id, query, clicked, shown[item_id] if data.position is None else data.position)

    def _query(self, trace: TraceRecord) -> Picture | LeftOut:
        asked: dict[str, Any] = trace.payload["asked"]
        crop = tuple(asked["crop"]) if asked.get("crop") else None
        if "item_id" in asked:
            found = self._image_of(asked["item_id"], trace.created_at)
            return Picture(found.media_id, crop) if isinstance(found, Picture) else found
        media_id = asked.get("media_id")
        if media_id is None:
            return "query-not-stored"
        # An image that is an item is used as long as one of its items may be; one that never was an item was given
        # to be searched with.
        verdicts = [self._usable(item_id) for item_id in self._history.items_with(media_id)]
        if verdicts and None not in verdicts:
            return next(verdict for verdict in verdicts if verdict is not None)
        return Picture(media_id, crop)

    def _image_of(self, item_id: str, at: datetime) -> Picture | LeftOut:
        """Return the image that an item showed then, if it still shows it to everybody."""
        if (refused := self._usable(item_id)) is not None:
            return refused
        item = self._item(item_id)
        assert item is not None
        return Picture(item.media_id) if self._history.at(item_id, at) in (None, item.media_id) else "replaced"

    def _usable(self, item_id: str) -> LeftOut | None:
        item = self._item(item_id)
        if item is None or item.state != "active" or item.unsafe or item.visibility != "public":
            return "removed"
        return "canary" if item.category == CANARY_CATEGORY or item.owner_id == CANARY_OWNER else None

    def _trace(self, trace_id: str | None) -> TraceRecord | None:
        if trace_id is None:
            return None
        if trace_id not in self._traces:
            self._traces[trace_id] = self._catalogue.trace(trace_id)
        return self._traces[trace_id]

    def _item(self, item_id: str) -> Item | None:
        if item_id not in self._items:
            self._items[item_id] = self._catalogue.item(item_id)
        return self._items[item_id]


class _MediaHistory:
    """Which image each item showed when, from the archived uploads: a deleted item's row has forgotten it."""

    def __init__(self, archive: Path) -> None:
        self._by_item: dict[str, list[tuple[datetime, str]]] = {}
        self._by_media: dict[str, set[str]] = {}
        for archived in read_events(archive, topics.UPLOADS.name):
            event = archived.event
            if isinstance(event, UploadCreated | UploadChanged) and isinstance(event.data.media_id, str):
                self._by_item.setdefault(event.data.item_id, []).append((event.time, event.data.media_id))
                self._by_media.setdefault(event.data.media_id, set()).add(event.data.item_id)

    def at(self, item_id: str, moment: datetime) -> str | None:
        """Return the image of an item at a moment; None when the archive does not know."""
        before = [change for change in self._by_item.get(item_id, ()) if change[0] <= moment]
        return max(before)[1] if before else None

    def items_with(self, media_id: str) -> set[str]:
        """Return every item that ever showed the image."""
        return self._by_media.get(media_id, set())


def _erased_users(archive: Path) -> set[str]:
    events = (archived.event for archived in read_events(archive, topics.USERS.name))
    return {event.data.user_id for event in events if isinstance(event, UserErased)}


def _known_images(home: Path, datasets: Sequence[str]) -> tuple[dict[str, Path], frozenset[str]]:
    """Return the data sets' training images by content hash, and the hashes of all that models are measured on."""
    trained: dict[str, Path] = {}
    held_out: set[str] = set()
    installed = {dataset.spec.name for dataset in list_datasets(home) if dataset.installed}
    for name in sorted({*installed, *datasets}):
        for image in list_images(name, home):
            digest = hashlib.sha256(image.path.read_bytes()).hexdigest()
            if name in datasets and image.split == "train":
                trained[digest] = image.path
            else:
                held_out.add(digest)
    return trained, frozenset(held_out)


async def _write_images(
    pictures: Sequence[Picture], folder: Path, store: ObjectStore, settings: Settings, trained: Mapping[str, Path]
) -> dict[Picture, Path]:
    """Return a file for each picture that can be read: a data set's own, or one written to `folder`."""
    decoder = MediaDecoder(settings.media)
    decoder.start()
    files: dict[Picture, Path] = {}
    try:
        for picture in pictures:
            if picture.crop is None and picture.media_id in trained:
                files[picture] = trained[picture.media_id]
                continue
            try:
                decoded = await decoder.decode(await store.get(picture.media_id), crop=picture.crop)
            except (InvalidInput, IntegrityError):  # gone, damaged, or not an image that decodes
                continue
            part = f"-{hashlib.sha256(repr(picture.crop).encode()).hexdigest()[:8]}" if picture.crop else ""
            path = folder / f"{picture.media_id}{part}.png"
            await asyncio.to_thread(Image.fromarray(decoded.pixels).save, path)
            files[picture] = path
    finally:
        decoder.close()
    return files
