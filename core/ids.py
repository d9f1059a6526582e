"""Identifiers, all of them derived rather than drawn, except where something new begins.

An event id is made once, where the event is made; everything a handler derives from it is a hash of its cause, so
that doing the work twice names the result the same way (at-least-once delivery, effects once).
"""

import hashlib
import random
import re
from collections.abc import Sequence

MEDIA_ID_PATTERN = r"^[0-9a-f]{64}$"
_MEDIA_ID = re.compile(MEDIA_ID_PATTERN)


def media_id(data: bytes) -> str:
    """Return the content address of media bytes: their SHA-256 in lower-case hex (64 characters)."""
    return hashlib.sha256(data).hexdigest()


def is_media_id(value: str) -> bool:
    """Tell whether `value` has the form of a content address, and nothing else (no path, no prefix)."""
    return _MEDIA_ID.fullmatch(value) is not None


def event_id(producer: str, *natural_key: str) -> str:
    """Return a deterministic event id for something that has a natural key at its producer.

    The same producer and key always give the same id, so a producer that retries or restarts sends a duplicate
    that every sink recognises, rather than a second event.
    """
    return "evt-" + _digest("event", producer, *natural_key)


def derived_id(parent_id: str, step: str, version: str = "1") -> str:
    """Return the id of what `step` (at code `version`) makes from the event `parent_id`."""
    return "drv-" + _digest("derived", parent_id, step, version)


def upload_post_id(item_id: str) -> str:
    """Return the id of the post that an upload is judged as."""
    return derived_id(item_id, "moderation.upload")


def is_upload_post(post_id: str, item_ids: Sequence[str]) -> bool:
    """Tell whether this is the post that an upload is judged as."""
    return len(item_ids) == 1 and post_id == upload_post_id(item_ids[0])


def new_trace_id() -> str:
    """Return a new W3C trace id: 16 random bytes as 32 lower-case hex characters. No secret, like a span's."""
    return _random_hex(16)


def new_span_id() -> str:
    """Return a new W3C span id: 8 random bytes as 16 lower-case hex characters."""
    return _random_hex(8)


def _random_hex(size: int) -> str:
    # Not from the system's source: asking it gives the interpreter lock away, which costs a busy gateway a tenth of its
    # time. `random` is seeded from there, and again in a forked process. All zeros would not be an id.
    return f"{random.getrandbits(8 * size) or 1:0{2 * size}x}"


def _digest(*parts: str) -> str:
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        hashed.update(len(encoded).to_bytes(8, "big"))  # length-prefixed: ("ab", "c") is not ("a", "bc")
        hashed.update(encoded)
    return hashed.hexdigest()
