"""`riverlight learn recommendation`: incremental rounds, once or for ever."""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.table import Table

from core.errors import InvalidInput, NotFound
from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console, to_plain
from infra.cli.running import BrokerOption, bootstrap_of
from infra.cli.stopping import stopping

if TYPE_CHECKING:
    from infra.recommendation_learning import Learner, Round
    from infra.recommendation_stream import Platform
    from storage.log.reader import LogReader

_POLL_RECORDS, _POLL_S = 1_000, 1.0


def learn_recommendation_command(
    model: Annotated[
        str | None, typer.Option(help="Registered model to go on from. Default: the one of `recommendation.model`.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on: read the interactions as they come, and make a round when enough came."),
    ] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="With --follow: end after so many rounds.")] = None,
    min_events: Annotated[int | None, typer.Option(min=10, help="Instead of `learning.min_events`.")] = None,
    margin: Annotated[float | None, typer.Option(min=0, help="Instead of `learning.margin`.")] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="CSV that the model was first trained on. Data sets are found by themselves.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="With --interactions: the items it was trained with.")] = None,
    users: Annotated[Path | None, typer.Option(help="With --interactions: the users it was trained with.")] = None,
    broker: BrokerOption = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Go on learning from what people did since, and promote the result unless it is worse on the newest traffic.

    Towers and ranker learn only what is fresh, from the champion's weights; the other generators are refitted. The
    newest fifth is held out: champion and candidate are asked about it, and neither has learned it. Registered either
    way. The position in the stream is kept with the weights: nothing is learned twice. docs/how-to/recommend.md

    Examples:

    * `riverlight learn recommendation`

    * `riverlight learn recommendation --follow -o json`
    """
    from infra.recommendation_learning import BaseFiles, Learner
    from infra.recommendation_stream import Platform, read_platform
    from models.recommendation.report import progress_bar
    from models.registry.packaged import open_registry

    console = progress_console()
    with errors(), stopping() as stop, progress_bar(console) as report:
        settings = load_settings()
        changes = {"min_events": min_events, "margin": margin}
        learning = settings.learning.model_copy(
            update={name: value for name, value in changes.items() if value is not None}
        )
        home = settings.home.resolve()
        name = model or settings.recommendation.model.partition("@")[0]
        if not name:
            raise InvalidInput("recommendation.model names no model; say which with --model")
        learner = Learner(
            home,
            open_registry(settings.home),
            name,
            learning,
            files=BaseFiles(interactions, items, users),
            command=f"riverlight learn recommendation --model {name}" + (" --follow" if follow else ""),
            report=report,
            stop=stop,
        )
        try:
            platform = read_platform(home / "archive")
        except NotFound:
            if not follow:
                raise
            platform = Platform()  # nothing is archived yet: the log has it all
        if not follow:
            made = learner.round(platform)
            emit(made, round_text(made), output)
            return
        reader, epoch = _open_log(bootstrap_of(settings, broker), platform)
        try:
            following = Following(reader, epoch, learner, platform, home / "archive", console, output, stop)
            following.run(rounds, learning.min_events, learning.interval_s)
        finally:
            reader.close()


class Following:
    """Reads the log behind the archive and makes a round whenever enough is fresh."""

    def __init__(
        self,
        reader: "LogReader",
        epoch: str,
        learner: "Learner",
        platform: "Platform",
        archive: Path,
        console: Console,
        output: OutputFormat,
        stop: Callable[[], bool],
    ) -> None:
        self._reader = reader
        self._epoch = epoch
        self._archive = archive
        self._learner = learner
        self._platform = platform
        self._console = console
        self._output = output
        self._stop = stop

    def run(self, rounds: int | None, min_events: int, interval_s: float) -> None:
        """Follow until stopped, or until so many rounds were made.

        Raises:
            Unavailable: the broker refused to go on.
        """
        from infra.recommendation_stream import take_records

        made, waiting, last = 0, self._learner.fresh(self._platform), -math.inf
        self._console.print(f"following the interactions: {waiting} to learn, a round needs {min_events}")
        while not self._stop() and (rounds is None or made < rounds):
            waiting += take_records(self._platform, self._reader.poll(_POLL_RECORDS, _POLL_S), self._epoch)
            if waiting < min_events or not self._reader.caught_up() or time.monotonic() - last < interval_s:
                continue
            last = time.monotonic()
            made += self._round()
            waiting = 0  # a held candidate's events stay fresh; the next try is after as many more

    def _round(self) -> int:
        """Make a round; return 1, or 0 when what is fresh was not enough after all, or a stop came in between."""
        from infra.recommendation_stream import describe
        from models.recommendation.learning.round import Stopped

        describe(self._platform, self._archive)  # new videos and people
        try:
            made = self._learner.round(self._platform)
        except (InvalidInput, Stopped) as reason:
            self._console.print(f"no round: {reason}", markup=False)
            return 0
        if self._output is OutputFormat.json:
            sys.stdout.write(json.dumps(to_plain(made), allow_nan=False) + "\n")
            sys.stdout.flush()
        else:
            Console().print(round_text(made))
        return 1


def _open_log(bootstrap: str, platform: "Platform") -> tuple["LogReader", str]:
    """Return a reader of the interactions that begins where the archive ends, and the topic's incarnation."""
    from core import topics
    from storage.log.admin import topic_epoch
    from storage.log.reader import LogReader

    topic = topics.INTERACTIONS.name
    epoch = topic_epoch(bootstrap, topic)
    return LogReader(bootstrap, topic, start=platform.archived.get(epoch, {})), epoch


def round_text(made: "Round") -> Group:
    """Return a round for a person."""
    verdict = made.verdict
    table = Table("metric", made.parent, made.version, "difference", "95 %")
    for name, gain in verdict.difference.items():
        table.add_row(
            name,
            f"{verdict.champion[name]:.4f}",
            f"{verdict.candidate[name]:.4f}",
            f"{gain.mean:+.4f}",
            f"{gain.low:+.4f} to {gain.high:+.4f}",
        )
    minutes = made.click_to_weights
    word = "Promoted" if made.promoted else "Held"
    return Group(
        f"{made.model}/{made.version} learned {made.taught_events:,} fresh interactions ({made.taught_pairs:,} newly "
        f"relevant pairs, {made.new_items:,} new videos).",
        table,
        f"{word}: {made.reason}; {verdict.questions:,} held-out moments of {verdict.users:,} users.",
        f"From click to weights: newest {minutes['newest_min']:.1f} min, median {minutes['median_min']:.1f} min.",
        "" if made.promoted else f"To serve it all the same: riverlight models promote {made.model} {made.version}",
    )
