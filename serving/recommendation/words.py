"""Videos as vectors of the words that describe them, without a model that would have to be trained first.

Each word stands for a fixed direction of 64 signs, taken from its hash; a video is the weighted sum of its words'
directions, made length 1. The cosine of two videos then estimates the cosine of their weighted bags of words (a signed
random projection: Achlioptas 2003; feature hashing: Weinberger et al. 2009). There are no document frequencies in it:
they would depend on what else was uploaded, and two replicas would not agree. Short words, which are the frequent ones
in most languages, count less instead.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CONTENT_DIM = 64

_WORD = re.compile(r"\w+")
_TITLE, _TAG, _CATEGORY = 1.0, 2.0, 1.5
_FULL_LENGTH = 6  # letters from which on a title's word counts fully
_MOST_WORDS = 64  # of a title; the rest adds nothing but time


def weighted_words(title: str, tags: Sequence[str], category: str) -> dict[str, float]:
    """Return what describes a video with its weights. Tags and category are whole phrases and also words."""
    weights: dict[str, float] = {}
    for word, times in Counter(_words(title)).items():
        weights[word] = _TITLE * (1 + math.log(times)) * min(len(word), _FULL_LENGTH) / _FULL_LENGTH
    for phrases, weight in ((tags, _TAG), ((category,), _CATEGORY)):
        for phrase in phrases:
            for word in set(_words(phrase)):
                weights[word] = max(weights.get(word, 0.0), weight)
    return weights


def content_vector(words: dict[str, float]) -> NDArray[np.float32]:
    """Return the `(64,)` vector of weighted words, of length 1; all zero where there are no words."""
    total = np.zeros(CONTENT_DIM, np.float32)
    for word, weight in words.items():
        total += np.float32(weight) * _signs(word)
    length = float(np.linalg.norm(total))
    return total / np.float32(length) if length > 0 else total


@lru_cache(maxsize=65_536)
def word_code(word: str) -> int:
    """Return 64 bits that stand for a word, the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _words(text: str) -> Iterator[str]:
    for count, match in enumerate(_WORD.finditer(text.casefold())):
        if count == _MOST_WORDS:
            return
        yield match.group()


@lru_cache(maxsize=65_536)
def _signs(word: str) -> NDArray[np.float32]:
    bits = np.unpackbits(np.array([word_code(word)], np.uint64).view(np.uint8))
    signs = bits.astype(np.float32) * 2 - 1
    signs.flags.writeable = False
    return signs
