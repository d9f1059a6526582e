"""A backtest as tables for people. As JSON it is the struct itself."""

from collections.abc import Sequence

from msgspec import Struct

from core.moderation import ACTIONS, HARM_CLASSES, Action
from models.moderation.policy.backtest import Backtest
from models.moderation.policy.proportions import Proportion


class Table(Struct, kw_only=True, frozen=True):
    """A titled table of texts; the first column names the row."""

    title: str
    columns: list[str]
    rows: list[list[str]]

    def as_text(self) -> str:
        """Return the table with columns aligned, numbers to the right."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        aligned = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        return "\n".join([self.title, *(line.rstrip() for line in aligned)])


def backtest_tables(found: Backtest) -> list[Table]:
    """Return what a backtest found, what matters first."""
    return [_changes(found), _judgements(found), _by_class(found), _appeals(found), _impressions(found)]


def _changes(found: Backtest) -> Table:
    return Table(
        title=f"What policy {found.policy} ({found.policy_version}) makes of {found.posts:,} posts, by what is in "
        f"force ({found.decided_by_people:,} were decided by people and stay)",
        columns=["in force", *(f"→ {action}" for action in ACTIONS)],
        rows=[[now, *(f"{found.changes[now][then]:,}" for then in ACTIONS)] for now in ACTIONS],
    )


def _judgements(found: Backtest) -> Table:
    rows = [
        [f"right when it acts at least by {action}", _told(found.precision_now[action]), _told(found.precision[action])]
        for action in _HARDEST_FIRST
    ]
    rows.append(["confirmed harm that it acts upon", _told(found.found_now), _told(found.found)])
    rows.append(["posts for people to look at", f"{found.review_load_now:,}", f"{found.review_load:,}"])
    return Table(title="As people judged the posts they saw", columns=["", "now", "policy"], rows=rows)


def _by_class(found: Backtest) -> Table:
    rows = []
    for harm in HARM_CLASSES:
        of = found.by_class[harm]
        for action in _HARDEST_FIRST:
            rows.append(
                [
                    f"{harm}, {action}",
                    f"{of.acted_now[action]:,}",
                    f"{of.acted[action]:,}",
                    _told(of.precision_now[action]),
                    _told(of.precision[action]),
                ]
            )
    return Table(
        title="By class: posts acted upon at least so, and how many of those that people saw were right",
        columns=["", "now", "policy", "right now", "right by policy"],
        rows=rows,
    )


def _appeals(found: Backtest) -> Table:
    appeals = found.appeals
    return Table(
        title="Decided appeals",
        columns=["", "posts", "restricted by the policy"],
        rows=[
            ["the decision was right", f"{appeals.upheld:,}", f"{appeals.upheld_restricted:,}"],
            ["the decision was wrong", f"{appeals.reversed:,}", f"{appeals.reversed_restricted:,}"],
        ],
    )


def _impressions(found: Backtest) -> Table:
    of = found.impressions
    return Table(
        title=f"Impressions (of {of.unknown_posts:,} posts that were enforced it is not known how many there would be)",
        columns=["", "counted", "prevented by the policy"],
        rows=[
            ["of all posts", f"{of.counted:,}", f"{of.prevented:,.0f}"],
            ["of posts that people restricted", f"{of.harmful:,}", f"{of.harmful_prevented:,.0f}"],
            ["of posts that people let through", f"{of.harmless:,}", f"{of.harmless_prevented:,.0f}"],
        ],
    )


def _told(share: Proportion) -> str:
    if share.share is None or share.low is None or share.high is None:
        return "–"
    return f"{share.share:.3f} ({share.low:.3f} to {share.high:.3f}) of {share.n:,}"


_HARDEST_FIRST: Sequence[Action] = ACTIONS[:0:-1]
