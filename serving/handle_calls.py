"""Calls of other Serve applications over their handles: arrays go from process to process without JSON."""

import asyncio
from contextlib import suppress
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from core.errors import InvalidInput, Overloaded, Unavailable

_ANSWER_MARGIN_S = 1.0  # the replica keeps the deadline itself; this is for its answer to arrive


async def answer_of(response: Any, timeout_s: float, noun: str) -> Any:
    """Wait for a response, and say in our words what kept it from coming; a caller that leaves takes it along."""
    try:
        async with asyncio.timeout(timeout_s + _ANSWER_MARGIN_S):
            return await response
    except TimeoutError:
        _cancel(response)
        raise Unavailable(f"{noun} did not answer in {timeout_s:g} s") from None
    except asyncio.CancelledError:
        _cancel(response)
        raise
    except BackPressureError as error:
        raise Overloaded(f"{noun} is overloaded: {error}") from error
    except RayTaskError as error:  # raised by the service itself, over there
        raise _cause_of(error, noun) from error
    except (DeploymentUnavailableError, RayServeException, RayError) as error:  # died, restarting, cancelled, gone
        raise Unavailable(f"{noun} cannot be reached: {type(error).__name__}: {error}") from error


def _cause_of(error: RayTaskError, noun: str) -> Exception:
    cause = error.cause
    if isinstance(cause, Overloaded | Unavailable | InvalidInput):
        return cause
    return Unavailable(f"{noun} failed: {type(cause).__name__}: {cause}")


def _cancel(response: Any) -> None:
    with suppress(Exception):  # what cannot be cancelled ends at its own deadline
        response.cancel()
