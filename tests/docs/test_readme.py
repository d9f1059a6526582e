"""What the README tells a newcomer to do works: its curl lines and its Python, run as they stand on a real gateway."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.docs.pages import PAGES, ROOT, Fence, fences, inline_code
from tests.live_gateway import LiveGateway, live_gateway, packaged_encoder, until

pytestmark = pytest.mark.integration

_README = ROOT / "README.md"
_PLACE = re.compile(r"(?:127\.0\.0\.1|localhost):8080")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    home = tmp_path_factory.mktemp("home")
    with live_gateway(home, packaged_encoder(home)) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the two pictures that the README speaks of."""
    _zebra(shift=0).save(tmp_path / "zebra.png")
    _zebra(shift=9).save(tmp_path / "another-zebra.png")
    return tmp_path


def _zebra(shift: int) -> Image.Image:
    image = Image.new("RGB", (256, 256), (120, 170, 90))
    draw = ImageDraw.Draw(image)
    draw.ellipse((30 + shift, 60, 220 + shift, 200), fill="white")
    for x in range(40, 210, 24):
        draw.line((x + shift, 70, x + shift - 12, 190), fill="black", width=10)
    return image


def _only(language: str, containing: str) -> Fence:
    [fence] = [fence for fence in fences(_README, language) if containing in fence.text]
    return fence


def _run(arguments: list[str], text: str, folder: Path, gateway: LiveGateway) -> str:
    script, places = _PLACE.subn(gateway.url.removeprefix("http://"), text)
    assert places > 0
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*arguments, script], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_of_the_readme_uploads_a_picture_and_finds_it_by_another(gateway, folder):
    text = _only("python", "httpx").text
    _run([sys.executable, "-c"], text, folder, gateway)
    until(lambda: gateway.deps.index.current.get("item-8") is not None, "item-8 in the index")
    said = _run([sys.executable, "-c"], text, folder, gateway)  # again, when the first upload is surely there
    assert re.search(r"^item-8 0\.\d+$", said, re.MULTILINE), said
    assert "'candidates': [{" in said


def test_the_curl_lines_of_the_readme_upload_a_picture_and_find_it_by_another(gateway, folder):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed; the README's curl lines are not tried")
    text = _only("bash", "curl").text
    bash = ["bash", "-euo", "pipefail", "-c"]
    assert '"accepted":["evt-81"]' in _run(bash, text, folder, gateway)
    until(lambda: gateway.deps.index.current.get("item-7") is not None, "item-7 in the index")
    assert '"results":[{"item_id":"item-' in _run(bash, text, folder, gateway)


def test_every_call_that_a_page_names_is_in_the_api(gateway):
    paths = gateway.http.get("/openapi.json").json()["paths"]
    known = {(method.upper(), _shape(path)) for path, methods in paths.items() for method in methods}
    wrong = {}
    for page in PAGES:
        for code in inline_code(page):
            found = re.fullmatch(r"(GET|POST|PUT|DELETE) (/v1/[^\s?]*)(\?\S*)?", code)
            if found and not _is_known(found[1], found[2], known):
                wrong[page.name] = code
    assert wrong == {}


def _shape(path: str) -> tuple[str, ...]:
    return tuple("*" if part.startswith("{") else part for part in path.strip("/").split("/"))


def _is_known(method: str, path: str, known: set[tuple[str, tuple[str, ...]]]) -> bool:
    named = _shape(path)
    return any(
        verb == method
        and len(shape) == len(named)
        and all(there in ("*", here) for there, here in zip(shape, named, strict=True))
        for verb, shape in known
    )
