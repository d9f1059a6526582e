"""The object store: bytes under their SHA-256, in a folder, in S3 or in memory.

An object lies at `sha256/aa/bb/<hash>`, where `aabb` are the first digits of the hash. Only a well-formed hash ever
becomes part of a path.
"""

import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from obstore.exceptions import (
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, MemoryStore, S3Store

from core.errors import ConfigurationError, IntegrityError, InvalidInput, MissingMedia, Unavailable
from core.ids import is_media_id, media_id
from core.ports import ObjectStore

_S3_OPTIONS = {
    "region": "region",
    "endpoint": "endpoint",
    "access_key_id": "access_key_id",
    "secret_access_key": "secret_access_key",
    "path_style": "virtual_hosted_style_request",
    "unsigned": "skip_signature",
    "plain_http": "allow_http",
}
_S3_FLAGS = ("path_style", "unsigned", "plain_http")
_INCOMING = "incoming"
_ABANDONED_AFTER_S = 3600.0
_Value = TypeVar("_Value")


def open_object_store(url: str) -> ObjectStore:
    """Return the object store at a URL.

    * `file:///folder`: made when it is not there.
    * `s3://bucket/prefix?region=…&endpoint=…`: also with `access_key_id`, `secret_access_key`, `path_style=true`
      (MinIO and the like), `unsigned=true`. Without keys the AWS chain applies (environment, web identity, instance).
      A plain-HTTP endpoint is only accepted on this machine, or with `plain_http=true` (a private network).
    * `memory://`: gone with the process; for tests and trials.

    Raises:
        ConfigurationError: another URL, or an option that does not exist.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
            raise ConfigurationError(f"objects.url {url!r} does not name a folder; write file:///path/to/folder")
        return FolderObjectStore(Path(unquote(parts.path)))
    if parts.scheme == "memory":
        return BucketObjectStore(MemoryStore(), "memory")
    if parts.scheme == "s3" and parts.netloc:
        return BucketObjectStore(_s3(parts.netloc, parts.path, parts.query), f"s3://{parts.netloc}{parts.path}")
    raise ConfigurationError(
        f"objects.url has the scheme {parts.scheme!r}; known are file:///folder, s3://bucket/prefix and memory://"
    )


class BucketObjectStore(ObjectStore):
    """An `ObjectStore` over any store of obstore that makes an object appear whole, or not at all."""

    def __init__(self, store: LocalStore | MemoryStore | S3Store, where: str) -> None:
        self._store = store
        self._where = where

    async def put(self, data: bytes) -> str:
        digest = await asyncio.to_thread(media_id, data)
        # Always written, also when it is there: the same bytes, atomically, so that a damaged object is healed.
        await self._write(digest, data)
        return digest

    async def get(self, media_id: str) -> bytes:
        path = _path(media_id)
        try:
            data = await self._answer(self._read(path))
        except FileNotFoundError:
            raise MissingMedia(f"no object {media_id} in {self._where}") from None
        found = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        if found != media_id:
            raise IntegrityError(
                f"the object {media_id} in {self._where} is damaged: its {len(data)} bytes have the hash {found}; "
                "storing the original again repairs it"
            )
        return data

    async def exists(self, media_id: str) -> bool:
        path = _path(media_id)
        try:
            await self._answer(self._store.head_async(path))
        except FileNotFoundError:
            return False
        return True

    async def delete(self, media_id: str) -> None:
        path = _path(media_id)
        with contextlib.suppress(FileNotFoundError):
            await self._answer(self._store.delete_async(path))

    async def _read(self, path: str) -> bytes:
        result = await self._store.get_async(path)
        return bytes(await result.bytes_async())

    async def _write(self, digest: str, data: bytes) -> None:
        await self._answer(self._store.put_async(_path(digest), data, use_multipart=False))

    async def _answer(self, asked: Awaitable[_Value]) -> _Value:
        try:
            return await asked
        except (NotFoundError, FileNotFoundError) as error:  # obstore raises either, by store
            raise FileNotFoundError(str(error)) from error
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise ConfigurationError(f"the object store {self._where} refuses access: {_brief(error)}") from error
        except (BaseError, OSError) as error:
            raise Unavailable(f"the object store {self._where} did not answer: {_brief(error)}") from error


class FolderObjectStore(BucketObjectStore):
    """Objects in a local folder.

    obstore's LocalStore renames a finished file into place but does not fsync, so that a power loss could leave an
    empty object under a name that events already carry. Writing is therefore done here: temporary file, fsync,
    rename, fsync of the folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / _INCOMING
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self._incoming)
            super().__init__(LocalStore(folder), str(folder))
        except OSError as error:
            raise ConfigurationError(f"objects.url: the folder {folder} cannot be used: {error}") from error

    async def _write(self, digest: str, data: bytes) -> None:
        try:
            await asyncio.to_thread(self._write_durably, digest, data)
        except OSError as error:
            raise Unavailable(f"cannot write {len(data)} bytes to {self._folder}: {error}") from error

    def _write_durably(self, digest: str, data: bytes) -> None:
        target = self._folder / _path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = target.parent
        while folder != self._folder.parent:  # each may have been made a moment ago, here or by another process
            _fsync_folder(folder)
            folder = folder.parent


def _path(media_id: str) -> str:
    if not is_media_id(media_id):
        raise InvalidInput(f"not a media id (the SHA-256 of the bytes, 64 lower-case hex digits): {media_id[:80]!r}")
    return f"sha256/{media_id[:2]}/{media_id[2:4]}/{media_id}"


def _s3(bucket: str, prefix: str, query: str) -> S3Store:
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - set(_S3_OPTIONS))
    if unknown:
        raise ConfigurationError(
            f"objects.url: unknown option {', '.join(unknown)}; known are {', '.join(sorted(_S3_OPTIONS))}"
        )
    endpoint = urlsplit(options.get("endpoint", ""))
    insecure = endpoint.scheme == "http"
    here = endpoint.hostname in ("127.0.0.1", "localhost", "::1")
    if insecure and not here and options.get("plain_http") != "true":
        raise ConfigurationError(
            "objects.url: an S3 endpoint on another machine needs https:// (or plain_http=true, on a private network)"
        )
    config = {_S3_OPTIONS[name]: value for name, value in options.items() if name not in _S3_FLAGS}
    return S3Store(
        bucket,
        prefix=prefix.strip("/") or None,
        virtual_hosted_style_request=options.get("path_style", "false") != "true",
        skip_signature=options.get("unsigned") == "true",
        disable_bulk_delete=True,  # one object at a time is plain DELETE, which every S3-compatible store knows
        client_options={"timeout": "30s", "connect_timeout": "5s", "allow_http": insecure},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
        **config,  # type: ignore[arg-type]
    )


def _brief(error: Exception) -> str:
    """Return the first line of an error; obstore adds a page of internals."""
    return str(error).strip().partition("\n")[0]


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_abandoned(incoming: Path) -> None:
    """Remove what writers that were killed have left. A file that is still being written is younger."""
    for file in incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > _ABANDONED_AFTER_S:
                file.unlink()
