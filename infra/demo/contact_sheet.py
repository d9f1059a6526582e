"""A picture of some queries with their answers, for people who would rather look than read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

TILE, GAP, LABEL, MARGIN = 96, 10, 18, 24
RIGHT, WRONG, INK, MUTED = (31, 138, 76), (200, 200, 205), (30, 32, 38), (120, 124, 134)


@dataclass(frozen=True)
class SheetRow:
    """One query and the images that answered it, best first. `right` tells which of them show the same thing."""

    title: str
    query: Path
    answers: Sequence[Path]
    scores: Sequence[float]
    right: Sequence[bool]


def draw_contact_sheet(rows: Sequence[SheetRow], path: Path, *, heading: str) -> None:
    """Write the sheet as a PNG: the query on the left, its answers to the right, right ones framed in green."""
    columns = max((len(row.answers) for row in rows), default=0)
    width = 2 * MARGIN + TILE + 3 * GAP + columns * (TILE + GAP)
    height = 2 * MARGIN + 34 + len(rows) * (TILE + LABEL + 2 * GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 6), heading, fill=INK, font=ImageFont.load_default(16))
    small = ImageFont.load_default(11)
    for number, row in enumerate(rows):
        y = MARGIN + 34 + number * (TILE + LABEL + 2 * GAP)
        _tile(sheet, row.query, MARGIN, y)
        draw.rectangle((MARGIN - 2, y - 2, MARGIN + TILE + 1, y + TILE + 1), outline=INK, width=1)
        draw.text((MARGIN, y + TILE + 3), _short(row.title), fill=INK, font=small)
        for rank, (answer, score, right) in enumerate(zip(row.answers, row.scores, row.right, strict=True)):
            x = MARGIN + TILE + 3 * GAP + rank * (TILE + GAP)
            _tile(sheet, answer, x, y)
            colour, frame = (RIGHT, 3) if right else (WRONG, 1)
            draw.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=colour, width=frame)
            draw.text((x, y + TILE + 3), f"{score:.2f}", fill=RIGHT if right else MUTED, font=small)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _tile(sheet: Image.Image, path: Path, x: int, y: int) -> None:
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    image.thumbnail((TILE, TILE))
    if max(image.size) < TILE:
        scale = TILE / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    sheet.paste(image, (x + (TILE - image.width) // 2, y + (TILE - image.height) // 2), image)


def _short(title: str) -> str:
    return title if len(title) <= 17 else title[:16] + "…"
