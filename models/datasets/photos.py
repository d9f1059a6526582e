"""A handful of photographs that scikit-image ships with its wheel (astronaut, cat, coffee ...)."""

import shutil
from pathlib import Path

from models.datasets.clients import python_package
from models.datasets.spec import LabelledImage, Progress

_REQUIREMENT = "scikit-image==0.25.2"
_SUFFIXES = (".png", ".jpg", ".jpeg")


def fetch(folder: Path, progress: Progress) -> None:
    """Unpack the wheel aside and keep the images in its data folder."""
    progress("photos: downloading scikit-image's sample pictures")
    download = folder / "download"
    download.mkdir()
    data = python_package(_REQUIREMENT, download) / "skimage" / "data"
    (folder / "photos").mkdir()
    for path in sorted(data.iterdir()):
        if path.suffix in _SUFFIXES:
            shutil.copyfile(path, folder / "photos" / path.name)
    shutil.rmtree(download)


def read(folder: Path) -> list[LabelledImage]:
    """List the photographs, ordered by name; each is its own concept."""
    return [
        LabelledImage(
            path=path,
            concept=f"photo/{path.stem}",
            style="photo",
            title=path.stem.replace("_", " ").capitalize(),
            tags=("photo",),
            category="photo",
            split="test",
        )
        for path in sorted((folder / "photos").iterdir())
        if path.suffix in _SUFFIXES
    ]
