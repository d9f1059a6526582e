"""What was counted of authors and posts as of a moment: the records of `moderation.features.v1`.

The catalogue counts; a total is what it held after a change. Online store and offline history of the features are both
made of these records, so that what training reads as of a moment is what could be read at that moment.
"""

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from core.errors import InvalidEvent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: How many of an author's newest standing violations are told with their times. One may be a post's own, so that
#: windows can count one less.
STRIKES_KEPT = 9


class AuthorTotals(Struct, kw_only=True, frozen=True, tag_field="of", tag="author", gc=False):
    """What was counted of an author up to `as_of_us` (microseconds since the epoch)."""

    author_id: str
    as_of_us: int
    posts: int = 0
    words: int = 0
    profane_words: int = 0
    reports: int = 0
    followers: int = 0
    since_us: int = 0  # when the account began; 0: unknown
    violations: int = 0  # posts whose decision in force enforces
    strikes_us: list[int] = []  # when the newest of them began, newest first, at most `STRIKES_KEPT`


class PostTotals(Struct, kw_only=True, frozen=True, tag_field="of", tag="post", gc=False):
    """What was counted of a post up to `as_of_us`.

    `posts` to `struck_us` are the post's part in its author's totals; `decision_id` is the decision in force.
    """

    post_id: str
    author_id: str
    as_of_us: int
    impressions: int = 0
    likes: int = 0
    shares: int = 0
    comments: int = 0
    reports: dict[str, int] = {}  # by class; those without one under `unnamed`
    posts: int = 0  # 1 once it is counted for its author
    words: int = 0
    profane_words: int = 0
    struck_us: int = 0  # when it began to be enforced; 0: it is not
    decision_id: str = ""


Totals = AuthorTotals | PostTotals
UNNAMED = "unnamed"  # reports that name no class of harm

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Totals)


def whole_us(time: datetime) -> int:
    """Return an aware time as whole microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def totals_key(totals: Totals) -> str:
    """Return whose totals they are: the key of the record."""
    return totals.author_id if isinstance(totals, AuthorTotals) else totals.post_id


def encode_totals(totals: Totals) -> bytes:
    """Return totals as a record value."""
    return _ENCODER.encode(totals)


def decode_totals(value: bytes) -> Totals:
    """Read totals back. Raises InvalidEvent when it is none."""
    try:
        return _DECODER.decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidEvent(f"not totals of an author or a post: {error}") from error
