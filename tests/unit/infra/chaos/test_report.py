"""The generated part of the reliability page says what was found, and what was not run."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from infra.chaos.goal import Goal
from infra.chaos.goals import GOALS
from infra.chaos.report import BEGIN, END, section, write_section
from infra.chaos.result import GoalResult, read_results, write_result

RESULT = GoalResult(
    goal="G1", title="Workers killed", promise="nothing lost", broker="kafka", broker_version="Apache Kafka 4.3.1",
    seed=7, short=False, date="2026-11-22T10:00:00+00:00", command="riverlight chaos run --goal G1 --seed 7",
    machine="2 cores", took_s=100.0, events=10_000, recover_s=9.6, kept=True, figures={"kills": 20},
    parts=("a worker",),
)  # fmt: skip


def test_a_result_is_a_row_with_its_details_and_the_command_that_repeats_it() -> None:
    text = section([RESULT], GOALS[:1])
    assert "| G1 Workers killed | Apache Kafka 4.3.1 | 10,000 | 0 | 0 | 0 | 0 | 0 | 9.6 s | kept |" in text
    assert "`riverlight chaos run --goal G1 --seed 7`, 2026-11-22, seed 7" in text
    assert "kills 20" in text
    assert "was not run" not in text


def test_a_broken_promise_is_said_with_its_reason_and_an_example() -> None:
    broken = replace(RESULT, kept=False, lost=1, broken=("too slow",), examples={"lost": ["run-e1: is not there"]})
    text = section([broken], GOALS[:1])
    assert "**broken**" in text
    assert "Broken: Too slow." in text
    assert "For example (lost): Run-e1: is not there." in text


def test_goals_without_a_result_are_named_with_the_reason() -> None:
    skipped = replace(RESULT, goal="G2", skipped="no Java")
    text = section([skipped], GOALS[:3])
    assert "**G2 Zombie** was not run: no Java" in text
    assert "**G3 Broker killed and restarted** was not run: there is no result yet" in text


def test_a_short_run_is_shown_only_where_there_is_no_full_one() -> None:
    short = replace(RESULT, short=True, events=800)
    assert "800" not in section([RESULT, short], GOALS[:1])
    assert "| G1 Workers killed (short form) | Apache Kafka 4.3.1 | 800 |" in section([short], GOALS[:1])


def test_results_come_back_from_their_files_in_the_order_of_goals(tmp_path: Path) -> None:
    for name in ("G10", "G2"):
        write_result(replace(RESULT, goal=name), tmp_path)
    write_result(RESULT, tmp_path)
    assert [result.goal for result in read_results(tmp_path)] == ["G1", "G2", "G10"]
    assert read_results(tmp_path)[0] == RESULT


def test_the_page_keeps_what_people_wrote_around_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe end.\n")
    write_section(page, "new\n")
    write_section(page, "newer\n")
    assert page.read_text() == f"# Title\n\n{BEGIN}\n\nnewer\n\n{END}\n\nThe end.\n"
    page.write_text("# No marks\n")
    with pytest.raises(ConfigurationError, match="marks"):
        write_section(page, "new\n")


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.name)
def test_the_page_says_of_every_goal_what_is_done_and_what_is_promised(goal: Goal) -> None:
    page = Path(__file__).parents[4] / "docs" / "reliability.md"
    assert f"| {goal.name} {goal.title} | {goal.what} | {goal.promise} |\n" in page.read_text(encoding="utf-8")
