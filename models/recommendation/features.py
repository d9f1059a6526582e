"""What is known about items and users, as numbers a model can take: one dense row an id, one sparse row of words."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

WORDS = "title"
_MOST_CATEGORIES = 64  # of one column; rarer values share one
_WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True)
class FeatureEncoder:
    """How columns become numbers, fixed when a model is trained, so that serving encodes the same way.

    `numbers` maps a numeric column to its mean and deviation, `categories` any other one to its most frequent values.
    """

    numbers: Mapping[str, tuple[float, float]]
    categories: Mapping[str, tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """Name the columns of the encoded rows."""
        numeric = [part for name in self.numbers for part in (name, f"{name} missing")]
        return (*numeric, *(f"{name}={value}" for name, values in self.categories.items() for value in values))

    def encode(self, rows: Sequence[Mapping[str, str]]) -> NDArray[np.float32]:
        """Encode rows of text cells into `(n, F)` float32 within [-3, 3]; what is missing or unknown is 0.

        A missing number is the mean, with 1 in a column of its own.
        """
        out = np.zeros((len(rows), len(self.columns)), np.float32)
        place_of = {name: place for place, name in enumerate(self.columns)}
        for number, row in enumerate(rows):
            for name, (mean, deviation) in self.numbers.items():
                number_of = _number(row.get(name, ""))
                known = math.isfinite(number_of)
                out[number, place_of[name]] = min(3.0, max(-3.0, (number_of - mean) / deviation)) if known else 0.0
                out[number, place_of[f"{name} missing"]] = not known
            for name in self.categories:
                for value in _several(row.get(name, "")):
                    place = place_of.get(f"{name}={value}")
                    if place is not None:
                        out[number, place] = 1.0
        return out

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `encoder_of` reads it."""
        return {"numbers": dict(self.numbers), "categories": dict(self.categories)}


def encoder_of(plain: Mapping[str, Any]) -> FeatureEncoder:
    """Return the encoder that `as_dict` wrote."""
    return FeatureEncoder(
        {name: (float(mean), float(deviation)) for name, (mean, deviation) in plain["numbers"].items()},
        {name: tuple(values) for name, values in plain["categories"].items()},
    )


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features by id: `dense` `(n, F)` as the encoder makes it, and every id's words and categories as `tokens`.

    `groups` are the values of columns with one value an id, by column, for fairness tables.
    """

    ids: tuple[str, ...]
    encoder: FeatureEncoder
    dense: NDArray[np.float32]
    tokens: tuple[tuple[str, ...], ...]
    groups: Mapping[str, tuple[str, ...]]

    def aligned(self, vocabulary: Sequence[str]) -> NDArray[np.float32]:
        """Return `(len(vocabulary), F)` rows in the vocabulary's order, zeros for ids that are not described."""
        places = {name: place for place, name in enumerate(self.ids)}
        rows = np.zeros((len(vocabulary), self.dense.shape[1]), np.float32)
        for row, name in enumerate(vocabulary):
            if name in places:
                rows[row] = self.dense[places[name]]
        return rows

    def aligned_tokens(self, vocabulary: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the words of each id of the vocabulary, () for ids that are not described."""
        known = dict(zip(self.ids, self.tokens, strict=True))
        return [known.get(name, ()) for name in vocabulary]

    def group_of(self, column: str, vocabulary: Sequence[str]) -> list[str]:
        """Return the value of `column` for each id, `unknown` where it is not described."""
        known = dict(zip(self.ids, self.groups[column], strict=True))
        return [known.get(name, "") or "unknown" for name in vocabulary]


def table_of_columns(ids: tuple[str, ...], columns: Mapping[str, Sequence[str]]) -> FeatureTable:
    """Encode text columns: numbers standardised, categories one-hot (the most frequent 64), titles as words.

    A column is numeric when at least nine of ten filled cells are numbers; the others count as missing.
    """
    numbers: dict[str, tuple[float, float]] = {}
    categories: dict[str, tuple[str, ...]] = {}
    tokens: list[list[str]] = [[] for _ in ids]
    groups: dict[str, tuple[str, ...]] = {}
    for name, cells in columns.items():
        values = np.asarray([_number(cell) for cell in cells])
        filled = sum(cell != "" for cell in cells)
        if name == WORDS:
            for place, cell in enumerate(cells):
                tokens[place] += [f"word:{word}" for word in dict.fromkeys(_WORD.findall(cell.lower()))]
        elif filled and np.isfinite(values).sum() >= 0.9 * filled:
            known = values[np.isfinite(values)]
            numbers[name] = (float(known.mean()), float(known.std()) or 1.0)
            groups[name] = tuple(_bands(values))
        else:
            several = [_several(cell) for cell in cells]
            counts = Counter(value for found in several for value in set(found))
            categories[name] = tuple(value for value, _ in counts.most_common(_MOST_CATEGORIES))
            for place, found in enumerate(several):
                tokens[place] += [f"{name}:{value.lower()}" for value in found]
            if all(len(found) <= 1 for found in several):
                groups[name] = tuple(found[0] if found else "" for found in several)
    encoder = FeatureEncoder(numbers, categories)
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return FeatureTable(ids, encoder, encoder.encode(rows), tuple(tuple(words) for words in tokens), groups)


def tf_idf(tokens: Sequence[Sequence[str]]) -> sp.csr_matrix:
    """Return rows of length 1 `(n, words)` of tf·log(n/df): words of one id only are left out, they match nothing.

    Salton and Buckley 1988, https://doi.org/10.1016/0306-4573(88)90021-0.
    """
    document_count = Counter(word for words in tokens for word in set(words))
    vocabulary = {word: place for place, word in enumerate(sorted(w for w, n in document_count.items() if n > 1))}
    rows, columns, values = [], [], []
    for row, words in enumerate(tokens):
        for word, count in Counter(words).items():
            if word in vocabulary:
                rows.append(row)
                columns.append(vocabulary[word])
                values.append(count * math.log(len(tokens) / document_count[word]))
    matrix = sp.csr_matrix((values, (rows, columns)), shape=(len(tokens), max(1, len(vocabulary))), dtype=np.float64)
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = sp.diags(np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0))
    return sp.csr_matrix(scale @ matrix, dtype=np.float32)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _several(cell: str) -> list[str]:
    return [part.strip() for part in cell.split("|") if part.strip()]


def _bands(numbers: NDArray[np.float64]) -> list[str]:
    """Name the quarter each number lies in, by its bounds."""
    known = numbers[np.isfinite(numbers)]
    edges = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1.0]))
    if len(edges) < 2:
        return [f"{number:g}" if np.isfinite(number) else "" for number in numbers]
    last = len(edges) - 2
    bands = []
    for number in numbers:
        if not np.isfinite(number):
            bands.append("")
            continue
        place = min(int(np.searchsorted(edges, number, side="right")) - 1, last)
        bands.append(f"{edges[place]:g}–{edges[place + 1]:g}")
    return bands
