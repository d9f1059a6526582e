"""What a broker can do: 25 checks against any bootstrap address, with both clients that Riverlight uses.

A broker that speaks the Kafka protocol need not do what Apache Kafka does. The result is data: `riverlight conformance`
writes it to `<home>/broker/capabilities.json`, and docs/reference/brokers.md shows it for both local brokers. Each
check makes its own topics (`riverlight-conformance.*`), which are deleted afterwards.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from confluent_kafka import KafkaException

from core.errors import Unavailable
from storage.log.conformance_checks import CHECKS, Check
from storage.log.conformance_probe import PREFIX, WAIT_S, Probe

_CHECK_LIMIT_S = 45.0
_MARKER = f"{PREFIX}.marker"
_MARKER_RECORDS = 100


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check. `detail` says what was seen where it failed."""

    name: str
    promise: str
    passed: bool
    detail: str
    took_s: float


def run_conformance(bootstrap: str, report: Callable[[CheckResult], None] = lambda result: None) -> list[CheckResult]:
    """Run every check and return what each found; `report` is called after each.

    Raises:
        Unavailable: nothing answers at `bootstrap`, so there is nothing to examine.
    """
    probe = Probe(bootstrap)
    try:
        probe.admin.list_topics(timeout=WAIT_S)
    except KafkaException as error:
        raise Unavailable(f"no Kafka broker answers at {bootstrap}: {error}") from error
    results = []
    try:
        for check in CHECKS:
            results.append(_run(check, probe))
            report(results[-1])
    finally:
        probe.close()
    return results


def _run(check: Check, probe: Probe) -> CheckResult:
    started = time.monotonic()
    detail = ""
    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(check.run, probe).result(_CHECK_LIMIT_S)
    except FutureTimeout:
        detail = f"no answer within {_CHECK_LIMIT_S:.0f} s"
    except Exception as error:  # whatever a client raises is a finding about the broker
        text = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        detail = text or type(error).__name__
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return CheckResult(check.name, check.promise, not detail, detail[:300], round(time.monotonic() - started, 2))


def write_marker(bootstrap: str) -> None:
    """Write acknowledged records that `marker_survived` looks for after a restart of the broker."""
    probe = Probe(bootstrap)
    probe.send(probe.topic(name=_MARKER), [str(number).encode() for number in range(_MARKER_RECORDS)])


def marker_survived(bootstrap: str) -> tuple[bool, str]:
    """Whether every record of `write_marker` is there, and what was seen; deletes the marker."""
    probe = Probe(bootstrap)
    if _MARKER not in probe.admin.list_topics(timeout=WAIT_S).topics:
        return False, "the topic is gone"
    found = len(probe.read(_MARKER, _MARKER_RECORDS))
    probe.admin.delete_topics([_MARKER])[_MARKER].exception(WAIT_S)
    return found == _MARKER_RECORDS, f"{found} of {_MARKER_RECORDS} records are there"
