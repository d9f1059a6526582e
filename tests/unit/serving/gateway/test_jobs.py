import threading

import pytest

from core.errors import Unavailable
from serving.gateway.jobs import Jobs


async def test_a_job_that_outlasts_the_call_runs_once_and_is_fetched_later():
    go, started = threading.Event(), []

    def work() -> str:
        started.append(1)
        go.wait(10)
        return "done"

    jobs = Jobs(wait_s=0.05)
    assert await jobs.result("rebuild", work) is None
    assert await jobs.result("rebuild", work) is None
    go.set()
    while (answer := await jobs.result("rebuild", work)) is None:
        pass
    assert (answer, len(started)) == ("done", 1)


async def test_a_job_that_fails_says_so_and_can_be_started_again():
    def broken() -> int:
        raise Unavailable("the log does not answer")

    jobs = Jobs()
    with pytest.raises(Unavailable):
        await jobs.result("verify", broken)
    assert await jobs.result("verify", lambda: 3) == 3
