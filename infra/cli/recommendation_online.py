"""`riverlight evaluate recommendation --online`: what people did with what was recommended."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table

from core.errors import InvalidInput
from core.settings import load_settings
from infra.cli.output import OutputFormat, emit, progress_console

if TYPE_CHECKING:
    from infra.recommendation_online import Online
    from models.recommendation.online import Tally
    from models.recommendation.policies import Scoring


def evaluate_online_command(since: datetime | None, policies: list[str], output: OutputFormat) -> None:
    """Attribute, print and emit; raises what `evaluate_online` raises."""
    from infra.recommendation_online import evaluate_online

    with progress_console().status("joining interactions to answers"):
        settings = load_settings()
        temperature = settings.recommendation.temperature
        start = None if since is None else since.replace(tzinfo=since.tzinfo or UTC)
        found = evaluate_online(
            settings, since=start, policies=[(name, read_policy(name), temperature) for name in policies]
        )
    figures = found.figures
    plain = {
        "interactions": figures.attributed,
        "answers": len(figures.answers),
        "left_out": figures.left_out,
        "versions": {name: _tally(tally) for name, tally in figures.versions.items()},
        "generators": {name: _tally(tally) for name, tally in figures.generators.items()},
        "ctr": found.ctr,
        "policies": found.policies,
        "skew": found.skew,
    }
    emit(plain, Group(*_tables(found)), output)


def read_policy(text: str) -> "Scoring":
    """Return the scoring that `click=1,watch=0.5` names, or the logged one for `logged`.

    Raises:
        InvalidInput: it names nothing of the kind.
    """
    from models.recommendation.policies import by_score, weighted

    if text == "logged":
        return by_score
    weights: dict[str, float] = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise InvalidInput(f"--policy takes `logged`, or weights of objectives as click=1,watch=0.5; got {text!r}")
    return weighted(weights)


def _tally(tally: "Tally") -> dict[str, float | None]:
    return {**vars(tally), **tally.rates()}


def _tables(found: "Online") -> list[RenderableType]:
    figures = found.figures
    tables: list[RenderableType] = [
        f"{figures.attributed:,} interactions with the videos of {len(figures.answers):,} answers"
    ]
    for title, tallies in (("version", figures.versions), ("generator", figures.generators)):
        table = Table(title, "shown", "clicks", "CTR", "completed", "watched s", "s / shown", "likes", "dislikes")
        for name, tally in sorted(tallies.items(), key=lambda pair: -pair[1].impression):
            rates = tally.rates()
            spread = found.ctr.get(name) if title == "version" else None
            ctr = _number(rates["ctr"]) + (f" ({spread[1]:.3f}–{spread[2]:.3f})" if spread else "")
            table.add_row(
                name,
                f"{tally.impression:,}",
                f"{tally.click:,}",
                ctr,
                f"{tally.completed:,}",
                f"{tally.watched_s:,.0f}",
                _number(rates["watched_s_per_impression"]),
                f"{tally.like:,}",
                f"{tally.dislike:,}",
            )
        tables.append(table)
    if found.policies:
        table = Table("policy", "shown", "logged CTR", "IPS", "SNIPS", "DR", "worth", title="Off-policy, with 95 %")
        for one in found.policies:
            cells = [f"{part.value:.4f} ({part.low:.4f}–{part.high:.4f})" for part in (one.ips, one.snips, one.dr)]
            table.add_row(one.policy, f"{one.rows:,}", f"{one.logged:.4f}", *cells, f"{one.ips.effective_samples:,.0f}")
        tables.append(table)
    if found.skew.compared:
        tables.append(
            f"features: of {found.skew.compared} logged answers, {found.skew.history_equal} histories and "
            f"{found.skew.profile_equal} profiles are those of the archive at that moment"
        )
    if figures.left_out:
        tables.append("left out: " + ", ".join(f"{count:,} {why}" for why, count in sorted(figures.left_out.items())))
    return tables


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
