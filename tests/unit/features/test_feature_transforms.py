"""Imputation, scaling, bucketing, encoding and hashing, with properties rather than examples where there are any."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import IntegrityError, InvalidInput
from features.transforms.bucketing import Bucketing
from features.transforms.encoding import EmbeddingIndex, IntegerEncoding, OneHotEncoding
from features.transforms.hashing import FeatureHashing
from features.transforms.imputation import Imputation
from features.transforms.parameters import KINDS, Transform, from_json, load, save, to_json
from features.transforms.scaling import LogScale, MinMax, ZScore

finite = st.floats(-1e300, 1e300)
numbers = st.lists(finite, min_size=1, max_size=30)
moderate = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)
words = st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=30)


@given(numbers, st.sampled_from(["median", "mode"]))
def test_imputation_fills_with_something_seen_and_changes_nothing_else(values: list[float], how) -> None:
    data = np.array([*values, math.nan])
    filled = Imputation.fit(data, how).apply(data)
    assert filled[:-1].tolist() == values
    assert min(values) <= filled[-1] <= max(values)


def test_imputation_by_mean_median_mode_and_default() -> None:
    data = np.array([1.0, 1.0, 4.0, np.nan])
    assert [Imputation.fit(data, how).value for how in ("mean", "median", "mode")] == [2.0, 1.0, 1.0]
    assert Imputation.fit(np.array([np.nan]), default=-1).value == -1
    assert Imputation.fit(np.array([2.0, 1.0]), "mode").value == 1.0  # a tie
    with pytest.raises(InvalidInput, match="strategy"):
        Imputation.fit(data, "guess")  # type: ignore[arg-type]


@given(numbers, finite)
def test_min_max_maps_into_zero_one_in_order_for_seen_and_unseen_values(values: list[float], other: float) -> None:
    scale = MinMax.fit(np.array(values))
    scaled = scale.apply(np.sort(np.array([*values, other])))
    assert ((scaled >= 0) & (scaled <= 1)).all()
    assert (np.diff(scaled) >= 0).all()


def test_min_max_is_the_books_formula() -> None:
    assert MinMax.fit(np.array([2.0, 10.0, np.nan])).apply(np.array([2.0, 4.0, 10.0])).tolist() == [0, 0.25, 1]


@given(moderate)
def test_z_scores_have_mean_zero_and_deviation_one(values: list[float]) -> None:
    data = np.array(values)
    scaled = ZScore.fit(data).apply(data)
    if data.std() > 1e-3:
        assert abs(scaled.mean()) < 1e-6 and abs(scaled.std() - 1) < 1e-6
    assert np.isfinite(scaled).all()


def test_scales_keep_missing_missing_and_refuse_to_fit_nothing() -> None:
    for kind in (MinMax, ZScore):
        assert np.isnan(kind.fit(np.array([3.0])).apply(np.array([np.nan]))).all()
        with pytest.raises(InvalidInput, match="no finite value"):
            kind.fit(np.array([np.nan, np.inf]))


@given(numbers)
def test_log_scaling_keeps_order_and_sign_and_is_log_of_one_plus_x(values: list[float]) -> None:
    data = np.sort(np.array(values))
    scaled = LogScale().apply(data)
    assert (np.diff(scaled) >= 0).all()
    assert (np.sign(scaled) == np.sign(data)).all()
    assert LogScale().apply(np.array([math.e - 1]))[0] == pytest.approx(1)


@given(numbers, st.integers(2, 8), finite)
def test_buckets_keep_order_and_bounds(values: list[float], count: int, other: float) -> None:
    buckets = Bucketing.quantiles(np.array(values), count)
    found = buckets.apply(np.sort(np.array([*values, other])))
    assert (np.diff(found) >= 0).all()
    assert found.min() >= 0 and found.max() < buckets.size - 1 <= count
    assert buckets.apply(np.array([np.nan])).tolist() == [buckets.size - 1]


def test_the_books_age_buckets() -> None:
    ages = Bucketing((10.0, 20.0, 40.0, 60.0))
    assert ages.apply(np.array([0.0, 9.0, 10.0, 19.0, 39.0, 40.0, 60.0, 99.0])).tolist() == [0, 0, 1, 1, 2, 3, 4, 4]
    with pytest.raises(InvalidInput, match="rising"):
        Bucketing((2.0, 1.0))


@given(words)
def test_one_hot_rows_sum_to_one_for_known_values_and_to_zero_for_the_rest(values: list[str | None]) -> None:
    encoding = OneHotEncoding.fit(values)
    encoded = encoding.apply([*values, None, "not seen"])
    assert encoded.shape == (len(values) + 2, len({v for v in values if v is not None}))
    assert encoded.sum(axis=1).tolist() == [float(v is not None) for v in values] + [0, 0]
    for row, value in zip(encoded, values, strict=False):
        if value is not None:
            assert encoding.categories[int(row.argmax())] == value


def test_integer_encoding_follows_the_order_given() -> None:
    encoding = IntegerEncoding(("Bad", "Good", "Excellent"))
    assert encoding.apply(["Good", "Excellent", "Bad", None, "Odd"]).tolist() == [2, 3, 1, 0, 0]
    with pytest.raises(InvalidInput, match="twice"):
        IntegerEncoding(("a", "a"))


@given(words, st.integers(2, 6))
def test_embedding_rows_fit_the_table_and_tell_missing_from_unknown(values: list[str | None], size: int) -> None:
    index = EmbeddingIndex.fit(values, max_size=size)
    rows = index.apply([*values, None, "not seen"])
    assert rows.max() < index.size <= size
    assert rows[-2:].tolist() == [0, 1]
    assert len(set(index.apply(index.categories).tolist())) == len(index.categories)


def test_embedding_index_keeps_the_most_frequent() -> None:
    assert EmbeddingIndex.fit(["b", "a", "a", "c", "c"], max_size=4).categories == ("a", "c")
    assert EmbeddingIndex.fit(["b", "a", "a"], max_size=9, min_count=2).categories == ("a",)


@given(st.lists(st.text(max_size=8), max_size=20), st.integers(1, 64))
def test_hashed_rows_add_up_and_do_not_depend_on_order(features: list[str], size: int) -> None:
    hashing = FeatureHashing(size)
    whole, reverse = hashing.apply([features, features[::-1]])
    parts = hashing.apply([[feature] for feature in features]).sum(axis=0) if features else np.zeros(size)
    assert whole.tolist() == reverse.tolist() == parts.tolist()


def test_hashing_is_the_same_in_every_process_and_spreads_over_columns_and_signs() -> None:
    hashing = FeatureHashing(16)
    assert [hashing.index(name) for name in ("tag=zebra", "tag=lion")] == [(6, 1.0), (5, -1.0)]
    rows = hashing.apply([[f"tag={n}"] for n in range(2000)])
    per_column = np.abs(rows).sum(axis=0)
    assert per_column.sum() == 2000 and per_column.min() > 60
    assert abs(rows.sum()) < 200
    assert (
        FeatureHashing(16, seed=1).apply([["tag=zebra", "a", "b"]]).tolist()
        != hashing.apply([["tag=zebra", "a", "b"]]).tolist()
    )


FITTED: dict[str, Transform] = {
    "a": Imputation(0.1),
    "b": MinMax(-1 / 3, 5e300),
    "c": ZScore(0.1, 0.2),
    "d": LogScale(),
    "e": Bucketing((1.0, 2.5)),
    "f": IntegerEncoding(("low", "high")),
    "g": OneHotEncoding(("ä", "b")),
    "h": EmbeddingIndex(("x",)),
    "i": FeatureHashing(32, seed=4),
}


def test_every_transform_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    assert {type(transform) for transform in FITTED.values()} == set(KINDS.values())
    save(tmp_path / "transforms.json", FITTED)
    assert load(tmp_path / "transforms.json") == FITTED


@pytest.mark.parametrize("text", ["[", "[]", '{"a": 1}', '{"a": {"kind": "pickle"}}', '{"a": {"kind": "min-max"}}'])
def test_a_file_that_is_not_of_transforms_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError, match="transform"):
        from_json(text)


def test_parameters_that_are_not_finite_are_not_saved() -> None:
    with pytest.raises(ValueError):
        to_json({"a": Imputation(math.nan)})
    assert json.loads(to_json({"a": Imputation(1.0)})) == {"a": {"kind": "imputation", "value": 1.0}}
