"""The doctor: what it finds on machines that lack something, and what it mends."""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file
from typer.testing import CliRunner

from core.errors import Unavailable
from core.settings import Settings, load_settings
from infra import doctor
from infra.broker import kafka
from infra.cli import system
from infra.cli.output import OutputFormat
from infra.doctor import Finding
from infra.ports import free_port
from infra.supervisor import control
from models.registry.manifest import WEIGHTS, file_sha256, read_manifest
from models.registry.packaged import open_registry


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


def test_a_harm_model_that_can_be_loaded_is_named(settings: Settings) -> None:
    found = finding(doctor.examine(settings), "harm model")
    assert (found.level, found.found.partition("/")[0]) == ("ok", "moderation")


def test_a_harm_model_of_another_release_is_told_before_posts_wait_for_people(settings: Settings) -> None:
    champion = open_registry(settings.home).resolve("moderation@champion")
    save_file({"weights": np.zeros(3, np.float32)}, champion.folder / WEIGHTS)
    replace(read_manifest(champion.folder), sha256=file_sha256(champion.folder / WEIGHTS)).write(champion.folder)
    found = doctor.harm_model(settings)
    assert found.level == "warn" and "does not hold a harm model" in found.found
    assert "waits for a person" in found.cost and "models promote" in found.todo


def test_a_harm_model_for_another_text_encoder_is_told(settings: Settings) -> None:
    other = settings.model_copy(
        update={"text_encoder": settings.text_encoder.model_copy(update={"prefix": "passage: "})}
    )
    found = doctor.harm_model(other)
    assert found.level == "warn" and "was trained with text encoder" in found.found


def test_without_moderation_no_harm_model_is_looked_for(settings: Settings) -> None:
    off = settings.model_copy(update={"moderation": settings.moderation.model_copy(update={"enabled": False})})
    assert doctor.harm_model(off).level == "ok"


def test_up_warns_of_a_harm_model_that_cannot_be_loaded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        doctor, "harm_model", lambda settings: Finding("harm model", "warn", "old", "all wait", "train")
    )

    def not_here(*_: object, **__: object) -> None:
        raise Unavailable("nothing is started in a test")

    monkeypatch.setattr(control, "up_detached", not_here)
    with pytest.raises(typer.Exit):
        system.up_command(detach=True, broker=None, timeout=1.0, output=OutputFormat.text)
    assert "warning: harm model: old; all wait; train" in capsys.readouterr().err


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
