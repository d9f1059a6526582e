"""Fetching jars, with a stand-in for Maven that does what the real one does to the folder."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.errors import ConfigurationError, Unavailable
from infra.broker import jars

GOOD = """#!/bin/sh
for argument in "$@"; do case "$argument" in -DoutputDirectory=*) out="${argument#*=}";; esac; done
echo "Downloaded from central: https://example.org/maven2/k/kafka_2.13-9.jar (2.5 MB at 1 MB/s)"
echo jar > "$out/kafka_2.13-9.jar"
echo jar > "$out/scala.jar"
"""
BROKEN = """#!/bin/sh
for argument in "$@"; do case "$argument" in -DoutputDirectory=*) out="${argument#*=}";; esac; done
echo half > "$out/kafka_2.13-9.jar"
echo "[ERROR] Could not transfer artifact: connection reset"
exit 1
"""


def maven(folder: Path, script: str) -> str:
    file = folder / "mvn"
    file.write_text(script)
    file.chmod(0o755)
    return str(file)


def test_a_second_install_needs_no_maven(tmp_path: Path) -> None:
    libs, lines = tmp_path / "kafka" / "libs", []
    jars.install(libs, lines.append, maven=maven(tmp_path, GOOD))
    assert jars.installed(libs)
    assert any("fetched 1 jars, 2 MB: kafka_2.13-9.jar" in line for line in lines)
    jars.install(libs, lines.append, maven="/no/such/program")


def test_a_failed_download_leaves_no_libs_and_says_what_maven_said(tmp_path: Path) -> None:
    libs = tmp_path / "kafka" / "libs"
    with pytest.raises(Unavailable, match="connection reset"):
        jars.install(libs, lambda line: None, maven=maven(tmp_path, BROKEN))
    assert not libs.exists()
    jars.install(libs, lambda line: None, maven=maven(tmp_path, GOOD))
    assert jars.installed(libs)


def test_two_that_install_at_once_fetch_once(tmp_path: Path) -> None:
    libs, counted = tmp_path / "kafka" / "libs", f"sleep 0.3\necho run >> {tmp_path}/runs\n"
    program = maven(tmp_path, GOOD + counted)
    with ThreadPoolExecutor(2) as threads:
        for install in [threads.submit(jars.install, libs, lambda line: None, maven=program) for _ in range(2)]:
            install.result()
    assert jars.installed(libs)
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize("damage", ["missing", "truncated", "other-pom"])
def test_incomplete_or_outdated_jars_are_noticed(tmp_path: Path, damage: str) -> None:
    libs = tmp_path / "kafka" / "libs"
    jars.install(libs, lambda line: None, maven=maven(tmp_path, GOOD))
    match damage:
        case "missing":
            (libs / "scala.jar").unlink()
        case "truncated":
            (libs / "scala.jar").write_text("j")
        case "other-pom":
            manifest = json.loads((libs / "manifest.json").read_text())
            (libs / "manifest.json").write_text(json.dumps({**manifest, "pom_sha256": "0"}))
    assert not jars.installed(libs)


def test_without_maven_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigurationError, match="Maven"):
        jars.install(tmp_path / "libs", lambda line: None)


def test_the_pom_names_a_kafka_version() -> None:
    assert jars.kafka_version().startswith("4.")
