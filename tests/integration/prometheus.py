"""Prometheus and promtool for tests: installed, or unpacked from the Debian package, else the test is skipped."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import RiverlightError
from core.settings import child_environment, load_settings
from infra.debian_packages import Program, fetch_program


def program(name: str) -> Program:
    """Return `prometheus` or `promtool`; skip the test, saying why, where it cannot be had."""
    try:
        found = fetch_program("prometheus", load_settings().home)
    except RiverlightError as error:
        pytest.skip(f"no Prometheus here: {error}")
    beside = found.path.with_name(name)
    if not beside.exists():
        pytest.skip(f"there is a Prometheus here, but no {name} beside it")
    return Program(beside, found.environment)


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run promtool to its end."""
    tool = program("promtool")
    command: Sequence[str] = [str(tool.path), *map(str, arguments)]
    environment = child_environment(**tool.environment)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
