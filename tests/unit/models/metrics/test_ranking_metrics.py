import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from models.metrics.bootstrap import mean_interval
from models.metrics.ranking import (
    average_precision,
    dcg_at_k,
    hit_at_k,
    mean_average_precision,
    mean_reciprocal_rank,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
    summarise,
)

grades = st.lists(st.integers(0, 5), min_size=1, max_size=30)
BOOK = [0, 5, 1, 4, 2]


def test_ndcg_of_the_books_example_is_0_6869():
    assert dcg_at_k(BOOK, 5) == pytest.approx(6.151, abs=5e-4)
    assert dcg_at_k(sorted(BOOK, reverse=True), 5) == pytest.approx(8.9543, abs=1e-4)  # the book cuts off
    assert ndcg_at_k(BOOK, 5) == pytest.approx(0.6869, abs=5e-5)


def test_two_models_that_differ_only_below_the_first_relevant_item_have_the_same_reciprocal_rank():
    assert reciprocal_rank([0, 1, 1, 1]) == reciprocal_rank([0, 1, 0, 0]) == 0.5


def test_mean_reciprocal_rank_counts_a_list_without_a_relevant_item_as_zero():
    assert mean_reciprocal_rank([[1, 0], [0, 1], [0, 0], [0, 0, 0, 1]]) == pytest.approx((1 + 0.5 + 0 + 0.25) / 4)


def test_precision_recall_and_average_precision_by_hand():
    ranked = [1, 0, 1, 0, 0, 1]
    assert precision_at_k(ranked, 3) == pytest.approx(2 / 3)
    assert recall_at_k(ranked, 3) == pytest.approx(2 / 3)
    assert average_precision(ranked) == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 3)
    assert mean_average_precision([ranked, [0, 1]]) == pytest.approx((average_precision(ranked) + 0.5) / 2)


def test_relevant_items_the_list_leaves_out_lower_recall_and_average_precision():
    assert recall_at_k([1, 0], 2, total_relevant=4) == 0.25
    assert average_precision([1, 0], total_relevant=4) == 0.25


def test_precision_of_a_short_list_is_still_divided_by_k():
    assert precision_at_k([1], 10) == pytest.approx(0.1)


def test_the_threshold_decides_which_grades_are_relevant():
    assert hit_at_k([2, 3], 1, threshold=3) == 0.0
    assert hit_at_k([2, 3], 2, threshold=3) == 1.0


@pytest.mark.parametrize("wrong", [[1.0, float("nan")], [float("inf")], [-1.0], [[1, 2]]])
def test_grades_that_are_no_grades_are_refused(wrong):
    with pytest.raises(InvalidInput):
        ndcg_at_k(wrong)


def test_a_cut_below_one_is_refused():
    with pytest.raises(InvalidInput, match="k must be at least 1"):
        recall_at_k([1], 0)


@settings(deadline=None)  # the first example imports the reference
@given(st.lists(grades, min_size=1, max_size=8), st.integers(1, 12))
def test_metrics_agree_with_ir_measures_where_definitions_agree(lists, k):
    qrels = [
        ir_measures.Qrel(str(q), str(d), grade) for q, ranked in enumerate(lists) for d, grade in enumerate(ranked)
    ]
    run = [
        ir_measures.ScoredDoc(str(q), str(d), float(-d)) for q, ranked in enumerate(lists) for d in range(len(ranked))
    ]
    theirs = ir_measures.calc_aggregate(
        [ir_measures.RR, ir_measures.AP, ir_measures.nDCG @ k, ir_measures.P @ k, ir_measures.R @ k,
         ir_measures.Success @ k],
        qrels,
        run,
    )  # fmt: skip
    ours = summarise(lists, ks=(k,)).values
    assert ours["mrr"] == pytest.approx(theirs[ir_measures.RR])
    assert ours["map"] == pytest.approx(theirs[ir_measures.AP])
    assert ours[f"ndcg@{k}"] == pytest.approx(theirs[ir_measures.nDCG @ k])
    assert ours[f"precision@{k}"] == pytest.approx(theirs[ir_measures.P @ k])
    assert ours[f"recall@{k}"] == pytest.approx(theirs[ir_measures.R @ k])
    assert ours[f"hit@{k}"] == pytest.approx(theirs[ir_measures.Success @ k])


@given(grades, st.integers(1, 30))
def test_every_metric_lies_between_zero_and_one(ranked, k):
    for value in summarise([ranked], ks=(k,)).values.values():
        assert 0.0 <= value <= 1.0 + 1e-12


@given(grades)
def test_no_order_beats_the_ideal_order(ranked):
    ideal = sorted(ranked, reverse=True)
    assert ndcg_at_k(ranked) <= ndcg_at_k(ideal) + 1e-12
    assert average_precision(ranked) <= average_precision(ideal) + 1e-12


@given(grades, st.integers(1, 29))
def test_recall_never_falls_when_k_grows(ranked, k):
    assert recall_at_k(ranked, k) <= recall_at_k(ranked, k + 1)


@given(grades, st.data())
def test_moving_a_better_item_up_never_lowers_ndcg(ranked, data):
    place = data.draw(st.integers(0, len(ranked) - 1))
    higher = data.draw(st.integers(0, place))
    if ranked[place] >= ranked[higher]:
        swapped = list(ranked)
        swapped[place], swapped[higher] = swapped[higher], swapped[place]
        assert ndcg_at_k(swapped) >= ndcg_at_k(ranked) - 1e-12


def test_queries_without_a_relevant_item_are_counted():
    summary = summarise([[0, 0], [1, 0]])
    assert (summary.queries, summary.without_relevant) == (2, 1)


def test_the_interval_of_a_mean_holds_the_mean_and_shrinks_with_more_queries():
    values = np.random.default_rng(0).random(50)
    low, high = mean_interval(values)
    assert low < values.mean() < high
    wide_low, wide_high = mean_interval(values[:10])
    assert high - low < wide_high - wide_low


def test_the_interval_of_no_queries_is_refused():
    with pytest.raises(InvalidInput):
        mean_interval(np.empty(0))
