"""Progress of what takes long, shown to a person: a bar a stage."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

Report = Callable[[str, int, int], None]  # of a stage: how much is done, of how much


@contextmanager
def progress_bars(console: Console, *, lasting: Collection[str] | None = None) -> Iterator[Report]:
    """Yield a `Report` that draws one bar a stage on the console.

    Args:
        lasting: the stages whose bars stay when they are finished; all where it is not given.
    """
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        bars: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            stays = lasting is None or stage in lasting
            progress.update(bars[stage], completed=done, total=total, visible=stays or done < total)

        yield report
