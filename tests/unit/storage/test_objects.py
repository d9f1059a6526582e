"""Opening object stores by URL, and what the folder promises beyond the contract."""

import asyncio
import os
from pathlib import Path

import pytest

from core.errors import ConfigurationError, Unavailable
from core.ids import media_id
from storage.objects import open_object_store


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/folder", "known are file:///folder"),
        ("/just/a/path", "known are file:///folder"),
        ("file://host/folder", "does not name a folder"),
        ("file:///", "does not name a folder"),
        ("s3://", "known are file:///folder"),
        ("s3://bucket?colour=blue", "unknown option colour"),
        ("s3://bucket?endpoint=http://storage.example", "needs https"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_what_is_allowed(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_object_store(url)


def test_a_plain_http_endpoint_on_a_private_network_has_to_be_asked_for() -> None:
    open_object_store("s3://bucket?region=eu&endpoint=http://minio:9000&path_style=true&plain_http=true")
    with pytest.raises(ConfigurationError, match="plain_http=true"):
        open_object_store("s3://bucket?region=eu&endpoint=http://minio:9000&plain_http=yes")


def test_secrets_in_an_s3_url_are_not_repeated_in_errors() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_object_store("s3://bucket?secret_access_key=hunter2&nonsense=1")
    assert "hunter2" not in str(caught.value)


async def test_an_object_in_a_folder_lies_under_the_first_digits_of_its_hash(tmp_path: Path) -> None:
    digest = await open_object_store(tmp_path.as_uri()).put(b"picture")
    assert (tmp_path / "sha256" / digest[:2] / digest[2:4] / digest).read_bytes() == b"picture"
    assert not list((tmp_path / "incoming").iterdir())


async def test_bytes_and_folders_are_on_the_disk_before_the_name_is_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle: int) -> None:
        target = str(Path(f"/proc/self/fd/{handle}").readlink())
        synced.append(target)
        order.append("fsync " + ("file" if "incoming" in target else "folder"))
        fsync(handle)

    def watched_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    digest = await open_object_store(tmp_path.as_uri()).put(b"picture")
    assert order == ["fsync file", "rename", "fsync folder", "fsync folder", "fsync folder", "fsync folder"]
    leaf = tmp_path / "sha256" / digest[:2] / digest[2:4]
    assert synced[1:] == [str(leaf), str(leaf.parent), str(leaf.parent.parent), str(tmp_path)]


async def test_a_write_that_fails_is_unavailable_and_leaves_nothing_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_object_store(tmp_path.as_uri())

    def disk_full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(Unavailable, match="No space left"):
        await store.put(b"picture")
    assert not await store.exists(media_id(b"picture"))
    assert not list((tmp_path / "incoming").iterdir())


async def test_many_writers_of_the_same_bytes_leave_one_object(tmp_path: Path) -> None:
    stores = [open_object_store(tmp_path.as_uri()) for _ in range(4)]
    await asyncio.gather(*(store.put(b"picture" * 1000) for store in stores for _ in range(5)))
    assert len([path for path in (tmp_path / "sha256").rglob("*") if path.is_file()]) == 1


def test_files_left_by_writers_that_were_killed_are_removed_when_they_are_old(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    open_object_store(tmp_path.as_uri())
    assert not old.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        open_object_store((tmp_path / "file" / "objects").as_uri())
