import asyncio

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError, RequestCancelledError

from core.errors import InvalidInput, Overloaded, Unavailable
from core.ports import EncodedImage
from serving.handles import HandleEmbeddingService

RESULT = EncodedImage(np.ones(4, np.float32) / 2, "0" * 16, 4, 3, "visual-search/fake")


class Response:
    """What a handle's `remote` gives: something to await, and to cancel."""

    def __init__(self, outcome):
        self.outcome = outcome
        self.cancelled = False

    def __await__(self):
        return self._wait().__await__()

    async def _wait(self):
        if self.outcome is None:
            await asyncio.Event().wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def cancel(self):
        self.cancelled = True


class Handle:
    def __init__(self, *outcomes):
        self.responses = [Response(outcome) for outcome in outcomes]
        self.asked = []
        self.encode_media = self.encode_bytes = self

    def remote(self, asked, **options):
        self.asked.append((asked, options))
        return self.responses[len(self.asked) - 1]


def task_error(cause):
    return RayTaskError(function_name="encode_bytes", traceback_str="traceback", cause=cause)


async def test_long_lists_are_asked_for_in_parts_and_put_together_in_order():
    handle = Handle([RESULT] * 64, [RESULT] * 6)
    results = await HandleEmbeddingService(handle).encode_media([str(n) for n in range(70)], crop=(0, 0, 1, 1))
    assert len(results) == 70
    assert [len(asked) for asked, _ in handle.asked] == [64, 6]
    assert handle.asked[1][0][0] == "64"
    assert handle.asked[0][1]["crop"] == (0, 0, 1, 1)


@pytest.mark.parametrize(
    ("raised", "becomes", "said"),
    [
        (BackPressureError(num_queued_requests=3, max_queued_requests=2), Overloaded, "overloaded"),
        (ActorDiedError(), Unavailable, "ActorDiedError"),
        (RequestCancelledError("r1"), Unavailable, "RequestCancelledError"),
        (task_error(Overloaded("80 images are being embedded")), Overloaded, "80 images"),
        (task_error(Unavailable("shutting down")), Unavailable, "shutting down"),
        (task_error(InvalidInput("crop")), InvalidInput, "crop"),
        (task_error(ZeroDivisionError("oh")), Unavailable, "ZeroDivisionError: oh"),
    ],
)
async def test_what_ray_raises_is_said_in_our_words(raised, becomes, said):
    with pytest.raises(becomes, match=said) as caught:
        await HandleEmbeddingService(Handle(raised, raised)).encode_bytes(b"x")
    assert type(caught.value) is becomes


@pytest.mark.parametrize("died", [ActorDiedError(), ActorUnavailableError("gone", None)])
async def test_where_a_replica_dies_another_one_is_asked_once_within_the_same_time(died):
    handle = Handle(died, RESULT)
    assert await HandleEmbeddingService(handle).encode_bytes(b"x", crop=(0, 0, 1, 1), timeout_s=5) is RESULT
    (first, options), (second, again) = handle.asked
    assert (first, second) == (b"x", b"x")
    assert (options["crop"], options["timeout_s"]) == (again["crop"], 5) == ((0, 0, 1, 1), 5)
    assert 4 < again["timeout_s"] < 5
    with pytest.raises(Unavailable, match="cannot be reached"):
        await HandleEmbeddingService(Handle(died, died, RESULT)).encode_bytes(b"x")


async def test_what_is_not_a_death_is_not_asked_again():
    handle = Handle(task_error(Unavailable("shutting down")), RESULT)
    with pytest.raises(Unavailable, match="shutting down"):
        await HandleEmbeddingService(handle).encode_bytes(b"x")
    assert len(handle.asked) == 1


async def test_a_call_that_takes_too_long_is_cancelled_over_there_too(monkeypatch):
    monkeypatch.setattr("serving.handle_calls._ANSWER_MARGIN_S", 0.0)
    handle = Handle(None)
    with pytest.raises(Unavailable, match="did not answer"):
        await HandleEmbeddingService(handle).encode_bytes(b"x", timeout_s=0.05)
    assert handle.responses[0].cancelled


async def test_a_caller_that_leaves_takes_its_call_along():
    handle = Handle(None)
    asked = asyncio.create_task(HandleEmbeddingService(handle).encode_bytes(b"x"))
    for _ in range(5):  # let it get as far as it can
        await asyncio.sleep(0)
    assert handle.asked
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert handle.responses[0].cancelled
