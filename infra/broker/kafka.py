"""Apache Kafka on this machine: one combined broker and controller (KRaft) on loopback, with durable data."""

import base64
import hashlib
import re
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core.errors import ConfigurationError, Unavailable
from core.locks import file_lock
from core.settings import child_environment
from infra.broker import jars
from infra.broker.jars import Progress
from infra.ports import free_port

MIN_JAVA = 17

_PROPERTIES = """\
# Written at each start by infra/broker/kafka.py.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=4
num.network.threads=2
num.io.threads=4
# One node: nothing to replicate to. Few partitions for the internal topics: they load faster.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
offsets.retention.minutes=43200
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# A group starts as soon as its first member is there; a cluster would wait for the others.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# Topics declare their own retention; this bounds those that do not.
log.retention.hours=168
log.segment.bytes=268435456
log.cleaner.dedupe.buffer.size=33554432
"""

_LOGGING = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={logs}/kafka-server.log
appender.file.filePattern={logs}/kafka-server.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{yyyy-MM-dd'T'HH:mm:ss.SSS}} %p %c{{1}} %m%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=3
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
"""


@dataclass(frozen=True)
class JavaRuntime:
    """A Java virtual machine: its command and what it says about itself."""

    command: str
    major: int
    version: str


def find_java() -> JavaRuntime | None:
    """Return the Java of JAVA_HOME, else of the PATH, or None where there is none that runs."""
    java_home = child_environment().get("JAVA_HOME")
    for command in (shutil.which("java", path=f"{java_home}/bin") if java_home else None, shutil.which("java")):
        if command is None:
            continue
        try:
            shown = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if found := re.search(r'version "((\d+)[^"]*)"', shown.stderr + shown.stdout):
            return JavaRuntime(command, int(found.group(2)), found.group(1))
    return None


def what_is_missing(libs: Path) -> list[str]:
    """Return what keeps Apache Kafka from running here, as phrases; empty when nothing does."""
    missing = []
    java = find_java()
    if java is None:
        missing.append(f"Java {MIN_JAVA} or newer (Debian: openjdk-17-jre-headless)")
    elif java.major < MIN_JAVA:
        missing.append(f"Java {MIN_JAVA} or newer (found {java.version})")
    if shutil.which("mvn") is None and not jars.installed(libs):
        missing.append("Maven (Debian: maven)")
    return missing


@dataclass(frozen=True)
class KafkaBroker:
    """A local Apache Kafka: what to prepare, what to run, what it promises.

    `folder` holds everything it leaves: `libs`, `data`, `server.properties`, logs. Acknowledged records survive a kill
    of the process; a power cut may lose the last of them, because one node acknowledges from the page cache.
    """

    folder: Path
    port: int
    heap_mb: int = 512
    libs_folder: Path | None = None  # shared by several brokers (tests); default: libs in `folder`
    kind = "kafka"
    durable = True

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def libs(self) -> Path:
        return (self.libs_folder or self.folder / "libs").resolve()

    @property
    def data(self) -> Path:
        return (self.folder / "data").resolve()

    @cached_property
    def java(self) -> JavaRuntime:
        """Raises ConfigurationError where no fitting Java is installed."""
        java = find_java()
        if java is None or java.major < MIN_JAVA:
            found = f"found {java.version} at {java.command}" if java else "found none"
            raise ConfigurationError(
                f"Apache Kafka needs Java {MIN_JAVA} or newer; {found}. Or use `--broker embedded`"
            )
        return java

    def prepare(self, progress: Progress) -> None:
        """Fetch the jars, write the configuration and format the storage; what is done already is left alone.

        Raises:
            ConfigurationError: Java or Maven is missing.
            Unavailable: the download or the formatting failed.
        """
        _ = self.java
        jars.install(self.libs, progress)
        logs = (self.folder / "logs").resolve()
        logs.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        # The quorum has one voter, so its port may change between starts: any free one does.
        properties = _PROPERTIES.format(port=self.port, controller_port=free_port(), data=self.data)
        self._properties.write_text(properties)
        self._logging.write_text(_LOGGING.format(logs=logs))
        if not (self.data / "meta.properties").exists():
            progress("formatting Kafka's storage")
            self._format()
        self._adopt_class_archive()

    def command(self) -> list[str]:
        """Return the command line that runs the broker in the foreground. `prepare` comes first."""
        archive, fresh = self._class_archive, self._fresh_class_archive
        sharing = f"-XX:SharedArchiveFile={archive}" if archive.exists() else f"-XX:ArchiveClassesAtExit={fresh}"
        return [*self._jvm(), sharing, f"-Xmx{self.heap_mb}m", "kafka.Kafka", str(self._properties)]

    def _jvm(self) -> list[str]:
        # A laptop's broker should start at once and share two cores: the quick compiler and the smallest collector.
        # The archive of loaded classes written at the first clean stop halves the time of later starts.
        return [
            self.java.command, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms64m", "-Xlog:disable",
            "-Xlog:all=error:stderr", "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self._logging}", "-cp", f"{self.libs}/*",
        ]  # fmt: skip

    def _format(self) -> None:
        cluster_id = "R" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        tool = [
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            "-t",
            cluster_id,
            "-c",
            str(self._properties),
        ]
        done = subprocess.run([*self._jvm(), *tool], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise Unavailable(f"Kafka could not format {self.data}: {(done.stderr or done.stdout).strip()[-800:]}")

    def _adopt_class_archive(self) -> None:
        """Start to use an archive that a clean stop has left, once the virtual machine accepts it whole."""
        fresh = self._fresh_class_archive
        if not fresh.exists():
            return
        check = [f"-XX:SharedArchiveFile={fresh}", "-Xshare:on", "-XX:+VerifySharedSpaces", "kafka.Kafka", "--version"]
        with file_lock(fresh.with_suffix(".lock")):
            done = subprocess.run([*self._jvm(), *check], capture_output=True, timeout=60, check=False)
            if done.returncode != 0:
                fresh.unlink(missing_ok=True)
            elif fresh.exists():  # another process may have adopted it meanwhile
                fresh.replace(self._class_archive)

    @property
    def _properties(self) -> Path:
        return (self.folder / "server.properties").resolve()

    @property
    def _logging(self) -> Path:
        return (self.folder / "log4j2.properties").resolve()

    @property
    def _class_archive(self) -> Path:
        key = hashlib.sha256(f"{self.java.version} {self.java.command} {self.libs}".encode() + jars.POM.read_bytes())
        return self.libs.with_name(f"classes-{key.hexdigest()[:12]}.jsa")

    @property
    def _fresh_class_archive(self) -> Path:
        return self._class_archive.with_suffix(".fresh")
