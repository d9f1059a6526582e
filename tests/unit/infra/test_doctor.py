"""The doctor: what it finds on machines that lack something, and what it mends."""

import json
import os
import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from core.errors import Unavailable
from core.settings import Settings, load_settings
from infra import doctor
from infra.broker import kafka
from infra.cli import system
from infra.doctor import Finding
from infra.ports import free_port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    ports = {"worker_metrics_port": 0, "prometheus_port": 0}
    return load_settings(home=tmp_path, http={"port": free_port()}, broker={"port": 0}, monitoring=ports)


def finding(found: list[Finding], name: str) -> Finding:
    return next(entry for entry in found if entry.name == name)


def test_a_machine_without_java_is_warned_about_the_volatile_broker(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "find_java", lambda: None)
    java = finding(doctor.examine(settings), "java")
    assert java.level == "warn"
    assert "forgets every event" in java.cost and "openjdk" in java.todo


def test_a_taken_port_is_a_failure_that_names_its_holder_and_setting(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.http.port)):
        port = finding(doctor.examine(settings), "port")
    assert port.level == "fail"
    assert f"pid {os.getpid()}" in port.found and "http.port" in port.todo


def test_a_broker_that_is_set_and_does_not_answer_is_a_failure(settings: Settings) -> None:
    address = f"127.0.0.1:{free_port()}"
    lost = settings.model_copy(update={"broker": settings.broker.model_copy(update={"bootstrap": address})})
    assert finding(doctor.examine(lost), "broker").level == "fail"
    assert finding(doctor.examine(settings), "broker").level == "ok"


def test_mending_goes_on_after_a_fix_that_fails() -> None:
    mended: list[str] = []

    def broken(progress: object) -> None:
        raise Unavailable("no network")

    findings = [
        Finding("kafka", "warn", "", todo="fetch it", fix=broken),
        Finding("prometheus", "warn", "", todo="unpack it", fix=lambda _: mended.append("prometheus")),
        Finding("redis", "ok", "", fix=lambda _: mended.append("redis")),
    ]
    assert doctor.mend(findings, lambda message: None) == ["kafka: no network"]
    assert mended == ["prometheus"]


def _command(*arguments: str, home: Path) -> tuple[int, str]:
    app = typer.Typer()
    system.register(app)
    result = CliRunner().invoke(app, [*arguments], env={"RIVERLIGHT_HOME": str(home)})
    return result.exit_code, result.stdout


def test_status_of_a_home_where_nothing_runs_ends_with_3_and_is_still_json(tmp_path: Path) -> None:
    code, said = _command("status", "-o", "json", home=tmp_path)
    assert code == 3
    assert json.loads(said)["running"] is False


def test_down_where_nothing_runs_is_no_failure(tmp_path: Path) -> None:
    code, said = _command("down", "-o", "json", home=tmp_path)
    assert (code, json.loads(said)) == (0, {"was_running": False, "leftovers": []})


def test_topics_without_a_broker_end_with_3(tmp_path: Path) -> None:
    assert _command("topics", "list", home=tmp_path)[0] == 3


def test_an_unknown_broker_kind_is_wrong_usage(tmp_path: Path) -> None:
    assert _command("up", "--broker", "redpanda", home=tmp_path)[0] == 2
