"""The jars of Apache Kafka: fetched once from Maven Central by `mvn`, checked at every start, never fetched twice."""

import hashlib
import json
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

from core.errors import ConfigurationError, Unavailable
from core.locks import file_lock

Progress = Callable[[str], None]

POM = Path(__file__).parent.parent / "kafka" / "pom.xml"
_MANIFEST = "manifest.json"
_DOWNLOADED = re.compile(r"Downloaded from \S+: \S+/([^/\s]+\.jar) \(([\d.]+) (B|kB|MB)")
_UNIT = {"B": 1e-6, "kB": 1e-3, "MB": 1.0}


def kafka_version(pom: Path = POM) -> str:
    """Return the Kafka version that the POM names."""
    found = re.search(r"<kafka\.version>([^<]+)<", pom.read_text())
    if found is None:
        raise ConfigurationError(f"{pom} names no <kafka.version>")
    return found.group(1)


def installed(libs: Path, pom: Path = POM) -> bool:
    """Whether `libs` holds every jar of this POM, whole: names and sizes are compared with the manifest."""
    try:
        manifest = json.loads((libs / _MANIFEST).read_text())
        return manifest["pom_sha256"] == _digest(pom) and all(
            (libs / name).stat().st_size == size for name, size in manifest["jars"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def install(libs: Path, progress: Progress, *, maven: str | None = None, pom: Path = POM) -> None:
    """Make `libs` hold the jars. Needs no network and no Maven when they are there already.

    Maven's own repository stays beside `libs` until all jars have arrived, so an interrupted download goes on where it
    stopped; `libs` itself appears in one rename. Another process that does so is waited for.

    Raises:
        ConfigurationError: Maven is not installed.
        Unavailable: the download failed; the message holds Maven's reason.
    """
    if installed(libs, pom):
        return
    with file_lock(libs.with_name(libs.name + ".lock")):
        if not installed(libs, pom):
            _fetch(libs, progress, maven, pom)


def _fetch(libs: Path, progress: Progress, maven: str | None, pom: Path) -> None:
    maven = maven or shutil.which("mvn")
    if maven is None:
        raise ConfigurationError("Apache Kafka's jars are not here yet and Maven (`mvn`) is not installed to get them")
    repository, arriving = libs.with_name("maven"), libs.with_name(libs.name + ".arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(parents=True)
    progress(f"fetching Apache Kafka {kafka_version(pom)} from Maven Central (about 45 MB, once)")
    _run_maven(maven, pom, repository, arriving, progress)
    jars = {jar.name: jar.stat().st_size for jar in sorted(arriving.glob("*.jar"))}
    if not any(name.startswith("kafka_") for name in jars):
        raise Unavailable(f"Maven ended well but left no Kafka jar in {arriving}; run the command again")
    (arriving / _MANIFEST).write_text(json.dumps({"pom_sha256": _digest(pom), "jars": jars}, indent=1))
    shutil.rmtree(libs, ignore_errors=True)
    arriving.rename(libs)
    shutil.rmtree(repository, ignore_errors=True)
    progress(f"Apache Kafka {kafka_version(pom)}: {len(jars)} jars, {sum(jars.values()) / 1e6:.0f} MB")


def _run_maven(maven: str, pom: Path, repository: Path, into: Path, progress: Progress) -> None:
    command = [
        maven, "--batch-mode", "--file", str(pom), "dependency:copy-dependencies",
        f"-Dmaven.repo.local={repository.resolve()}", f"-DoutputDirectory={into.resolve()}",
        "-DincludeScope=runtime", "-Dmaven.wagon.http.retryHandler.count=5",
    ]  # fmt: skip
    tail: deque[str] = deque(maxlen=40)
    count, megabytes = 0, 0.0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                tail.append(line.rstrip())
                if found := _DOWNLOADED.search(line):
                    count, megabytes = count + 1, megabytes + float(found.group(2)) * _UNIT[found.group(3)]
                    progress(f"fetched {count} jars, {megabytes:.0f} MB: {found.group(1)}")
        except BaseException:
            process.kill()  # whoever watches the progress wants to stop
            raise
    if process.returncode != 0:
        reasons = [line for line in tail if "ERROR" in line] or list(tail)
        reason = "\n".join(reasons[:5]) or f"exit code {process.returncode}"
        raise Unavailable(
            "Maven could not fetch Apache Kafka. What has arrived is kept; run the command again to go on, "
            f"or use `--broker embedded`.\n{reason}"
        )


def _digest(pom: Path) -> str:
    return hashlib.sha256(pom.read_bytes()).hexdigest()
