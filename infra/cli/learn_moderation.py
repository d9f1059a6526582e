"""`riverlight learn moderation`: rounds of learning harm from what people said of posts, once or for ever."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table

from core.errors import InvalidInput, Unavailable
from core.settings import Settings, load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console, to_plain
from infra.cli.stopping import stopping

if TYPE_CHECKING:
    from core.ports import TextEncoder
    from infra.moderation_learning import Learner, Round
    from models.moderation.learning.examples import Floats
    from models.moderation.policy import Policy
    from storage.catalogue import Catalogue

_LOOK_S = 30.0  # each look reads the posts of `learning_moderation.days`
_WORDS = {
    "promoted": "Promoted",
    "challenger": "Challenger: it scores live posts beside the champion and decides nothing",
    "held": "Held",
}


def learn_moderation_command(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on: look for reports, and make a round when enough are fresh.")
    ] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="With --follow: end after so many rounds.")] = None,
    days: Annotated[float | None, typer.Option(min=0.01, help="Instead of `learning_moderation.days`.")] = None,
    min_posts: Annotated[int | None, typer.Option(min=10, help="Instead of `learning_moderation.min_posts`.")] = None,
    min_hand: Annotated[int | None, typer.Option(min=10, help="Instead of `learning_moderation.min_hand`.")] = None,
    margin: Annotated[float | None, typer.Option(min=0, help="Instead of `learning_moderation.margin`.")] = None,
    shadow_first: Annotated[
        bool, typer.Option("--shadow-first", help="What would be promoted becomes challenger: compare, then promote.")
    ] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Learn harm from what people reported, and promote the result unless people's decisions say it is worse.

    Reports teach, weighed as the policy weighs them; reviews and appeals only measure, and no post or near-duplicate is
    on both sides. It goes on from the champion's weights and keeps what that says of the base texts. The gate promotes,
    makes challenger or holds; registered either way. docs/how-to/learn-moderation.md

    Examples:

    * `riverlight learn moderation`

    * `riverlight learn moderation --follow --shadow-first -o json`
    """
    from infra.moderation_labels import Posts
    from infra.moderation_learning import Learner
    from models.progress import progress_bars
    from models.registry.packaged import open_registry

    console = progress_console()
    with errors(), stopping() as stop:
        settings = load_settings()
        changes = {"days": days, "min_posts": min_posts, "min_hand": min_hand, "margin": margin}
        learning = settings.learning_moderation.model_copy(
            update={name: value for name, value in changes.items() if value is not None}
        )
        with opened_catalogue(settings) as catalogue, progress_bars(console) as report:
            learner = Learner(
                settings.home.resolve(),
                open_registry(settings.home),
                Posts(catalogue, _policy(settings), learning),
                _encoder(settings),
                learning,
                images=lambda: _images(settings),
                shadow_first=shadow_first,
                command="riverlight learn moderation" + (" --follow" if follow else ""),
                report=report,
                stop=stop,
            )
            if not follow:
                made = learner.round()
                emit(made, round_text(made), output)
                return
            Following(learner, console, output, stop).run(rounds, learning.min_posts, learning.interval_s)


class Following:
    """Looks at the store again and again, and makes a round whenever enough is fresh."""

    def __init__(
        self,
        learner: "Learner",
        console: Console,
        output: OutputFormat,
        stop: Callable[[], bool],
        look_s: float = _LOOK_S,
    ) -> None:
        self._learner = learner
        self._console = console
        self._output = output
        self._stop = stop
        self._look_s = look_s
        self._tried: set[str] = set()  # what a candidate that was not promoted has learned: not again for these alone

    def run(self, rounds: int | None, min_posts: int, interval_s: float) -> None:
        """Follow until stopped, or until so many rounds were made. A catalogue that is away is waited for."""
        made, last = 0, -math.inf
        self._console.print(f"following the reports: a round needs {min_posts} posts that were not learned yet")
        while not self._stop() and (rounds is None or made < rounds):
            if time.monotonic() - last >= interval_s:
                try:
                    fresh = self._learner.fresh()
                    if len(fresh - self._tried) >= min_posts:
                        last = time.monotonic()
                        made += self._round()
                        self._tried |= fresh
                        continue
                except Unavailable as error:
                    self._console.print(f"waiting: {error}", markup=False)
            self._pause()

    def _pause(self) -> None:
        until = time.monotonic() + self._look_s
        while not self._stop() and time.monotonic() < until:
            time.sleep(min(0.2, self._look_s))

    def _round(self) -> int:
        """Make a round; return 1, or 0 when what is fresh was not enough after all, or a stop came in between."""
        from models.moderation.learning.tune import Stopped

        try:
            made = self._learner.round()
        except (InvalidInput, Stopped) as reason:
            self._console.print(f"no round: {reason}", markup=False)
            return 0
        if self._output is OutputFormat.json:
            sys.stdout.write(json.dumps(to_plain(made), allow_nan=False) + "\n")
            sys.stdout.flush()
        else:
            Console().print(round_text(made))
        return 1


@contextmanager
def opened_catalogue(settings: Settings) -> "Iterator[Catalogue]":
    """Open the catalogue for a command, and close it."""
    from storage.catalogue import Catalogue

    catalogue = Catalogue.open(settings.catalogue_url, settings.catalogue)
    try:
        yield catalogue
    finally:
        catalogue.close()


def round_text(made: "Round") -> Group:
    """Return a round for a person."""
    tables: dict[str, Table] = {}
    for one in made.verdict.compared:
        if one.of not in tables:
            tables[one.of] = Table(title=f"{one.of}: {made.parent} → {made.version}")
            for name in ("class", "posts", "harmful", "ROC", "→", "PR", "→", "error", "→"):
                tables[one.of].add_column(name, justify="left" if name == "class" else "right")
        tables[one.of].add_row(
            one.harm,
            f"{one.examples:,}",
            f"{one.harmful:,}",
            f"{one.champion_roc:.3f}",
            f"{one.candidate_roc:.3f}",
            f"{one.champion_pr:.3f}",
            f"{one.candidate_pr:.3f}",
            f"{one.champion_error:.3f}",
            f"{one.candidate_error:.3f}",
        )
    classes = ", ".join(f"{harm} {count}" for harm, count in made.harmful.items() if count)
    gain = made.verdict.difference
    lines: list[RenderableType] = [
        f"{made.model}/{made.version} learned {made.reported:,} reported posts ({made.fresh:,} fresh; {classes}) and "
        f"{made.unreported:,} that nobody reported; kept: {made.anchors}.",
        f"Left out: {made.kept_out:,} posts like judged ones; {made.judged_left_out:,} judged posts like learned ones.",
        *tables.values(),
        f"{_WORDS[made.outcome]}: {made.reason}; {made.judged:,} posts judged by hand.",
    ]
    if gain is not None:
        lines.append(f"ROC area on them {gain.mean:+.4f}, 95 % {gain.low:+.4f} to {gain.high:+.4f}.")
    if made.outcome == "challenger":
        lines.append("To see what it would do: riverlight moderation shadow")
    if made.outcome != "promoted":
        lines.append(f"To serve it all the same: riverlight models promote {made.model} {made.version}")
    return Group(*lines)


def _policy(settings: Settings) -> "Policy":
    from models.moderation.policy import load_policy

    return load_policy(settings.moderation.policy)


def _encoder(settings: Settings) -> "TextEncoder":
    from models.text.load import load_text_encoder

    return load_text_encoder(settings.text_encoder.model_copy(update={"memo": 0}), settings.home)


def _images(settings: Settings) -> "Floats":
    from models.moderation.posts import harmless_images
    from models.registry.packaged import open_registry
    from models.visual_search.load import load_encoder

    return harmless_images(settings.home, load_encoder(settings.encoder, open_registry(settings.home)))
