"""What is watched and liked, with the recent counting more: everywhere, in a country, in a language, and suddenly.

Counts decay exponentially, without anything that has to be decayed: an event at time t adds `weight · 2^((t - L) / h)`
to a sum (forward decay: Cormode et al. 2009), with half-life h and a landmark L that all sums share. The order of such
sums is the order of the decayed counts at any time, so lists of the greatest stay right while nothing happens, and an
event costs O(1). When numbers get large, the landmark is moved and every sum scaled.

What is trending has a greater short-lived count than its long-lived count would lead one to expect, in standard
deviations of a Poisson count.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.recommendation.ports import Rows
from serving.recommendation.ranked import HeavyHitters, Ranked, Sorted, TopList
from serving.recommendation.videos import Videos, greatest

#: What each kind of interaction adds; a watch adds up to this much, by the share watched.
WEIGHTS: Mapping[str, float] = {"click": 1.0, "watch": 2.0, "like": 3.0, "save": 3.0, "share": 4.0, "comment": 2.0}
DAY_S = 86_400.0

_MOVE_LANDMARK_AT = 500.0  # half-lives: 2^500 is far from the greatest double
_LISTED = 2_048  # rows in each list of the greatest


class DecayedCounts:
    """Decayed counts of all rows with one half-life."""

    def __init__(self, half_life_s: float) -> None:
        self.half_life_s = half_life_s
        self.landmark_s: float | None = None
        self._sums = np.zeros(1_024)

    def increment(self, time_s: float) -> tuple[float, float]:
        """Return what an event of weight 1 at a time adds, and by how much sums are to be scaled first (else 1)."""
        if self.landmark_s is None:
            self.landmark_s = time_s
        exponent = (time_s - self.landmark_s) / self.half_life_s
        if exponent <= _MOVE_LANDMARK_AT:
            return 2.0 ** max(-1_000.0, exponent), 1.0
        self.landmark_s = time_s
        factor = 2.0 ** max(-1_000.0, -exponent)
        self._sums = self._sums * factor
        return 1.0, factor

    def add(self, row: int, amount: float) -> float:
        """Add to a row's sum and return it."""
        if row >= self._sums.size:
            larger = np.zeros(max(row + 1, self._sums.size + self._sums.size // 2))
            larger[: self._sums.size] = self._sums
            self._sums = larger
        self._sums[row] += amount
        return float(self._sums[row])

    def sums(self, rows: Rows) -> NDArray[np.float64]:
        """Return the sums of rows, comparable with each other only."""
        sums = self._sums
        if len(rows) and rows.max() >= sums.size:
            inside = rows < sums.size
            return np.where(inside, sums[np.where(inside, rows, 0)], 0.0)
        return sums[rows]

    def at(self, rows: Rows, time_s: float) -> NDArray[np.float64]:
        """Return the decayed counts of rows at a time."""
        if self.landmark_s is None:
            return np.zeros(len(rows))
        exponent = (time_s - self.landmark_s) / self.half_life_s
        return self.sums(rows) * 2.0 ** -min(1_000.0, max(-1_000.0, exponent))

    def capture(self) -> tuple[NDArray[np.float64], float | None]:
        return self._sums.copy(), self.landmark_s

    def restore(self, sums: NDArray[np.float64], landmark_s: float | None) -> None:
        self._sums, self.landmark_s = np.array(sums, np.float64), landmark_s


class Popularity:
    """Decayed counts of videos. One writer; lists may be read from anywhere.

    Countries are those of the users' profiles when they acted. A country's list holds what is most seen there, not
    every video; so does a language's, by the language of the videos.
    """

    def __init__(
        self,
        videos: Videos,
        *,
        long_half_life_s: float = 7 * DAY_S,
        short_half_life_s: float = 6 * 3_600.0,
        weights: Mapping[str, float] = WEIGHTS,
        max_languages: int = 500,
    ) -> None:
        self._videos = videos
        self._weights = dict(weights)
        self._max_languages = max_languages
        self.long = DecayedCounts(long_half_life_s)
        self.short = DecayedCounts(short_half_life_s)
        self._top, self._active = TopList(_LISTED), TopList(_LISTED)
        self._countries: dict[str, HeavyHitters] = {}
        self._languages: OrderedDict[int, TopList] = OrderedDict()
        self._clock_s = 0.0

    # Reading --------------------------------------------------------------------------------------------------

    def top(self) -> Sorted:
        """Return the most popular rows of all and their sums, best first."""
        return self._top.best()

    def top_in_country(self, country: str) -> Sorted:
        """Return what is most popular with people of a country."""
        return _best(self._countries.get(country.upper()))

    def top_in_language(self, language: int) -> Sorted:
        """Return the most popular videos in a language (a code of `Videos.languages`)."""
        return _best(self._languages.get(language))

    def trending(self) -> Sorted:
        """Return rows that are watched more than they used to be, most surprising first, with their scores (> 0).

        Score (s - e) / sqrt(e + 1), where s is the short-lived count and e the one to expect of the long-lived one.
        """
        rows, _ = self._active.best()
        now_s = self._clock_s
        short = self.short.at(rows, now_s)
        expected = self.long.at(rows, now_s) * (self.short.half_life_s / self.long.half_life_s)
        scores = (short - expected) / np.sqrt(expected + 1)
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > 0]
        return rows[order], scores[order]

    def counts(self, rows: Rows) -> NDArray[np.float32]:
        """Return the long-lived decayed counts of rows, as of the newest event."""
        return self.long.at(rows, self._clock_s).astype(np.float32)

    # Writing --------------------------------------------------------------------------------------------------

    def count(self, row: int, kind: str, value: float, time_s: float, country: str | None) -> None:
        """Count one interaction. `value` is the share watched, for a watch."""
        weight = self._weights.get(kind, 0.0)
        if kind == "watch":
            weight *= min(1.0, max(0.0, value))
        self._clock_s = max(self._clock_s, time_s)
        if weight <= 0:
            return
        amount, factor = self.long.increment(time_s)
        if factor != 1.0:
            for ranked in (self._top, *self._countries.values(), *self._languages.values()):
                ranked.scale(factor)
        long = self.long.add(row, weight * amount)
        if country is not None:
            listed = self._countries.get(country)
            if listed is None:
                listed = self._countries[country] = HeavyHitters(_LISTED)
            listed.add(row, weight * amount)
        amount, factor = self.short.increment(time_s)
        if factor != 1.0:
            self._active.scale(factor)
        short = self.short.add(row, weight * amount)
        if self._videos.flags[row] == 0:
            self._put(row, long, short)

    def changed(self, row: int) -> None:
        """A video was changed: hidden, shown again, or put into another language."""
        if self._videos.flags[row]:
            for ranked in (self._top, self._active, self._languages.get(int(self._videos.language[row]))):
                if ranked is not None:
                    ranked.discard(row)  # countries keep it: their sums are nowhere else
            self._refill(int(self._videos.language[row]))
            return
        one = np.array([row])
        long, short = float(self.long.sums(one)[0]), float(self.short.sums(one)[0])
        if long > 0:
            self._put(row, long, short)

    def _put(self, row: int, long: float, short: float) -> None:
        self._top.put(row, long)
        self._active.put(row, short)
        code = int(self._videos.language[row])
        listed = self._languages.get(code)
        if listed is None:
            listed = self._languages[code] = TopList(_LISTED)
            if len(self._languages) > self._max_languages:
                self._languages.popitem(last=False)
        listed.put(row, long)
        self._languages.move_to_end(code)

    def _refill(self, language: int) -> None:
        """Look for what belongs into lists that takedowns have thinned out."""
        listed = self._languages.get(language)
        for ranked, counts, code in (
            (self._top, self.long, None),
            (self._active, self.short, None),
            (listed, self.long, language),
        ):
            if ranked is not None and ranked.thin:
                self._fill(ranked, counts, code)

    def _fill(self, ranked: TopList, counts: DecayedCounts, language: int | None) -> None:
        """Fill a list from the counts of all videos: time proportional to their number."""
        shown = self._videos.flags == 0
        if language is not None:
            shown &= self._videos.language == language
        rows = np.flatnonzero(shown)
        values = counts.sums(rows)
        ranked.replace(*greatest(rows[values > 0], values[values > 0], ranked.size))

    # Saving ---------------------------------------------------------------------------------------------------

    def capture(self) -> dict[str, Any]:
        """Return a copy of everything that is counted. Not beside the writer."""
        return {
            "long": self.long.capture(),
            "short": self.short.capture(),
            "clock_s": self._clock_s,
            "countries": {name: ranked.best() for name, ranked in self._countries.items()},
        }

    def restore(self, captured: Mapping[str, Any]) -> None:
        """Take over what `capture` returned. Only for an object never written to, once its videos are there."""
        self.long.restore(*captured["long"])
        self.short.restore(*captured["short"])
        self._clock_s = captured["clock_s"]
        for name, (rows, sums) in captured["countries"].items():
            self._countries[name] = HeavyHitters(_LISTED)
            self._countries[name].replace(rows, sums)
        self._fill(self._top, self.long, None)
        self._fill(self._active, self.short, None)
        rows = np.arange(self._videos.rows)
        for code in np.unique(self._videos.language[self.long.sums(rows) > 0]).tolist()[: self._max_languages]:
            self._languages[code] = TopList(_LISTED)
            self._fill(self._languages[code], self.long, code)


def _best(ranked: Ranked | None) -> Sorted:
    return ranked.best() if ranked is not None else (np.zeros(0, np.int64), np.zeros(0))
