"""Measures of drift: about zero for samples of one distribution, whatever their size; the known value otherwise."""

import numpy as np
import pytest

from models.drift.compare import KS_WATCH, LEAST_ROWS, PSI_DRIFT, PSI_WATCH, SHIFT_WATCH, compare
from models.drift.distributions import Numbers
from models.drift.reference import Kind, Reference, Rows, reference_of
from models.drift.statistics import (
    cosine,
    group_starts,
    grouped,
    kolmogorov_smirnov,
    mean_shift,
    population_stability,
)

REFERENCE_ROWS, TRIALS = 10_000, 150


def drawn(generator: np.random.Generator, count: int, *, moved: float = 0.0) -> Rows:
    """Return rows like those of posts; `moved` shifts each column by so many of its deviations, or shares."""
    vectors = generator.normal(size=(count, 24)) * np.linspace(2.0, 0.1, 24)
    vectors[:, 0] += 2.0 * moved
    mostly_zero = np.where(generator.random(count) < 0.9 - 0.4 * moved, 0.0, generator.random(count))
    languages = generator.choice(["en", "de", "es", "fr"], count, p=[0.85 - 0.5 * moved, 0.1, 0.04, 0.01 + 0.5 * moved])
    length = generator.normal(size=count) + moved
    length[generator.random(count) < 0.05] = np.nan
    return Rows(
        numbers={"length": length, "rate": mostly_zero, "few": np.floor(3.0 * generator.random(count) + 1.5 * moved)},
        categories={"language": languages.tolist()},
        vectors={"text": vectors},
        scores={"spam": generator.beta(0.4 + 0.8 * moved, 6.0, count)},
    )


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(drawn(np.random.default_rng(0), REFERENCE_ROWS), system="test", source="rows")


@pytest.mark.parametrize("rows", [LEAST_ROWS, 1_000])
def test_samples_of_the_same_distribution_never_alarm(reference, rows):
    generator = np.random.default_rng(rows)
    seen: dict[tuple[Kind, str], list] = {(one.kind, one.name): [] for one in reference.features}
    for _ in range(TRIALS):
        sample = drawn(generator, rows)
        for feature in reference.features:
            tally = feature.of(sample)
            assert tally is not None
            seen[feature.kind, feature.name].append(compare(feature, tally))
    verdicts = [one.verdict for found in seen.values() for one in found]
    assert "drift" not in verdicts and "too-few" not in verdicts
    assert verdicts.count("watch") <= 0.002 * len(verdicts)
    for name, found in seen.items():
        assert np.mean([one.psi for one in found]) < PSI_WATCH / 3, name  # of vectors it is the highest of 17
        assert np.mean([one.ks or 0.0 for one in found]) < KS_WATCH / 3, name
        assert np.mean([one.shift or 0.0 for one in found]) < SHIFT_WATCH / 3, name


def test_a_window_as_small_as_allowed_sees_a_clear_change_in_every_feature(reference):
    sample = drawn(np.random.default_rng(3), LEAST_ROWS, moved=1.0)
    for feature in reference.features:
        tally = feature.of(sample)
        assert tally is not None
        found = compare(feature, tally)
        assert found.verdict == "drift" and found.moved, (feature.name, found)


def test_of_too_few_rows_nothing_is_said(reference):
    sample = drawn(np.random.default_rng(3), LEAST_ROWS - 1, moved=1.0)
    for feature in reference.features:
        found = compare(feature, feature.of(sample))
        assert (found.verdict, found.rows, np.isnan(found.psi)) == ("too-few", LEAST_ROWS - 1, True)


def test_without_the_correction_small_windows_would_be_taken_for_others():
    generator = np.random.default_rng(1)
    bins = Numbers.of(generator.normal(size=REFERENCE_ROWS), 10)
    before = bins.tally(generator.normal(size=REFERENCE_ROWS))
    starts = group_starts(before)
    before = grouped(before, starts)
    plain, corrected = [], []
    for _ in range(300):
        now = grouped(bins.tally(generator.normal(size=100)), starts)
        p, q = (now + 0.5) / (now + 0.5).sum(), before / before.sum()
        plain.append(float(((p - q) * np.log(p / q)).sum()))
        corrected.append(population_stability(before, now))
    assert np.mean(plain) == pytest.approx((len(starts) - 1) / 100, rel=0.25)  # what the theory says
    assert np.mean(corrected) < 0.03


def test_the_index_of_large_samples_is_what_its_formula_says():
    before, now = np.array([50_000.0, 50_000.0]), np.array([70_000.0, 30_000.0])
    expected = 0.2 * np.log(0.7 / 0.5) - 0.2 * np.log(0.3 / 0.5)
    assert population_stability(before, now) == pytest.approx(expected, abs=1e-3)


def test_an_empty_group_makes_the_index_large_and_not_infinite():
    assert PSI_DRIFT < population_stability(np.array([1_000.0, 0.0]), np.array([500.0, 500.0])) < 10.0
    assert population_stability(np.array([1_000.0, 0.0]), np.array([500.0, 0.0])) == 0.0


def test_the_distance_of_large_samples_is_the_largest_difference_of_cumulative_shares():
    before, now = np.array([1e6, 1e6, 1e6, 1e6]), np.array([2e6, 1e6, 1e6, 0.0])
    assert kolmogorov_smirnov(before, now) == pytest.approx(0.25, abs=2e-3)


def test_the_shift_of_a_mean_is_in_deviations_and_free_of_noise():
    generator = np.random.default_rng(4)
    before = generator.normal(size=(5_000, 50))
    same, moved = generator.normal(size=(400, 50)), generator.normal(size=(400, 50)) + 0.5
    shifts = [mean_shift(before.mean(0), 5_000, rows.mean(0), 400, 50.0) for rows in (same, moved)]
    assert shifts[0] < 0.05
    assert shifts[1] == pytest.approx(0.5, abs=0.05)
    assert cosine(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == 0.0
    assert np.isnan(cosine(np.zeros(2), np.ones(2)))


def test_groups_have_a_tenth_each_and_a_frequent_value_is_alone():
    even = np.full(50, 20.0)
    assert grouped(even, group_starts(even)).tolist() == [100.0] * 10
    atom = np.array([0.0, 900.0, 20.0, 30.0, 40.0, 10.0])
    assert grouped(atom, group_starts(atom)).tolist() == [0.0, 900.0, 100.0]
    constant = np.array([0.0, 1_000.0, 0.0])
    assert grouped(constant, group_starts(constant)).tolist() == [0.0, 1_000.0, 0.0]


def test_what_appears_where_nothing_was_known_is_a_change():
    nothing = reference_of(Rows(numbers={"nsfw": np.full(500, np.nan)}), system="t", source="r", least=0)
    found = compare(nothing.features[0], nothing.features[0].of(Rows(numbers={"nsfw": np.full(400, 0.3)})))
    assert found.verdict == "drift" and (found.missing, found.missing_before) == (0.0, 1.0)
