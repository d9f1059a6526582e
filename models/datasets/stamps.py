"""Tux Paint's stamps: photographs and clip art of things, in folders of like things. Used for measuring only."""

import shutil
from pathlib import Path

from models.datasets.clients import debian_package
from models.datasets.spec import LabelledImage, Progress

_PACKAGE = "tuxpaint-stamps-default"


def fetch(folder: Path, progress: Progress) -> None:
    """Unpack the Debian package and keep its PNG images with their captions (no sounds, no SVG)."""
    progress("stamps: downloading the Debian package (161 MB)")
    download = folder / "download"
    download.mkdir()
    root = debian_package(_PACKAGE, download) / "usr/share/tuxpaint/stamps"
    progress("stamps: keeping images and captions")
    for image in sorted(root.rglob("*.png")):
        if image.stem.endswith("_mirror") or image.stem.endswith("_flip"):  # alternative views of a stamp
            continue
        target = folder / "stamps" / image.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
        caption = image.with_suffix(".txt")
        if caption.is_file():
            shutil.copyfile(caption, target.with_suffix(".txt"))
    shutil.rmtree(download)


def read(folder: Path) -> list[LabelledImage]:
    """List the stamps, ordered by path. The category is the folder, its `cartoon` subfolder taken as the same."""
    root = folder / "stamps"
    images = []
    for path in sorted(root.rglob("*.png")):
        parts = path.relative_to(root).parts[:-1]
        category = tuple(part for part in parts if part != "cartoon")
        images.append(
            LabelledImage(
                path=path,
                concept="/".join([*parts, path.stem]),
                style="stamp-cartoon" if "cartoon" in parts else "stamp",
                title=_caption(path),
                tags=tuple(dict.fromkeys(category)),
                category="/".join(category),
                split="test",
            )
        )
    return images


def _caption(path: Path) -> str:
    caption = path.with_suffix(".txt")
    if caption.is_file():
        lines = caption.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines and lines[0].strip():
            return lines[0].strip()
    return path.stem.replace("_", " ").capitalize()
