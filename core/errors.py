"""The one tree of errors.

Each class carries a stable `code` (a slug clients and dead letters can match on). What an error means for a
record or a request is decided by its branch, never by its message:

* `InvalidInput`: the input can never succeed. HTTP 4xx; in a stream, a dead letter at once.
* `Unavailable`: something we depend on did not answer. HTTP 503; in a stream, retried with backoff.
* anything else: a defect or a broken set-up. HTTP 500; in a stream, a few retries, then a dead letter.
"""


class RiverlightError(Exception):
    """Root of every error that Riverlight raises on purpose."""

    code = "internal"


class InvalidInput(RiverlightError):
    """The input is wrong and repeating it cannot help."""

    code = "invalid-input"


class InvalidEvent(InvalidInput):
    """Bytes that are not a valid event of the expected schema."""

    code = "invalid-event"


class FutureEvent(InvalidEvent):
    """An event that claims to have happened later than the clock allows."""

    code = "future-event"


class LateEvent(InvalidEvent):
    """An event older than the window in which it could still be counted."""

    code = "late-event"


class MediaError(InvalidInput):
    """Media bytes that cannot be used."""

    code = "media"


class UnsupportedMedia(MediaError):
    """A media type that is refused whatever it contains."""

    code = "unsupported-media"


class UndecodableMedia(MediaError):
    """Media of a supported type that does not decode within its limits."""

    code = "undecodable-media"


class TooLarge(InvalidInput):
    """Input over a stated size limit."""

    code = "too-large"


class InvalidVector(InvalidInput):
    """A vector with the wrong dimension, a non-finite value or no length."""

    code = "invalid-vector"


class NotFound(InvalidInput):
    """An id that names nothing."""

    code = "not-found"


class MissingMedia(NotFound):
    """A media id with no bytes behind it in the object store."""

    code = "missing-media"


class Unauthenticated(InvalidInput):
    """A caller who has not shown who they are, or not so that it can be believed."""

    code = "unauthenticated"


class Forbidden(InvalidInput):
    """A caller who is known and may not do this."""

    code = "forbidden"


class Conflict(InvalidInput):
    """Somebody else was first: the state has moved on since the caller looked."""

    code = "conflict"


class Unavailable(RiverlightError):
    """A dependency failed or was too slow; the same call may succeed later."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """A queue is full. Counted and answered with 429 and Retry-After, never waited on."""

    code = "overloaded"


class RateLimited(Overloaded):
    """One caller has called too often. Others are answered."""

    code = "rate-limited"


class ConfigurationError(RiverlightError):
    """Settings or a set-up that cannot work, found before anything is started."""

    code = "configuration"


class IntegrityError(RiverlightError):
    """Stored bytes that do not match their recorded hash, or a format from a newer release."""

    code = "integrity"
