"""Which broker is chosen on machines that have more or less."""

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import BrokerSettings
from infra.broker import embedded, kafka, selection


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    def has(*, java: bool, package: bool) -> None:
        monkeypatch.setattr(kafka, "what_is_missing", lambda libs: [] if java else ["Java 17 or newer"])
        monkeypatch.setattr(embedded, "what_is_missing", lambda: [] if package else ["the embedded broker"])

    return has


@pytest.mark.parametrize(
    ("wanted", "java", "kind", "durable"),
    [("auto", True, "kafka", True), ("auto", False, "embedded", False), ("embedded", True, "embedded", False)],
)
def test_the_best_broker_that_runs_here_is_taken(machine, tmp_path: Path, wanted, java, kind, durable) -> None:
    machine(java=java, package=True)
    choice = selection.choose(BrokerSettings(kind=wanted, port=19092), tmp_path)
    assert (choice.kind, choice.durable, choice.bootstrap) == (kind, durable, "127.0.0.1:19092")
    assert ("VOLATILE" in choice.promise) is not durable


def test_the_fallback_says_what_is_missing_for_the_durable_broker(machine, tmp_path: Path) -> None:
    machine(java=False, package=True)
    assert selection.choose(BrokerSettings(kind="auto"), tmp_path).missing == ["Java 17 or newer"]


def test_a_wanted_kafka_that_cannot_run_is_an_error_and_not_a_fallback(machine, tmp_path: Path) -> None:
    machine(java=False, package=True)
    with pytest.raises(ConfigurationError, match="missing: Java 17 or newer"):
        selection.choose(BrokerSettings(kind="kafka"), tmp_path)


def test_a_machine_without_any_broker_is_told_both_ways_out(machine, tmp_path: Path) -> None:
    machine(java=False, package=False)
    with pytest.raises(ConfigurationError, match=r"Java 17 or newer.*the embedded broker.*HOST:PORT"):
        selection.choose(BrokerSettings(kind="auto"), tmp_path)


def test_an_address_is_an_external_broker_that_is_not_started(machine, tmp_path: Path) -> None:
    machine(java=True, package=True)
    choice = selection.choose(BrokerSettings(kind="kafka.example.org:9092"), tmp_path)
    assert (choice.kind, choice.bootstrap, choice.local) == ("external", "kafka.example.org:9092", None)


def test_a_kind_that_is_no_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not HOST:PORT"):
        selection.choose(BrokerSettings(kind="redpanda"), tmp_path)
