"""Goal G23: no name that anybody sends leads out of its folder, through the API, the stores or the commands."""

from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from core.access.keys import KeyFolder
from core.clock import SystemClock
from core.errors import InvalidInput, NotFound
from infra.cli.main import app
from models.registry.packaged import open_registry
from tests.unit.serving.gateway.conftest import picture, upload_event

_SECRET = "do-not-show-this"
_TARGETS = ("secret.txt", "catalogue.db")
NAMES = [
    *(f"{up}{target}" for target in _TARGETS for up in ("../", "../../", "../../../../", "./../", "a/../../")),
    *(f"{up}secret.txt" for up in ("..\\", "..\\..\\", "....//", "..;/", ".../", "..././", "%2e%2e/", "%252e%2f")),
    *("..%2fsecret.txt", "..%5csecret.txt", "%c0%ae%c0%ae/secret.txt", "..%c0%afsecret.txt", "..\u2215secret.txt"),
    *("．．/secret.txt", "/etc/passwd", "//etc/passwd", "C:\\secret.txt", "\\\\host\\share", "file:///etc/x", "~/x"),
    *("..", ".", "...", "secret.txt\x00.png", "x/../../secret.txt", "sha256/../../secret.txt", ".hidden", "-rf"),
    *("con", "a" * 5000),
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text(_SECRET)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    """Return what lies in a folder and is not written by the services themselves."""
    own = ("objects", "index", "catalogue.db", "features")
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not file.relative_to(folder).parts[0].startswith(own)
    }


def test_there_are_forty_names():
    assert len(set(NAMES)) == len(NAMES) >= 40


async def test_g23_no_name_in_the_api_leads_out_of_its_folder(root, world):
    before, beside = files(root), {one.name for one in root.parent.iterdir()}
    refused = 0
    data = picture()
    for name in NAMES:
        for escaped in (quote(name, safe=""), quote(name, safe="/")):
            for path in ("/console/{}", "/v1/media/{}", "/v1/items/{}", "/v1/traces/{}", "/v1/events/{}"):
                method = "POST" if "events" in path else "GET"
                answer = await world.client.request(method, path.format(escaped), follow_redirects=False)
                # `..` at the end of an address is taken away by the client: what is left is a page like any other.
                assert answer.status_code in (307, 400, 404, 405) or name in ("..", "."), (path, name)
                assert _SECRET not in answer.text and "root:" not in answer.text
                refused += 1
        stored = await world.client.post("/v1/media", files={"file": (name.replace("\x00", ""), data)})
        # A file's name is nobody's business here, unless it is too long for a header.
        assert stored.status_code == (201 if len(name) < 1000 else 400), name
        assert (await world.client.post("/v1/events/uploads", json=upload_event("i", name))).status_code == 400
        with pytest.raises(InvalidInput):
            await world.deps.objects.get(name)
        with pytest.raises(InvalidInput):
            await world.deps.objects.delete(name)
    print(f"G23: {len(NAMES)} names, {refused} requests refused; nothing read and nothing written outside")
    assert files(root) == before
    assert {one.name for one in root.parent.iterdir()} == beside


def test_g23_no_name_in_a_command_leads_out_of_its_folder(root, monkeypatch):
    home = root / "home"
    monkeypatch.setenv("RIVERLIGHT_HOME", str(home))
    registry = open_registry(home)
    keys = KeyFolder(home / "access")
    keys.new(SystemClock().now())
    (root / "x.pem").write_text(_SECRET)
    before = {name: data for name, data in files(root).items() if not name.startswith("home")}
    for name in NAMES:
        with pytest.raises(NotFound):
            keys.drop(name)
        for look in (
            lambda name=name: registry.show(name),
            lambda name=name: registry.show("visual-search", name),
            lambda name=name: registry.resolve(f"{name}@champion"),
            lambda name=name: registry.promote("visual-search", name),
        ):
            with pytest.raises((InvalidInput, ValueError)):
                look()
        if "\x00" not in name:
            done = CliRunner().invoke(app, ["access", "keys", "drop", "--", name])
            assert done.exit_code == 2
            assert _SECRET not in done.output
    assert {name: data for name, data in files(root).items() if not name.startswith("home")} == before
