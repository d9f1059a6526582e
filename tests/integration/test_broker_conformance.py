"""The conformance checks on both brokers: Apache Kafka passes all, the embedded broker exactly what its page says."""

import pytest

from core.errors import Unavailable
from infra.broker import capabilities
from infra.broker.capabilities import Capabilities
from infra.ports import free_port
from storage.log.conformance import CheckResult, run_conformance

pytestmark = pytest.mark.integration

EMBEDDED_DIFFERS = {"add-partitions", "unknown-topic", "size-limit", "end-offset", "transaction-abort", "aiokafka"}
SLOW_ON_A_BUSY_MACHINE = {"group-start", "long-poll"}


def _failed(checks: list[CheckResult]) -> dict[str, str]:
    return {
        check.name: check.detail for check in checks if not check.passed and check.name not in SLOW_ON_A_BUSY_MACHINE
    }


@pytest.mark.kafka
def test_apache_kafka_passes_every_check(kafka_bootstrap: str) -> None:
    assert _failed(run_conformance(kafka_bootstrap)) == {}


def test_the_embedded_broker_fails_what_is_documented_and_nothing_else(embedded_bootstrap: str) -> None:
    assert set(_failed(run_conformance(embedded_bootstrap))) == EMBEDDED_DIFFERS


def test_an_address_without_a_broker_is_an_error_and_not_a_list_of_failures() -> None:
    with pytest.raises(Unavailable, match="no Kafka broker answers"):
        run_conformance(f"127.0.0.1:{free_port()}")


def test_the_page_compares_brokers_and_explains_each_difference() -> None:
    good = CheckResult("commit", "offsets are kept", True, "", 0.1)
    bad = CheckResult("commit", "offsets are kept", False, "they were lost", 0.1)
    page = capabilities.page([Capabilities("kafka", "Kafka 4", [good]), Capabilities("embedded", "Other", [bad])])
    assert "| `commit` | offsets are kept | yes | **no** |" in page
    assert "- `commit`: they were lost" in page
