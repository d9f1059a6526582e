"""What was shown too late is found, with one second of grace, and nothing else."""

import pytest

from infra.chaos.answers import Restricted, Shown, shown_late


def answer(at_s: float, *items: str, took_s: float = 0.1) -> Shown:
    return Shown("search", at_s, at_s + took_s, 200, frozenset(items))


def enforced(at_s: float, cause: str = "p", *items: str) -> Restricted:
    return Restricted(at_s, cause, items or ("a",), True)


def lifted(at_s: float, cause: str = "p") -> Restricted:
    return Restricted(at_s, cause, (), False)


@pytest.mark.parametrize(("at_s", "late"), [(9.0, 0), (10.9, 0), (11.1, 1), (100.0, 1)])
def test_an_item_may_be_shown_for_one_second_after_its_verdict(at_s: float, late: int) -> None:
    assert len(shown_late([answer(at_s, "a")], [enforced(10.0)])) == late


def test_other_items_are_shown_for_ever() -> None:
    assert shown_late([answer(100.0, "b")], [enforced(10.0)]) == []


def test_what_is_lifted_while_an_answer_is_on_its_way_does_not_count() -> None:
    told = [enforced(10.0), lifted(20.0)]
    assert shown_late([answer(19.95, "a"), answer(30.0, "a")], told) == []
    assert len(shown_late([answer(19.0, "a")], told)) == 1


def test_an_item_is_enforced_as_long_as_one_of_its_posts_is() -> None:
    told = [enforced(10.0, "p"), enforced(15.0, "q"), lifted(20.0, "p")]
    assert len(shown_late([answer(25.0, "a")], told)) == 1
    assert shown_late([answer(35.0, "a")], [*told, lifted(30.0, "q")]) == []


def test_a_changed_post_goes_on_to_restrict_only_what_it_shows_now() -> None:
    told = [enforced(10.0, "p", "a", "b"), enforced(20.0, "p", "b")]
    assert shown_late([answer(25.0, "a")], told) == []
    assert len(shown_late([answer(25.0, "b")], told)) == 1


def test_a_second_verdict_about_the_same_post_begins_no_new_second() -> None:
    told = [enforced(10.0), enforced(11.5)]
    assert len(shown_late([answer(12.0, "a")], told)) == 1
