"""A real Chromium on a real gateway."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.live_gateway import LiveGateway, live_gateway

Colour = tuple[int, int, int]

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def picture(ground: Colour, shape: Colour, *boxes: tuple[int, int, int, int]) -> bytes:
    """Return a PNG of boxes: alike in colour is similar to the test encoder, alike in shape a near-duplicate to all."""
    image = Image.new("RGB", (64, 64), ground)
    for box in boxes:
        image.paste(shape, box)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


RED = picture((240, 10, 10), (250, 90, 60), (32, 0, 64, 64))
BRICK = picture((200, 10, 20), (150, 20, 30), (0, 0, 64, 20), (0, 40, 40, 64))
WARM = picture((220, 30, 0), (255, 120, 60), (8, 8, 24, 56), (40, 30, 60, 60))
BLUE = picture((10, 10, 240), (60, 90, 250), (0, 32, 64, 64))


@dataclass
class Visit:
    """One person's browser: the page, and everything it complained about."""

    page: Page
    gateway: LiveGateway
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str = "/console") -> Page:
        self.page.goto(self.gateway.url + path)
        self.page.wait_for_load_state("networkidle")
        return self.page

    def show(self, name: str) -> None:
        """Click on a card and wait for the answer."""
        self.page.locator(".card:visible", has_text=name).click()
        self.page.locator("#answer-title", has_text=f"Similar to {name}").wait_for()


@pytest.fixture(scope="module")  # while it lives, so does an event loop in this thread, where no other can run
def browser() -> Iterator[Browser]:
    program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"none of {', '.join(_PROGRAMS)} is installed; the console is not tried (apt-get install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=_FLAGS, headless=True)
        yield started
        started.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    with live_gateway(tmp_path, min_score=0.8) as running:
        yield running


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


@pytest.fixture
def visit(context: BrowserContext, gateway: LiveGateway) -> Visit:
    page = context.new_page()
    made = Visit(page, gateway)
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on("console", lambda said: made.complaints.append(said.text) if said.type in ("error", "warning") else None)
    return made
