"""The Markdown pages of the project, taken apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for folder in (".", "docs", "models")
    for page in (ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*.md"))
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Fence:
    """One fenced block of a page."""

    page: Path
    language: str
    text: str


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path, language: str | None = None) -> Iterator[Fence]:
    """Return the fenced blocks of a page, in order; of one language if it is given."""
    for found in _FENCE.finditer(page.read_text(encoding="utf-8")):
        if language is None or found[1] == language:
            yield Fence(page, found[1], found[2])


def inline_code(page: Path) -> list[str]:
    """Return what stands between backticks in the prose, line breaks within made spaces."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in _CODE.findall(prose)]


def links(page: Path) -> list[str]:
    """Return the targets of the links in the prose."""
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
