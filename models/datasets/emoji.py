"""Emoji drawn by two vendors: the same thing in two styles, which is what a visual search should recognise."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

from models.datasets.clients import npm_pack
from models.datasets.spec import LabelledImage, Progress
from models.datasets.splits import emoji_concept, emoji_family, split_of

VENDORS = ("google", "twitter")
_VERSION = "16.0.0"
_IMAGE = re.compile(r"[0-9a-f-]+\.png")


def fetch(folder: Path, progress: Progress) -> None:
    """Download both vendors' packages and keep `emoji.json` and the 64-pixel images of emoji drawn by both."""
    for vendor in VENDORS:
        progress(f"emoji: downloading {vendor}'s drawings")
        download = folder / f"download-{vendor}"
        download.mkdir()
        tarball = npm_pack(f"emoji-datasource-{vendor}@{_VERSION}", download)
        progress(f"emoji: unpacking {vendor}'s drawings")
        images = folder / vendor
        images.mkdir()
        with tarfile.open(tarball) as archive:
            for member in archive:
                parts = member.name.split("/")
                if member.name == "package/emoji.json":
                    target = folder / "emoji.json"
                elif parts[1:4] == ["img", vendor, "64"] and len(parts) == 5 and _IMAGE.fullmatch(parts[4]):
                    target = images / parts[4]
                else:
                    continue
                source = archive.extractfile(member)
                if source is not None:
                    target.write_bytes(source.read())
        tarball.unlink()
        download.rmdir()
    wanted = {entry["image"] for entry in _drawn_by_both(folder)}
    for path in folder.glob("*/*.png"):  # skin-tone variants and one vendor's own: nothing reads them
        if path.name not in wanted:
            path.unlink()


def _drawn_by_both(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    return [entry for entry in entries if all(entry[f"has_img_{vendor}"] for vendor in VENDORS)]


def read(folder: Path) -> list[LabelledImage]:
    """List every emoji in both vendors' drawing, without skin-tone variants, ordered by code points."""
    images = []
    for entry in sorted(_drawn_by_both(folder), key=lambda item: str(item["unified"])):
        names = [name.replace("_", " ").replace("-", " ") for name in entry["short_names"]]
        for vendor in VENDORS:
            images.append(
                LabelledImage(
                    path=folder / vendor / entry["image"],
                    concept=emoji_concept(entry["unified"]),
                    style=vendor,
                    title=(entry["name"] or names[0]).capitalize(),
                    tags=tuple(dict.fromkeys([*names, entry["subcategory"]])),
                    category=entry["category"],
                    split=split_of(emoji_family(entry["unified"])),
                )
            )
    return images
