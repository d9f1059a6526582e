"""Words that are profane in some language, from the npm package `naughty-words`: 28 languages, one list each."""

import json
import shutil
import tarfile
from pathlib import Path

from core.errors import IntegrityError
from models.datasets.clients import npm_pack
from models.datasets.spec import Progress

WORDS = "words.json"
FILES = (WORDS,)
_PACKAGE = "naughty-words@1.2.0"


def fetch(folder: Path, progress: Progress) -> None:
    """Unpack the tarball and write `words.json`: language → words in lower case."""
    progress("profane-words: downloading the package that holds them (0.1 MB)")
    download = folder / "download"
    download.mkdir()
    convert(npm_pack(_PACKAGE, download), folder)
    shutil.rmtree(download)


def convert(source: Path, folder: Path) -> None:
    """Write `words.json` from the package's tarball; raises IntegrityError where it holds no list."""
    words: dict[str, list[str]] = {}
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                name = Path(member.name)
                file = archive.extractfile(member) if name.suffix == ".json" and name.stem != "package" else None
                if file is not None:
                    listed = json.loads(file.read())
                    if isinstance(listed, list):
                        words[name.stem] = sorted({str(word).strip().lower() for word in listed} - {""})
    except (OSError, ValueError, tarfile.TarError) as error:
        raise IntegrityError(f"{source.name} of {_PACKAGE} cannot be read: {error!r}") from error
    if not words:
        raise IntegrityError(f"{source.name} of {_PACKAGE} holds no list of words")
    (folder / WORDS).write_text(json.dumps(words, ensure_ascii=False, indent=0, sort_keys=True), encoding="utf-8")


def read_words(folder: Path) -> dict[str, frozenset[str]]:
    """Return language → profane words, in lower case."""
    listed: dict[str, list[str]] = json.loads((folder / WORDS).read_text(encoding="utf-8"))
    return {language: frozenset(words) for language, words in listed.items()}
