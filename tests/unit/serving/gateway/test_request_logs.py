"""Whatever is logged while a request is answered says which one."""

import asyncio

import structlog
from structlog.testing import capture_logs

from tests.unit.serving.gateway.conftest import picture

_log = structlog.get_logger("test.deep-below")


async def test_lines_of_a_request_carry_the_trace_id_of_its_answer_in_threads_too(world):
    embed = world.embedding.encode_bytes

    async def talkative(data, *, crop=None, timeout_s=10.0):
        _log.info("in the loop")
        await asyncio.to_thread(_log.info, "in a thread")
        return await embed(data, crop=crop, timeout_s=timeout_s)

    world.embedding.encode_bytes = talkative
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        answers = await asyncio.gather(
            *(world.client.post("/v1/search/images", files={"file": picture(seed)}) for seed in range(3))
        )
    traces = {answer.headers["x-trace-id"] for answer in answers}
    assert len(traces) == 3
    for event in ("in the loop", "in a thread"):
        assert {line["trace_id"] for line in lines if line["event"] == event} == traces


async def test_an_unexpected_error_is_logged_with_the_trace_id_that_its_answer_names(world):
    world.embedding.failure = RuntimeError("a defect")
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        answer = await world.client.post("/v1/search/images", files={"file": picture()})
    [line] = [line for line in lines if line["event"] == "request_failed"]
    assert answer.status_code == 500
    assert line["trace_id"] == answer.json()["trace_id"] == answer.headers["x-trace-id"]
