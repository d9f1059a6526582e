"""Strings as small numbers, so that they fit into columns."""

from collections.abc import Iterable


class Vocabulary:
    """Codes 0, 1, 2 … in the order in which strings came. One writer; a code never changes."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}
        for name in names:
            self.add(name)

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str) -> int:
        """Return the code of a string, a new one if need be."""
        code = self._codes.get(name)
        if code is None:
            code = len(self.names)
            self.names.append(name)
            self._codes[name] = code
        return code

    def code(self, name: str) -> int:
        """Return the code of a string, -1 for one that never came."""
        return self._codes.get(name, -1)

    def name(self, code: int) -> str:
        """Return the string behind a code."""
        return self.names[code]


def primary_language(tag: str) -> str:
    """Return the language of a BCP 47 tag without script and region: `pt` of `pt-BR`; `und` where there is none."""
    return tag.replace("_", "-").split("-", 1)[0].casefold() or "und"
