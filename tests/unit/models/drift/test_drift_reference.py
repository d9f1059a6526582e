"""The reference of what a model was trained on: what is counted, and what is refused."""

import numpy as np
import pytest

from core.errors import IntegrityError
from models.drift.distributions import FINE, Categories, Numbers, Vectors
from models.drift.reference import Reference, Rows, reference_of
from models.registry.manifest import DRIFT


def some_rows(count: int = 1_000, seed: int = 0) -> Rows:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(count, 8)).astype(np.float32)
    vectors[::10] = np.nan
    return Rows(
        numbers={"length": generator.lognormal(4.0, 1.0, count), "rare": np.full(count, np.nan)},
        categories={"language": ["en" if place % 4 else "de" for place in range(count)]},
        vectors={"text": vectors},
        scores={"spam": generator.beta(1, 5, count)},
    )


def test_bins_of_numbers_have_equal_shares_and_what_is_unknown_has_its_own():
    values = np.random.default_rng(1).normal(size=5_000)
    bins = Numbers.of(values)
    counts = bins.tally(np.concatenate([values, [np.nan, np.inf, -99.0, 99.0]]))
    assert counts[0] == 1 and counts[-2] == 1 and counts[-1] == 2
    assert np.abs(counts[1:-3] - 5_000 / FINE).max() <= 2


def test_a_value_that_most_rows_have_is_a_bin_and_another_value_falls_outside():
    bins = Numbers.of(np.zeros(500))
    counts = bins.tally(np.array([-1.0, 0.0, 0.0, 0.5]))
    assert counts.tolist() == [1.0, 2.0, 1.0, 0.0]


def test_numbers_of_which_nothing_is_known_are_all_in_the_last_bin():
    assert Numbers.of(np.full(5, np.nan)).tally(np.array([np.nan])).tolist() == [0.0, 1.0]


def test_a_category_that_the_reference_never_had_counts_as_another():
    known = Categories.of(["en", "en", "de", None])
    assert known.names == ("en", "de")
    assert known.tally(["de", "xx", None, "en", "en"]).tolist() == [2.0, 1.0, 1.0, 1.0]


def test_tallies_of_two_halves_add_up_to_the_tally_of_the_whole():
    rows = some_rows()
    for feature in reference_of(rows, system="test", source="rows").features:
        column = rows.column(feature.kind, feature.name)
        halves = feature.distribution.tally(column[:400]) + feature.distribution.tally(column[400:])
        np.testing.assert_allclose(halves, feature.tally)


def test_vectors_are_projected_on_the_directions_in_which_they_vary_most():
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(2_000, 5)) * [0.1, 3.0, 0.1, 1.0, 0.1] + 7.0
    found = Vectors.of(rows)
    assert abs(found.axes[0, 1]) > 0.99 and abs(found.axes[1, 3]) > 0.99
    assert found.spread == pytest.approx(10.0, rel=0.1)
    counts, number, total = found.parts(found.tally(rows[:50]))
    assert number == 50 and [part.sum() for part in counts] == [50.0] * 6
    np.testing.assert_allclose(total, rows[:50].sum(axis=0))


def test_where_no_vector_is_there_all_rows_are_missing():
    found = Vectors.of(np.random.default_rng(2).normal(size=(200, 5)))
    nothing = np.full((3, 5), np.nan)
    counts, number, total = found.parts(found.tally(nothing))
    assert number == 0 and not total.any() and {part[-1] for part in counts} == {3.0}
    some = np.concatenate([nothing, np.zeros((1, 5))])
    np.testing.assert_allclose(found.tally(some), found.tally(nothing) + found.tally(some[3:]))


def test_a_reference_is_read_back_as_it_was_written(tmp_path):
    rows, live = some_rows(), some_rows(seed=5)
    written = reference_of(rows, system="test", source="1,000 rows")
    written.save(tmp_path, made_for="abc")
    read = Reference.load(tmp_path, made_for="abc")
    assert read is not None and read.system == "test"
    assert [(one.kind, one.name, one.source) for one in read.features] == [
        ("input", "length", "1,000 rows"),
        ("input", "language", "1,000 rows"),
        ("embedding", "text", "1,000 rows"),
        ("score", "spam", "1,000 rows"),
    ]  # `rare` is never known
    for before, after in zip(written.features, read.features, strict=True):
        np.testing.assert_allclose(before.tally, after.tally)
        before_live, after_live = before.of(live), after.of(live)
        assert before_live is not None and after_live is not None
        assert np.abs(before_live - after_live).max() < 2  # axes are float32 in the file
    assert (tmp_path / DRIFT).stat().st_size < 100_000


def test_a_folder_without_a_reference_has_none(tmp_path):
    assert Reference.load(tmp_path, made_for="abc") is None


def test_a_reference_of_other_weights_is_refused(tmp_path):
    reference_of(some_rows(), system="test", source="rows").save(tmp_path, made_for="abc")
    with pytest.raises(IntegrityError, match="made for abc, not for def"):
        Reference.load(tmp_path, made_for="def")


@pytest.mark.parametrize("place", [20, -5])
def test_a_damaged_file_is_refused(tmp_path, place):
    path = reference_of(some_rows(), system="test", source="rows").save(tmp_path, made_for="abc")
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="not a reference for drift"):
        Reference.load(tmp_path, made_for="abc")


def test_vectors_of_another_width_are_not_compared():
    text = next(one for one in reference_of(some_rows(), system="t", source="r").features if one.name == "text")
    assert text.of(Rows(vectors={"text": np.zeros((3, 9))})) is None
    assert text.of(Rows(numbers={"length": np.zeros(3)})) is None


def test_one_reference_beside_another_keeps_its_own_features():
    first = reference_of(Rows(numbers={"a": np.arange(200.0)}), system="t", source="training")
    second = reference_of(Rows(numbers={"a": np.zeros(200), "b": np.zeros(200)}), system="t", source="first rows")
    assert [(one.name, one.source) for one in first.beside(second).features] == [("a", "training"), ("b", "first rows")]
