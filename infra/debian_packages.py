"""Debian programs without root: packages are downloaded and unpacked below the home folder, never installed.

Used for what has no wheel: Prometheus and Redis. A program that is installed on the machine is always preferred.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import ConfigurationError, Unavailable
from core.locks import file_lock
from core.settings import child_environment

#: Program to the packages that hold it; libraries these depend on are added.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "prometheus": ("prometheus",),
    "redis-server": ("redis-server", "redis-tools"),
}


@dataclass(frozen=True)
class Program:
    """An executable and what its environment needs (the library path of unpacked packages)."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def find_program(name: str, home: Path) -> Program | None:
    """Return the program from the PATH, else from `<home>/debian`, or None."""
    if found := shutil.which(name):
        return Program(Path(found))
    root = home.resolve() / "debian" / "root"
    unpacked = shutil.which(name, path=f"{root}/usr/bin:{root}/usr/sbin")
    return Program(Path(unpacked), {"LD_LIBRARY_PATH": _library_path(root)}) if unpacked else None


def can_fetch() -> bool:
    """Whether this machine has the tools that `fetch_program` needs."""
    return all(shutil.which(tool) for tool in ("apt-get", "apt-cache", "dpkg-deb"))


def fetch_program(name: str, home: Path) -> Program:
    """Download and unpack the packages of a program into `<home>/debian`. Needs no root; installs nothing.

    Another process that does so is waited for.

    Raises:
        ConfigurationError: no such program is known, or this is not a Debian.
        Unavailable: a download failed, or a library is still missing.
    """
    with file_lock(home / "debian.lock"):
        return find_program(name, home) or _fetch(name, home)


def _fetch(name: str, home: Path) -> Program:
    if name not in PACKAGES or not can_fetch():
        raise ConfigurationError(f"{name} cannot be fetched here: it needs apt-get, apt-cache and dpkg-deb (Debian)")
    folder = home.resolve() / "debian"
    archives, root = folder / "archives", folder / "root"
    archives.mkdir(parents=True, exist_ok=True)
    options = _private_lists(folder, PACKAGES[name])
    wanted = [*PACKAGES[name], *_libraries(PACKAGES[name], options)]
    _run(["apt-get", *options, "download", *wanted], archives)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(archive), str(root)], archives)
        archive.unlink()
    program = find_program(name, home)
    if program is None:
        raise Unavailable(f"the packages {', '.join(wanted)} were unpacked into {root} but hold no {name}")
    _check_libraries(program)
    for scratch in ("lists", "cache"):
        shutil.rmtree(folder / scratch, ignore_errors=True)
    return program


def _private_lists(folder: Path, packages: Sequence[str]) -> list[str]:
    """Return apt options: none when the machine's package lists know the packages, else those of lists of our own."""
    if all("Candidate: (none)" not in (shown := _policy(package, [])) and shown for package in packages):
        return []
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = [f"Dir::State::Lists={folder}/lists", f"Dir::Cache={folder}/cache", "Debug::NoLocking=1"]
    arguments = [part for option in options for part in ("-o", option)]
    _run(["apt-get", *arguments, "update"], folder)
    return arguments


def _policy(package: str, options: Sequence[str]) -> str:
    return _run(["apt-cache", *options, "policy", package], Path("/")).strip()


def _libraries(packages: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the libraries that the packages depend on and that this machine does not have."""
    depends = _run(["apt-cache", *options, "depends", "--important", *packages], Path("/"))
    libraries = sorted(set(re.findall(r"Depends: (lib[\w.+-]+)", depends)))
    return [library for library in libraries if "Installed: (none)" in _policy(library, options)]


def _check_libraries(program: Program) -> None:
    environment = child_environment(**program.environment)
    shown = subprocess.run(
        ["ldd", str(program.path)], capture_output=True, text=True, env=environment, timeout=30, check=False
    )
    if missing := re.findall(r"(\S+) => not found", shown.stdout):
        raise Unavailable(f"{program.path} lacks the libraries {', '.join(missing)}")


def _library_path(root: Path) -> str:
    return ":".join(str(folder) for folder in [*sorted(root.glob("usr/lib/*-linux-gnu*")), root / "usr" / "lib"])


def _run(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command[:2])} did not work: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout
