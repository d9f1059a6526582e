"""What a dead letter looks like in `<topic>.dlq`: original bytes as the value, everything else in the headers.

Its key is the event id, because a worker that dies between writing a dead letter and committing writes it again:
readers keep one letter for each key (the newest).
"""

import hashlib
import traceback
from collections.abc import Mapping

import msgspec

from core.errors import RiverlightError
from core.ports import OutgoingRecord, StoredRecord
from core.topics import DLQ_SUFFIX

PREFIX = "riverlight-dlq-"
TOPIC = PREFIX + "topic"
PARTITION = PREFIX + "partition"
OFFSET = PREFIX + "offset"
TIMESTAMP = PREFIX + "timestamp-ms"
KEY = PREFIX + "key"
CODE = PREFIX + "code"
ERROR = PREFIX + "error"
STACK_HASH = PREFIX + "stack-hash"
ATTEMPTS = PREFIX + "attempts"
AGENT = PREFIX + "agent"
CODE_VERSION = PREFIX + "code-version"
MARKER = PREFIX + "marker"  # "dropped" or "replayed": a later record of the same key that settles the letter
REPLAYED = "riverlight-replayed"  # travels with the event: how often it was replayed

MAX_ERROR_CHARS = 1_000


class _IdOnly(msgspec.Struct):
    id: str


_ID_DECODER = msgspec.json.Decoder(_IdOnly)


def letter_id(raw: bytes) -> str:
    """Return the event id inside `raw`, or, where there is none to be read, an id made from the bytes."""
    try:
        found = _ID_DECODER.decode(raw).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = ""
    if 0 < len(found) <= 128 and found.isprintable():
        return found
    return "raw-" + hashlib.blake2b(raw, digest_size=16).hexdigest()


def stack_hash(error: BaseException) -> str:
    """Return a short hash of where an error came from: the same defect gives the same hash, whatever the message."""
    frames = [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.name}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    return hashlib.blake2b("|".join([type(error).__name__, *frames]).encode(), digest_size=6).hexdigest()


def error_code(error: BaseException) -> str:
    """Return the stable slug of an error."""
    if isinstance(error, RiverlightError):
        return error.code
    return "deadline" if isinstance(error, TimeoutError) else "internal"


def dead_letter(
    record: StoredRecord, raw: bytes, error: BaseException, *, agent: str, attempts: int, code_version: str
) -> OutgoingRecord:
    """Return the dead letter for the event `raw` of `record` that failed with `error`."""
    headers: Mapping[str, bytes] = {
        **{name: value for name, value in record.headers.items() if not name.startswith(PREFIX)},
        TOPIC: record.topic.encode(),
        PARTITION: str(record.partition).encode(),
        OFFSET: str(record.offset).encode(),
        TIMESTAMP: str(record.timestamp_ms).encode(),
        KEY: record.key.encode(),
        CODE: error_code(error).encode(),
        ERROR: f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS].encode(),
        STACK_HASH: stack_hash(error).encode(),
        ATTEMPTS: str(attempts).encode(),
        AGENT: agent.encode(),
        CODE_VERSION: code_version.encode(),
    }
    return OutgoingRecord(record.topic + DLQ_SUFFIX, letter_id(raw), raw, headers)
