"""Fetching packages with the clients a machine has: npm, apt and pip (or uv).

Each client checks what it downloads against its registry's hashes or signatures. Nothing of a package is executed or
installed into the system: archives are unpacked into a folder of ours.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from core.errors import ConfigurationError, Unavailable

_TIMEOUT_S = 900.0


def npm_pack(package: str, folder: Path) -> Path:
    """Download `name@version` with npm and return the path of its tarball."""
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigurationError(
            f"{package} needs npm, which is not on this machine. Install Node.js (Debian: apt-get install npm), or use "
            "the data set `openmoji`, which needs pip alone; without npm there are no pairs of drawings by two vendors."
        )
    _run([npm, "pack", package, "--silent", "--ignore-scripts", "--pack-destination", str(folder)], folder, package)
    return _only(folder, "*.tgz", package)


def debian_package(package: str, folder: Path) -> Path:
    """Download a Debian package and unpack its files under `folder/root`, without root rights; return that folder."""
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg")
    if apt is None or dpkg is None:
        raise ConfigurationError(
            f"{package} is a Debian package and needs apt-get and dpkg, which are not on this machine. It holds the "
            "photographs and drawings that show how the model carries over to other pictures; the rest works without."
        )
    try:
        _run([apt, "download", package], folder, package)
    except Unavailable as error:
        if os.geteuid() != 0:
            raise Unavailable(f"{error}\nIf apt's package lists are empty or old, run: apt-get update") from error
        _run([apt, "update"], folder, "apt's package lists")
        _run([apt, "download", package], folder, package)
    root = folder / "root"
    _run([dpkg, "-x", str(_only(folder, "*.deb", package)), str(root)], folder, package)
    return root


def python_package(requirement: str, folder: Path) -> Path:
    """Unpack a wheel (without its dependencies) under `folder/site` with pip or uv; return that folder."""
    target = folder / "site"
    arguments = ["install", "--quiet", "--no-deps", "--target", str(target), requirement]
    uv = shutil.which("uv")
    pip = shutil.which("pip3") or shutil.which("pip")
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", *arguments, "--disable-pip-version-check", "--only-binary", ":all:"]
    elif uv is not None:
        command = [uv, "pip", *arguments, "--python", sys.executable, "--only-binary", ":all:"]
    elif pip is not None:
        command = [pip, *arguments, "--disable-pip-version-check", "--only-binary", ":all:"]
    else:
        raise ConfigurationError(f"{requirement} needs pip or uv, and neither is on this machine's path")
    _run(command, folder, requirement)
    return target


def _only(folder: Path, pattern: str, package: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise Unavailable(f"{package}: expected one {pattern} after the download, found {len(found)}")
    return found[0]


def _run(command: list[str], folder: Path, package: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{package}: {Path(command[0]).name} did not finish within {_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise Unavailable(f"{package}: {Path(command[0]).name} failed with status {done.returncode}:\n{said}")
