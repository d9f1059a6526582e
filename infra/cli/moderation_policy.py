"""`riverlight moderation policy`: is a policy valid, what does it say, what would it do with a post."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.clock import SystemClock
from core.errors import InvalidInput
from core.moderation import HARM_CLASSES, AuthorFacts, HarmClass, PostScores, PostToScore, ReactionFacts
from core.settings import load_settings
from infra.cli.output import OutputFormat, OutputOption, emit, errors

if TYPE_CHECKING:
    from models.moderation.policy import Case, Outcome, Policy
    from models.moderation.policy.expected import Expected

app = typer.Typer(no_args_is_help=True, help="The policy: what is done with posts, by scores, rules and lists.")

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE", help="A policy, YAML. Left out: the one that the settings name.", show_default=False
    ),
]


@app.command("check")
def check_command(file: FileArgument = None, output: OutputOption = OutputFormat.text) -> None:
    """Say whether a policy is valid: its version, or every mistake with its line. Exit code 2: it is not.

    Example: `riverlight moderation policy check my-policy.yaml`
    """
    with errors():
        policy = _load(file)
        found = {
            "name": policy.name,
            "version": policy.version,
            "rules": len(policy.rules),
            "lists": sorted(policy.known_harm),
        }
        emit(found, f"{policy.name} is valid; version {policy.version}, {len(policy.rules)} rules", output)


@app.command("show")
def show_command(file: FileArgument = None, output: OutputOption = OutputFormat.text) -> None:
    """Show what a policy says.

    Example: `riverlight moderation policy show`
    """
    with errors():
        policy = _load(file)
        emit({"version": policy.version, **policy.model_dump(mode="json")}, _shown(policy), output)


@app.command("expect")
def expect_command(
    file: FileArgument = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            help="How frequent harm of each class is among your posts, between 0 and 1. Left out: as among the posts "
            "that the model was measured on, where it is far more frequent than on a platform.",
        ),
    ] = None,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Say what the thresholds would do, by what the model that decides measured on posts it was not trained on.

    Example: `riverlight moderation policy expect my-policy.yaml --prevalence 0.01`
    """
    from models.moderation.policy.expected import expected
    from models.registry.packaged import open_registry

    with errors():
        policy, settings = _load(file), load_settings()
        version = open_registry(settings.home.resolve()).resolve(settings.moderation.model)
        measured = version.manifest.metrics.get("thresholds")
        if not measured:
            raise InvalidInput(
                f"{version.label} was not measured at thresholds: it learned from labels of this system. `riverlight "
                "evaluate moderation --labels FILE` measures any model on your own posts"
            )
        found = expected(policy, measured, prevalence)
        text = _expected(policy, version.label, found, prevalence)
        emit(
            {"policy": policy.version, "model": version.label, "prevalence": prevalence, "thresholds": found},
            text,
            output,
        )


@app.command("explain")
def explain_command(
    file: FileArgument = None,
    case: Annotated[
        Path | None, typer.Option("--case", help="The whole case as JSON: post, scores, now, reports, known, strikes.")
    ] = None,
    scores: Annotated[
        str, typer.Option("--scores", help="Probabilities: hate=0.8,spam=0.1. A class that is not named counts as 0.")
    ] = "",
    text: Annotated[str, typer.Option("--text", help="The words of the post.")] = "",
    links: Annotated[list[str] | None, typer.Option("--link", help="A link of the post; may be repeated.")] = None,
    signals: Annotated[str, typer.Option("--signals", help="Signals of the models: nsfw=0.9.")] = "",
    author: Annotated[str, typer.Option("--author", help="Facts of the author: account_age_days=1,followers=3.")] = "",
    reactions: Annotated[str, typer.Option("--reactions", help="Counts: impressions=1000,shares=20.")] = "",
    known: Annotated[str, typer.Option("--known", help="Lists that media are on, with the distance: terror=3.")] = "",
    reports: Annotated[int, typer.Option("--reports", min=0, help="Reports by so many strangers, an hour apart.")] = 0,
    strikes: Annotated[int, typer.Option("--strikes", min=0, help="So many enforcements, a day apart.")] = 0,
    output: OutputOption = OutputFormat.text,
) -> None:
    """Show what a policy does with a post, and which rules hold, do not, or cannot be asked.

    Examples:

    * `riverlight moderation policy explain --scores hate=0.8 --reports 3`

    * `riverlight moderation policy explain my-policy.yaml --case case.json`
    """
    from models.moderation.policy import decide, priority

    with errors():
        policy = _load(file)
        if case is not None:
            asked = _read_case(case)
        else:
            asked = _made_case(
                _numbers(scores, "--scores"),
                text,
                links or [],
                signals=_numbers(signals, "--signals"),
                author=_numbers(author, "--author"),
                reactions=_numbers(reactions, "--reactions"),
                known=_numbers(known, "--known"),
                reports=reports,
                strikes=strikes,
            )
        outcome = decide(policy, asked)
        age_hours = max((asked.now - asked.post.posted_at).total_seconds() / 3600, 0.0)
        rate = asked.post.reactions.impressions / age_hours if age_hours else 0.0
        order = priority(policy, outcome, impressions_per_hour=rate, age_hours=age_hours)
        rules = _rules(policy, asked)
        emit({"outcome": outcome, "rules": rules, "priority": order}, _explained(outcome, rules, order), output)


def _load(file: Path | None) -> "Policy":
    from models.moderation.policy import load_policy

    return load_policy(file if file is not None else load_settings().moderation.policy)


def _read_case(path: Path) -> "Case":
    from models.moderation.policy import Case

    try:
        return msgspec.json.decode(path.read_bytes(), type=Case)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InvalidInput(
            f"{path} is no case: {error}. It is an object with `post`, `scores` (outcome `scores` or `failure`) and "
            "`now`; docs/how-to/policy.md has one"
        ) from error


def _made_case(
    scores: dict[str, float],
    text: str,
    links: list[str],
    *,
    signals: dict[str, float],
    author: dict[str, float],
    reactions: dict[str, float],
    known: dict[str, float],
    reports: int,
    strikes: int,
) -> "Case":
    from models.moderation.policy import Case, KnownHit, PostReport

    unknown = sorted(scores.keys() - set(HARM_CLASSES))
    if unknown:
        raise InvalidInput(f"--scores: {', '.join(unknown)} is no class; there are {', '.join(HARM_CLASSES)}")
    now = SystemClock().now()
    found: dict[HarmClass, float | None] = {harm: scores.get(harm, 0.0) for harm in HARM_CLASSES}
    return Case(
        post=PostToScore(
            post_id="post",
            text=text,
            links=links,
            media_ids=["media"] if known else [],
            posted_at=now - timedelta(hours=1),
            author=_facts(AuthorFacts, author, "--author"),
            reactions=_facts(ReactionFacts, reactions, "--reactions"),
        ),
        scores=PostScores(post_id="post", scores=found, signals=signals, model_version="by hand"),
        now=now,
        known=[KnownHit(list_name=name, distance=int(far), media_id="media") for name, far in known.items()],
        reports=[
            PostReport(reporter_id=f"reporter-{n}", at=now - timedelta(hours=n), account_age_days=365.0)
            for n in range(reports)
        ],
        strikes=[now - timedelta(days=n) for n in range(strikes)],
    )


def _facts(kind: type[Any], values: dict[str, float], option: str) -> Any:
    unknown = sorted(values.keys() - set(kind.__struct_fields__))
    if unknown:
        fields = ", ".join(kind.__struct_fields__)
        raise InvalidInput(f"{option}: there is no {', '.join(unknown)}; there are {fields}")
    try:
        return msgspec.convert({name: _whole(value) for name, value in values.items()}, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{option}: {error}; facts that are no numbers go into --case") from error


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _numbers(text: str, option: str) -> dict[str, float]:
    numbers = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, value = part.partition("=")
        try:
            numbers[name.strip()] = float(value)
        except ValueError:
            raise InvalidInput(f"{option}: {part!r} is not NAME=NUMBER") from None
    return numbers


def _rules(policy: "Policy", case: "Case") -> list[dict[str, str]]:
    """Return what each rule comes to for a case, as `decide` asks it."""
    from models.moderation.policy.decide import signals_of

    signals = signals_of(policy, case)
    told = {True: "holds", False: "does not hold", None: "unknown"}
    return [
        {
            "rule": rule.name,
            "kind": rule.kind,
            "result": told[rule.expression.holds(signals)],
            "unknown": ", ".join(rule.expression.unknown(signals)),
            "when": rule.when,
        }
        for rule in policy.rules
    ]


def _explained(outcome: "Outcome", rules: list[dict[str, str]], order: float) -> Group:
    head = Text(outcome.action, style="bold")
    if outcome.harm is not None:
        head.append(f" for {outcome.harm}", style="not bold")
    details = [outcome.urgency, f"priority {order:,.1f}"] if outcome.needs_review else []
    if outcome.action == "demote":
        details.insert(0, f"scores × {outcome.factor:g}")
    if details:
        head.append(f" ({', '.join(details)})", style="not bold")
    reasons = _table("because", "action", "class", "value", "threshold", "")
    for reason in outcome.reasons:
        value, threshold = _told(reason.value), _told(reason.threshold)
        reasons.add_row(
            *(Text(cell) for cell in (reason.rule, reason.action, reason.harm or "", value, threshold, reason.detail))
        )
    asked = _table("rule", "result", "condition")
    for rule in rules:
        result = f"unknown: {rule['unknown']}" if rule["result"] == "unknown" else rule["result"]
        asked.add_row(Text(rule["rule"]), Text(result), Text(rule["when"]))
    parts: list[RenderableType] = [head]
    if outcome.reasons:
        parts.append(reasons)
    if rules:
        parts += [Text(), asked]
    return Group(*parts)


def _expected(policy: "Policy", model: str, found: "list[Expected]", prevalence: float | None) -> Group:
    table = _table("class", "action", "from", "found", "false alarms", "right", "of all posts")
    before = ""
    for one in found:
        table.add_row(
            one.harm if one.harm != before else "",
            one.action,
            f"{one.threshold:g}",
            f"{one.found:.0%}",
            f"{one.false_alarms:.2%}",
            "" if one.right is None else f"{one.right:.0%}",
            f"{one.reached:.2%}",
        )
        before = one.harm
    mixed = (
        "as frequent as in its training texts" if prevalence is None else f"{prevalence:.2%} of the posts in each class"
    )
    head = f"{policy.name}, version {policy.version}, with {model}; harm {mixed}"
    notes = (
        "found: of the harmful, how many reach the threshold. false alarms: of the harmless. right: of those that "
        "reach it, how many are harmful. Held-out texts by their text alone, interpolated between measured thresholds; "
        "your posts are others. `riverlight evaluate moderation --labels` measures yours."
    )
    return Group(Text(head, style="bold"), table, Text(), Text(notes, style="dim"))


def _table(*columns: str) -> Table:
    """Return a table that breaks long words rather than cut them."""
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _told(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _shown(policy: "Policy") -> Group:
    classes = Table(
        "class", "review", "demote", "enforce", "factor", "severity", "urgency", "appeal", box=None, header_style="bold"
    )
    for harm in HARM_CLASSES:
        of = policy.classes.of(harm)
        cuts = ["never" if value is None else f"{value:g}" for _, value in of.thresholds]
        appeal = "yes" if of.appealable else "no"
        classes.add_row(harm, *cuts, f"{of.factor:g}", f"{of.severity:g}", of.urgency, appeal)
    rules = _table("rule", "action", "class", "when", "why")
    for rule in policy.rules:
        action = f"at most {rule.action}" if rule.kind == "exempt" else rule.action
        cells = (rule.name, action, rule.harm or "any", rule.when, rule.reason)
        rules.add_row(*(Text(cell) for cell in cells))
    lists = _table("list", "action", "class", "distance", "")
    for name, known in policy.known_harm.items():
        lists.add_row(name, known.action, known.harm, str(known.distance), Text(known.description))
    strikes = [
        f"strikes: {step.count} within {step.days:g} days: "
        + ", ".join(
            filter(
                None,
                (
                    f"at least {step.at_least}" if step.at_least else "",
                    f"thresholds × {step.thresholds_times:g}" if step.thresholds_times != 1 else "",
                ),
            )
        )
        for step in policy.strikes
    ]
    reports = policy.reports
    demoted = "" if reports.demote_at is None else f", demote from {reports.demote_at:g}"
    rest = [
        *strikes,
        f"reports: review from {reports.review_at:g}{demoted}; a campaign counts at most {reports.coordinated_cap:g}, "
        f"new accounts together {reports.unproven_cap:g}, accounts of unknown age "
        f"{reports.review_at if reports.unknown_age_cap is None else reports.unknown_age_cap:g}",
        f"on failure: {policy.on_failure}",
    ]
    parts: list[RenderableType] = [Text(f"{policy.name}, version {policy.version}", style="bold"), classes]
    for table in (rules, lists):
        if table.row_count:
            parts += [Text(), table]
    return Group(*parts, Text(), *(Text(line) for line in rest))
