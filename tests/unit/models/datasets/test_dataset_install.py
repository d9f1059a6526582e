import json
import os
import stat
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import ConfigurationError, IntegrityError, NotFound, Unavailable
from models.datasets import clients, emoji, stamps
from models.datasets.catalogue import DATASETS, install, is_installed, list_datasets, list_images
from models.datasets.spec import DatasetSpec, LabelledImage
from models.datasets.splits import emoji_concept, emoji_family, split_of


def quiet(line: str) -> None:
    pass


def squares(count: int, *, minimum: int = 1, fail: bool = False) -> dict[str, DatasetSpec]:
    """A data set of `count` grey squares, made without a registry."""

    def fetch(folder: Path, progress) -> None:
        for number in range(count):
            Image.new("RGB", (4, 4), (number, number, number)).save(folder / f"{number:03}.png")
            if fail:
                raise Unavailable("the connection broke")

    def read(folder: Path) -> list[LabelledImage]:
        return [
            LabelledImage(path, path.stem, "grey", path.stem, (), "square", "train")
            for path in sorted(folder.glob("*.png"))
        ]

    return {"squares": DatasetSpec("squares", "", "code", "none", "nothing", 0, minimum, fetch, read)}


def test_an_installed_data_set_lists_its_images_in_a_fixed_order(tmp_path):
    datasets = squares(3)
    assert install("squares", tmp_path, quiet, datasets).images == 3
    assert [image.concept for image in list_images("squares", tmp_path, datasets)] == ["000", "001", "002"]


def test_installing_twice_fetches_once(tmp_path):
    datasets = squares(2)
    install("squares", tmp_path, quiet, datasets)
    broken = squares(2, fail=True)
    assert install("squares", tmp_path, quiet, broken).images == 2


def test_a_failed_installation_leaves_nothing(tmp_path):
    datasets = squares(2, fail=True)
    with pytest.raises(Unavailable):
        install("squares", tmp_path, quiet, datasets)
    assert not is_installed("squares", tmp_path, datasets)
    assert list((tmp_path / "data").iterdir()) == []


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(IntegrityError, match="2 images came from code, expected at least 5"):
        install("squares", tmp_path, quiet, squares(2, minimum=5))


def test_a_data_set_with_a_lost_file_is_installed_anew(tmp_path):
    datasets = squares(3)
    folder = install("squares", tmp_path, quiet, datasets).folder
    (folder / "001.png").unlink()
    assert not is_installed("squares", tmp_path, datasets)
    with pytest.raises(ConfigurationError, match="2 of 3 images; run: riverlight data install squares"):
        list_images("squares", tmp_path, datasets)
    assert install("squares", tmp_path, quiet, datasets).images == 3


def test_the_list_names_every_data_set_with_its_state(tmp_path):
    datasets = squares(2)
    assert [item.installed for item in list_datasets(tmp_path, datasets)] == [False]
    install("squares", tmp_path, quiet, datasets)
    assert [item.installed for item in list_datasets(tmp_path, datasets)] == [True]
    assert {item.spec.name for item in list_datasets(tmp_path)} == set(DATASETS)


def test_an_unknown_data_set_says_which_there_are(tmp_path):
    with pytest.raises(
        NotFound,
        match="emoji, harm-answers, mail-spam, ml-100k, openmoji, photos, profane-words, reviews, sms-spam, stamps",
    ):
        install("imagenet", tmp_path, quiet)


def test_without_npm_the_error_says_what_is_missing_and_what_else_there_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"needs npm.*openmoji"):
        install("emoji", tmp_path, quiet)


def test_without_apt_the_error_says_what_that_costs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="apt-get and dpkg"):
        install("stamps", tmp_path, quiet)


def test_a_client_that_fails_is_quoted(tmp_path, monkeypatch):
    client = tmp_path / "npm"
    client.write_text("#!/bin/sh\necho 'E404 not found' >&2\nexit 1\n")
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match="E404 not found"):
        clients.npm_pack("nothing@1.0.0", tmp_path)


def emoji_tarball(path: Path, vendor: str, entries: list[dict[str, object]]) -> Path:
    image = BytesIO()
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(image, "PNG")
    files = {"package/emoji.json": json.dumps(entries).encode(), "package/img/../../evil.png": b"x"}
    files |= {f"package/img/{vendor}/64/{entry['image']}": image.getvalue() for entry in entries}
    files |= {f"package/img/{vendor}/64/1f44b-1f3fb.png": image.getvalue()}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return path


def test_emoji_are_read_from_the_vendors_packages_and_nothing_else_of_them_is_kept(tmp_path, monkeypatch):
    def entry(unified: str, twitter: bool = True) -> dict[str, object]:
        return {
            "unified": unified, "name": "WAVING HAND", "short_names": ["wave"], "category": "People & Body",
            "subcategory": "hand", "image": f"{unified.lower()}.png", "has_img_google": True,
            "has_img_twitter": twitter,
        }  # fmt: skip

    entries = [entry("1F44B"), entry("1F44C", twitter=False)]
    monkeypatch.setattr(
        emoji,
        "npm_pack",
        lambda package, folder: emoji_tarball(folder / "p.tgz", package.split("@")[0].split("-")[-1], entries),
    )
    folder = tmp_path / "emoji"
    folder.mkdir()
    emoji.fetch(folder, quiet)
    images = emoji.read(folder)
    assert [(image.concept, image.style, image.title) for image in images] == [
        ("1f44b", "google", "Waving hand"),
        ("1f44b", "twitter", "Waving hand"),
    ]
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == ["emoji.json", "google/1f44b.png", "twitter/1f44b.png"]
    assert not (tmp_path / "evil.png").exists()


def test_stamps_take_their_title_from_the_caption_and_their_category_from_the_folder(tmp_path, monkeypatch):
    root = tmp_path / "package" / "usr/share/tuxpaint/stamps"
    for name in ("food/fruit/apple", "food/fruit/cartoon/apple", "food/fruit/apple_mirror"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (8, 6)).save(root / f"{name}.png")
    (root / "food/fruit/apple.txt").write_text("A red apple.\nde.utf8=Ein roter Apfel.\n")
    monkeypatch.setattr(stamps, "debian_package", lambda package, folder: tmp_path / "package")
    folder = tmp_path / "stamps"
    folder.mkdir()
    stamps.fetch(folder, quiet)
    images = {image.style: image for image in stamps.read(folder)}
    assert set(images) == {"stamp", "stamp-cartoon"}
    assert images["stamp"].title == "A red apple."
    assert images["stamp"].category == images["stamp-cartoon"].category == "food/fruit"
    assert {image.split for image in images.values()} == {"test"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1F44B", "1F44B-1F3FD"),  # skin tone
        ("1F3C3", "1F3C3-200D-2640-FE0F"),  # gender by sign
        ("1F468-200D-1F373", "1F469-200D-1F373"),  # gender by person
        ("1F3C3", "1F3C3-200D-27A1-FE0F"),  # direction
        ("1F550", "1F55C"),  # clock faces
        ("2764", "2764-FE0F"),
    ],
)
def test_variants_of_one_emoji_are_one_family_and_so_in_one_split(one, other):
    assert emoji_family(one) == emoji_family(other)
    assert split_of(emoji_family(one)) == split_of(emoji_family(other))


def test_a_concept_has_one_name_with_and_without_presentation_selector():
    assert emoji_concept("2764-FE0F") == emoji_concept("2764") == "2764"


def test_splits_are_stable_and_of_the_stated_sizes():
    splits = np.array([split_of(str(number)) for number in range(20_000)])
    assert (splits == "test").mean() == pytest.approx(0.22, abs=0.01)
    assert (splits == "validation").mean() == pytest.approx(0.08, abs=0.01)
    families = (
        "1f98a",
        "1f34e",
        "1f695",
        "person-1f373",
        "clock",
    )  # published numbers rest on them
    assert [split_of(family) for family in families] == ["train", "validation", "validation", "train", "train"]
