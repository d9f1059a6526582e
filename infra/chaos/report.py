"""The part of docs/reliability.md that is made from results."""

from collections.abc import Sequence
from pathlib import Path

from core.errors import ConfigurationError
from infra.chaos.goal import Goal
from infra.chaos.result import GoalResult

BEGIN = "<!-- made by `riverlight chaos report`; do not edit what follows -->"
END = "<!-- end of what `riverlight chaos report` makes -->"


def section(results: Sequence[GoalResult], goals: Sequence[Goal]) -> str:
    """Return tables of what was found, what was not run, and the details of each run, as Markdown.

    A full run of a goal on a broker takes the place of short ones on it.
    """
    full = {(result.goal, result.broker) for result in results if not result.short and not result.skipped}
    shown = [
        result
        for result in results
        if not result.skipped and (not result.short or (result.goal, result.broker) not in full)
    ]
    lines = [
        "| goal | broker | events | lost | twice | wrong | unexpected | dead letters | recovered in | promise |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *(_row(result) for result in shown),
        "",
        *_not_run(results, goals),
        *(line for result in shown for line in _details(result)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def write_section(page: Path, text: str) -> None:
    """Put the text between the marks of a page. Raises ConfigurationError where the page has none."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigurationError(f"{page} lacks the marks {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _row(result: GoalResult) -> str:
    recover = "" if result.recover_s is None else f"{result.recover_s:.1f} s"
    form = " (short form)" if result.short else ""
    counts = (result.events, result.lost, result.twice, result.wrong, result.unexpected, result.dead_lettered)
    promise = "kept" if result.kept else "**broken**"
    cells = (f"{result.goal} {result.title}{form}", result.broker_version, *(f"{count:,}" for count in counts))
    return f"| {' | '.join((*cells, recover, promise))} |"


def _not_run(results: Sequence[GoalResult], goals: Sequence[Goal]) -> list[str]:
    lines: list[str] = []
    run = {result.goal for result in results if not result.skipped}
    reasons = {result.goal: result.skipped for result in results if result.skipped}
    for goal in goals:
        if goal.name not in run:
            reason = reasons.get(goal.name, "there is no result yet")
            lines.append(f"- **{goal.name} {goal.title}** was not run: {reason}")
    return [*lines, ""] if lines else []


def _details(result: GoalResult) -> list[str]:
    lines = [
        f"### {result.goal} on {result.broker}: {result.title.lower()}",
        "",
        f"`{result.command}`, {result.date[:10]}, seed {result.seed}, took {result.took_s:,.0f} s on {result.machine}.",
        "",
        f"- Took part: {'; '.join(result.parts) or 'nothing'}.",
    ]
    if result.figures:
        figures = "; ".join(f"{name.replace('_', ' ')} {value:,.10g}" for name, value in result.figures.items())
        lines.append(f"- Figures: {figures}.")
    lines += [f"- Broken: {_sentence(reason)}" for reason in result.broken]
    lines += [f"- For example ({what}): {_sentence(texts[0])}" for what, texts in result.examples.items() if texts]
    lines += [f"- {_sentence(note)}" for note in result.notes]
    return [*lines, ""]


def _sentence(text: str) -> str:
    text = text.replace("|", "\\|").strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
