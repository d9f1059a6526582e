"""What is seen in the words of a text without a model: its language, disguises, profanity."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.datasets.catalogue import dataset_folder, is_installed
from models.datasets.word_lists import read_words

WORD_LISTS = "profane-words"

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_ANY = ("en",)  # languages whose lists count whatever the text's language is: they are mixed into others most
_LOOKED_AT = 20_000  # characters


@dataclass(frozen=True)
class Words:
    """How many words a text has, and how many of them are on the lists. `profane` is None without lists."""

    total: int
    profane: int | None

    @property
    def profane_rate(self) -> float:
        """The share of profane words; NaN where it is not known."""
        if self.profane is None:
            return math.nan
        return self.profane / self.total if self.total else 0.0


class ProfaneWords:
    """Lists of profane words by language (ISO 639-1), in lower case. Only single words are looked for."""

    def __init__(self, lists: Mapping[str, frozenset[str]] | None = None) -> None:
        """None or nothing: there are no lists, and nothing is known of any text."""
        self._lists = {language: frozenset(words) for language, words in (lists or {}).items()}
        self._always = frozenset().union(*(self._lists.get(language, frozenset()) for language in _ANY))

    def __bool__(self) -> bool:
        return bool(self._lists)

    def count(self, text: str, language: str = "und") -> Words:
        """Count the words of a text. Words are what stands between spaces and punctuation, so languages written
        without spaces are undercounted."""
        words = _WORD.findall(text[:_LOOKED_AT].lower())
        if not self._lists:
            return Words(len(words), None)
        listed = self._always | self._lists.get(language.partition("-")[0], frozenset())
        return Words(len(words), sum(word in listed for word in words))


def profane_words_of(home: Path) -> ProfaneWords:
    """Return the lists installed in a home (`riverlight data install profane-words`); none where they are not."""
    return ProfaneWords(read_words(dataset_folder(WORD_LISTS, home)) if is_installed(WORD_LISTS, home) else None)
