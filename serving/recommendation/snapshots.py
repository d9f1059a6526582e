"""Snapshots of the live state: a folder `v<N>/` that holds it, and how far it had read each topic.

    arrays.npz        columns of videos, counts
    lists.msgpack     ids, titles, names, and whatever else is not an array
    audience.msgpack  users
    manifest.json     format, positions and epochs by stream, and the SHA-256 of each file and of itself

Folders are written and read as `models.index.snapshot_folder` says. No file is of a format that can run code. One that
was written while other numbers of impressions were promised is passed over: what it says of promises would be wrong.

The writer is held up only while what events count is copied, together with the positions. Users and videos are saved
beside it, perhaps newer than the positions: applying the events after the positions again changes nothing there.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import IntegrityError
from core.events import decode, encode
from models.index.segment_files import sha256_of
from models.index.snapshot_folder import check_files, load_newest, publish, refuse_newer
from serving.recommendation.audience import packed
from serving.recommendation.live_state import LiveState
from serving.recommendation.recent_ids import split

FORMAT = 1
_KIND = "recommendation-live-state"
_CHUNK = 2_000  # values encoded in one go: the interpreter is held for a millisecond or so
_PAUSE_S = 0.001  # between chunks, so that requests get their turn
_LARGEST_CHUNK = 2**30

Positions = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True)
class Capture:
    """What has to be taken while nothing is applied."""

    positions: Positions  # stream -> partition -> the next offset to read
    epochs: Mapping[str, str]  # stream -> which incarnation of its topic that is
    counted: Mapping[str, Any]
    people: tuple[list[tuple[str, Any]], list[tuple[str, float]]]


@dataclass(frozen=True)
class Snapshot:
    """A loaded snapshot."""

    state: LiveState
    positions: dict[str, dict[int, int]]
    epochs: dict[str, str]
    path: Path


def capture(state: LiveState, positions: Positions, epochs: Mapping[str, str]) -> Capture:
    """Return what `write_snapshot` needs besides the state. Call it while nothing is applied; it takes little time."""
    copied = {stream: dict(offsets) for stream, offsets in positions.items()}
    return Capture(copied, dict(epochs), state.counted(), state.audience.capture())


def write_snapshot(state: LiveState, captured: Capture, folder: Path, *, keep: int) -> Path:
    """Write the next `v<N>` into `folder`, leave the newest `keep` there, and return its path."""
    return publish(folder, partial(_write, state, captured), keep=keep)


def load_snapshot(
    folder: Path, make_state: Callable[[], LiveState], *, on_skipped: Callable[[str], None] | None = None
) -> Snapshot | None:
    """Load the newest whole snapshot of `folder` into a new state; None when there is none.

    Args:
        on_skipped: told of each snapshot that is passed over, and why.

    Raises:
        IntegrityError: the newest snapshot was written by a newer release; going on with an older one would silently
            undo what that release did. Remove the folder to rebuild from the log.
    """

    def load(path: Path, body: Mapping[str, Any]) -> Snapshot:
        if body.get("kind") != _KIND:
            raise IntegrityError(f"a snapshot of {body.get('kind', 'something else')!r}")
        refuse_newer(path, body, FORMAT)
        state = make_state()
        promised = body.get("promised_impressions", state.promised_impressions)  # not written before 2026-11-23
        if promised != state.promised_impressions:
            raise IntegrityError(
                f"it knows when videos had {promised} impressions, and {state.promised_impressions} are promised now"
            )
        check_files(path, body)
        return _load(path, body, state)

    return load_newest(folder, load, on_skipped or (lambda reason: None))


def _write(state: LiveState, captured: Capture, target: Path) -> dict[str, Any]:
    people, erased = captured.people
    with (target / "audience.msgpack").open("wb") as file:
        _put(file, erased)
        _put(file, (packed(user_id, person) for user_id, person in people))
    rows, arrays = state.videos.arrays(
        partial(time.sleep, _PAUSE_S)
    )  # after the users: every row they name is among them
    counted = captured.counted
    popularity = counted["popularity"]
    arrays |= {
        "impressions": counted["impressions"],
        "reached_s": counted["reached_s"],
        "popularity.long": popularity["long"][0],
        "popularity.short": popularity["short"][0],
    }
    for number, (place_rows, sums) in enumerate(popularity["countries"].values()):
        arrays |= {f"country-{number}.rows": place_rows, f"country-{number}.sums": sums}
    with (target / "arrays.npz").open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    lists = state.videos.lists(rows) | {
        "countries": list(popularity["countries"]),
        "recent_ids": [b"".join(counted["recent_ids"])],
        "waiting": [encode(event) for event in counted["waiting"]],
    }
    with (target / "lists.msgpack").open("wb") as file:
        _put(file, lists)
        for values in lists.values():
            _put(file, values)
    return {
        "kind": _KIND,
        "format": FORMAT,
        "positions": {
            stream: {str(partition): offset for partition, offset in offsets.items()}
            for stream, offsets in captured.positions.items()
        },
        "epochs": dict(captured.epochs),
        "videos": rows,
        "users": len(people),
        "clock_s": counted["clock_s"],
        "events": counted["events"],
        "promised_impressions": state.promised_impressions,
        "popularity": {
            "long_landmark_s": popularity["long"][1],
            "short_landmark_s": popularity["short"][1],
            "clock_s": popularity["clock_s"],
        },
        "files": {path.name: sha256_of(path) for path in sorted(target.iterdir())},
    }


def _load(path: Path, body: Mapping[str, Any], state: LiveState) -> Snapshot:
    try:
        with np.load(path / "arrays.npz", allow_pickle=False) as stored:
            arrays: dict[str, NDArray[Any]] = {name: stored[name] for name in stored.files}
        with (path / "lists.msgpack").open("rb") as file:
            names = list(_take(file))
            lists = {name: list(_take(file)) for name in names}
        state.videos.restore(arrays, lists)
        with (path / "audience.msgpack").open("rb") as file:
            erased = list(_take(file))
            state.audience.restore(_take(file), erased)
        popularity = body["popularity"]
        state.restore_counted(
            {
                "clock_s": body["clock_s"],
                "events": body["events"],
                "impressions": arrays["impressions"],
                "reached_s": arrays["reached_s"],
                "popularity": {
                    "long": (arrays["popularity.long"], popularity["long_landmark_s"]),
                    "short": (arrays["popularity.short"], popularity["short_landmark_s"]),
                    "clock_s": popularity["clock_s"],
                    "countries": {
                        name: (arrays[f"country-{number}.rows"], arrays[f"country-{number}.sums"])
                        for number, name in enumerate(lists["countries"])
                    },
                },
                "recent_ids": split(lists["recent_ids"][0]),
                "waiting": [decode(event, "interactions") for event in lists["waiting"]],
            }
        )
        positions = {
            stream: {int(partition): int(offset) for partition, offset in offsets.items()}
            for stream, offsets in body["positions"].items()
        }
    except (KeyError, ValueError, TypeError, IndexError, OSError, msgspec.MsgspecError) as error:
        # the hashes match, so it was written wrong
        raise IntegrityError(f"it cannot be opened ({type(error).__name__}: {error})") from error
    return Snapshot(state, positions, dict(body["epochs"]), path)


def _put(file: BinaryIO, values: Iterable[Any]) -> None:
    """Write values in chunks, each with its length in front; a length of zero ends them."""
    chunk: list[Any] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == _CHUNK:
            _put_chunk(file, chunk)
            chunk = []
            time.sleep(_PAUSE_S)
    if chunk:
        _put_chunk(file, chunk)
    file.write((0).to_bytes(4, "little"))


def _put_chunk(file: BinaryIO, chunk: list[Any]) -> None:
    encoded = msgspec.msgpack.encode(chunk)
    file.write(len(encoded).to_bytes(4, "little"))
    file.write(encoded)


def _take(file: BinaryIO) -> Iterator[Any]:
    while length := int.from_bytes(file.read(4), "little"):
        if length > _LARGEST_CHUNK:
            raise ValueError(f"a chunk of {length} bytes")
        yield from msgspec.msgpack.decode(file.read(length))
