"""What may reach a text encoder: a bounded, valid Unicode string without control characters."""

import unicodedata

CHARACTERS_PER_TOKEN = 8  # tokens of ordinary text have 1 (Chinese) to 5 (English) characters


def bounded(text: str, max_tokens: int) -> str:
    """Return the beginning of a text, in NFKC, from which at most `max_tokens` tokens will be read.

    Lone surrogates (which have no UTF-8) become question marks, control characters spaces. What NFKC makes longer
    (U+FDFA becomes 18 characters) is cut again.
    """
    limit = max_tokens * CHARACTERS_PER_TOKEN
    valid = text[:limit].encode("utf-8", "replace").decode("utf-8")
    plain = unicodedata.normalize("NFKC", valid)[:limit]
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in plain)
