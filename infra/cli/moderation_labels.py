"""`riverlight moderation sample-labels|shadow`: which posts people should label, and what a challenger would do."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from core.clock import SystemClock
from core.moderation import ACTIONS
from core.settings import load_settings
from infra.cli.learn_moderation import opened_catalogue
from infra.cli.output import OutputFormat, OutputOption, emit, errors, progress_console

if TYPE_CHECKING:
    from infra.moderation_sampling import Sampled
    from models.moderation.learning.shadow import Comparison, Latency


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sample-labels")(sample_labels_command)
    app.command("shadow")(shadow_command)


def sample_labels_command(
    budget: Annotated[
        int | None, typer.Option(min=0, help="Posts of today, at most. Default: `learning_moderation.label_budget`.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be picked; open no jobs.")] = False,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Ask people to label posts: those the model is least sure of, of every class and language, and rare harm.

    The jobs wait in the review queue behind everything else. They are not drawn by chance, so prevalence does not count
    them. Run it as often as you like: the budget is for a day (UTC). docs/how-to/learn-moderation.md

    Example: `riverlight moderation sample-labels --budget 20 --dry-run`
    """
    with errors():
        from infra.moderation_sampling import sample_labels
        from models.moderation.policy import load_policy
        from models.progress import progress_bars

        settings = load_settings()
        with opened_catalogue(settings) as catalogue, progress_bars(progress_console(), lasting=()) as report:
            found = sample_labels(
                catalogue,
                load_policy(settings.moderation.policy),
                settings.learning_moderation,
                budget=budget,
                dry_run=dry_run,
                report=report,
            )
        emit(found, _sampled(found, dry_run), output)


def shadow_command(
    days: Annotated[float, typer.Option("--days", min=0.01, help="Posts of the last days.")] = 7.0,
    challenger: Annotated[
        str, typer.Option("--challenger", help="A version, as moderation/3f2a91c0. Default: the newest that scored.")
    ] = "",
    output: OutputOption = OutputFormat.text,
) -> None:
    """Compare a challenger with the champion on live posts: scores, actions, posts that would change, people's labels.

    While `moderation@challenger` names a version, every post is scored by it, too; its scores decide nothing.
    docs/how-to/learn-moderation.md

    Example: `riverlight moderation shadow --days 2`
    """
    with errors():
        from infra.moderation_shadow import shadow
        from models.moderation.policy import load_policy
        from storage.moderation import ModerationStore

        settings = load_settings()
        with opened_catalogue(settings) as catalogue, progress_console().status("comparing"):
            policy = load_policy(settings.moderation.policy)
            since = SystemClock().now() - timedelta(days=days)
            found = shadow(ModerationStore(catalogue.database), policy, since, challenger)
        emit(found, _comparison(found), output)


def _sampled(found: "Sampled", dry_run: bool) -> RenderableType:
    table = Table("post", "language", "class", "why", "value")
    for one in found.picks:
        table.add_row(one.post_id, one.language, one.harm, one.why, f"{one.value:.2f}")
    left = max(found.budget - found.used_today, 0)
    told = f"{found.posts:,} posts that nobody judged; {left} of {found.budget} may be asked about today"
    labels = "found harmful so far: " + ", ".join(f"{harm} {count}" for harm, count in found.labelled.items())
    if not found.picks:
        return Group(told, labels, "nothing is picked")
    done = "nothing was opened (--dry-run)" if dry_run else f"{found.opened} jobs wait for reviewers"
    return Group(told, labels, table, done)


def _comparison(found: "Comparison") -> RenderableType:
    actions = Table(title=f"{found.posts:,} posts: by {found.champion} (rows) and by {found.challenger}")
    actions.add_column("champion")
    for action in ACTIONS:
        actions.add_column(action, justify="right")
    for now in ACTIONS:
        actions.add_row(now, *(f"{found.actions[now][then]:,}" for then in ACTIONS))
    agreement = "" if found.agreement is None else f"{found.agreement:.1%} same action"
    lines: list[RenderableType] = [
        actions,
        f"{agreement} under policy {found.policy} {found.policy_version}; {found.stricter:,} stricter, "
        f"{found.milder:,} milder. Milliseconds a post: {_latency(found.latency['champion'])} champion, "
        f"{_latency(found.latency['challenger'])} challenger (median, 95 %).",
    ]
    gaps = Table("class", "posts", "mean gap", "mean |gap|", "|gap| > 0.1", title="Challenger minus champion")
    for harm, gap in found.gaps.items():
        gaps.add_row(harm, f"{gap.posts:,}", f"{gap.mean:+.3f}", f"{gap.mean_absolute:.3f}", f"{gap.share_above:.1%}")
    lines.append(gaps)
    if found.judged:
        labels = Table(title=f"On {found.judged:,} posts that people judged: champion → challenger")
        for name in ("class", "posts", "harmful", "ROC area", "→", "PR area", "→"):
            labels.add_column(name, justify="left" if name == "class" else "right")
        for harm, both in found.on_labels.items():
            one, other = both.champion, both.challenger
            areas = (_area(one.roc), _area(other.roc), _area(one.pr), _area(other.pr))
            labels.add_row(harm, f"{one.examples:,}", f"{one.harmful:,}", *areas)
        lines.append(labels)
        lines += [
            f"{name} restricts {right.restricted:,} of them, {right.rightly:,} as people did"
            + ("" if right.precision is None else f" (precision {right.precision:.0%})")
            + ("" if right.recall is None else f", of {right.harmful:,} that people restricted ({right.recall:.0%})")
            for name, right in found.right.items()
        ]
    else:
        lines.append("nobody has judged any of these posts yet")
    if found.changed:
        changed = Table("post", "now", "then", "class", "impressions", "people said")
        changed.title = f"{len(found.changed)} of {found.stricter + found.milder} posts that would change"
        for post in found.changed:
            changed.add_row(
                post.post_id, post.now, post.then, post.harm or "", f"{post.impressions:,}", post.label or ""
            )
        lines.append(changed)
    return Group(*lines)


def _area(value: float | None) -> str:
    return "too few" if value is None else f"{value:.3f}"


def _latency(latency: "Latency") -> str:
    if latency.median_ms is None:
        return "unknown"
    return f"{latency.median_ms:.2f} / {latency.p95_ms:.2f}"
