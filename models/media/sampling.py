"""Which packets of a video to decode, so that frames evenly spread over its time come out at a bounded cost.

A decoder can start at keyframes only. A wanted frame therefore costs everything from its keyframe on: `plan` bounds
the sum. Where it would be more, frames nearer to their keyframes are taken instead; there are as many of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PIXELS_PER_BYTE = 32  # a packet's byte takes as long to decode as so many pixels: 4.5 MB/s against 150 to 250 Mpx/s


@dataclass(frozen=True)
class Packet:
    """What the container says of one compressed frame.

    `time` is its place in the presentation, in ticks, from 0. Some are there only for others to be decoded.
    """

    time: int
    is_keyframe: bool
    size_bytes: int
    is_shown: bool = True


@dataclass(frozen=True)
class Run:
    """Packets to decode one after the other: those from `first` (a keyframe) to `first + wanted[-1]`.

    `wanted` are the frames to keep, counted from the first that comes out, ascending.
    """

    first: int
    wanted: tuple[int, ...]


def beginning(packets: Sequence[Packet]) -> Run:
    """Return the run that yields the first frame shown."""
    shown = next(index for index, packet in enumerate(packets) if packet.is_shown)
    first = max((index for index in range(shown + 1) if packets[index].is_keyframe), default=0)
    return Run(first, (shown - first,))


def plan(packets: Sequence[Packet], frames: int, frame_pixels: int, budget: int) -> list[Run]:
    """Return the runs that yield up to `frames` different frames, in the middles of as many equal parts of the time.

    The cost of a packet is `frame_pixels` and `PIXELS_PER_BYTE` for each of its bytes. The runs cost no more than
    `budget` pixels together, unless their keyframes alone do. Fewer frames come of a video that has fewer.
    """
    times = np.array([packet.time for packet in packets], dtype=np.int64)
    costs = frame_pixels + PIXELS_PER_BYTE * np.array([packet.size_bytes for packet in packets], dtype=np.int64)
    spent = np.concatenate(([0], np.cumsum(costs)))  # by the packets before each
    keyframes = np.flatnonzero([packet.is_keyframe for packet in packets])
    shown = np.flatnonzero([packet.is_shown for packet in packets])
    wanted = [int(shown[place]) for place in _evenly(times[shown], frames)]
    groups: dict[int, list[int]] = {}
    for index in wanted:
        before = int(np.searchsorted(keyframes, index, side="right")) - 1
        first = int(keyframes[before]) if before >= 0 else 0
        groups.setdefault(first, []).append(index - first)
    total = sum(int(spent[first + offsets[-1] + 1] - spent[first]) for first, offsets in groups.items())
    if total <= budget:
        return [Run(first, tuple(offsets)) for first, offsets in sorted(groups.items())]
    return [
        Run(first, _pulled_in(offsets, _reach(spent, first, budget * len(offsets) // len(wanted))))
        for first, offsets in sorted(groups.items())
    ]


def _evenly(times: NDArray[np.int64], frames: int) -> list[int]:
    """Return the places of what is shown at the middles of `frames` equal parts of the time, ascending, each once."""
    order = np.argsort(times, kind="stable")  # packets come in the order of decoding
    ordered = times[order]
    # The last frame is shown, too: for as long as the others on average.
    end = ordered[-1] + max(1, round((ordered[-1] - ordered[0]) / max(1, len(times) - 1)))
    middles = ordered[0] + (np.arange(frames) + 0.5) * (end - ordered[0]) / frames
    places = np.searchsorted(ordered, middles, side="right") - 1
    return sorted({int(index) for index in order[places]})


def _reach(spent: NDArray[np.int64], first: int, allowed: int) -> int:
    """Return how many packets after `first` may be decoded as well."""
    return max(0, int(np.searchsorted(spent, spent[first] + allowed, side="right")) - 2 - first)


def _pulled_in(offsets: Sequence[int], reach: int) -> tuple[int, ...]:
    if offsets[-1] <= reach:
        return tuple(offsets)
    reach = max(reach, len(offsets) - 1)  # as many different frames, whatever they cost
    spread = [offset * reach // offsets[-1] for offset in offsets]
    for place in range(len(spread) - 2, -1, -1):  # rounding may have made two the same
        spread[place] = min(spread[place], spread[place + 1] - 1)
    return tuple(spread)
