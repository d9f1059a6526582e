"""What a demo run found out, as data for `report.json` and as the summary a person reads."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Percentiles:
    """Median and 99th percentile, in seconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Percentiles":
        return cls(round(float(np.percentile(seconds, 50)), 4), round(float(np.percentile(seconds, 99)), 4))


@dataclass(frozen=True)
class Quality:
    """How well the right image was found, over all queries."""

    recall_at_1: float
    recall_at_10: float
    mrr: float
    ndcg_at_10: float


@dataclass(frozen=True)
class VisualSearch:
    """Uploads, freshness and answers of visual search.

    `freshness_s`: event sent → found by a search, at 5 uploads a second. `gone_s`: hide or delete sent → in no answer.
    """

    data: str
    uploaded: int
    searchable: int
    freshness_s: Percentiles
    gone_s: Percentiles
    queries: int
    latency_s: Percentiles
    quality: Quality
    frozen_baseline: Quality


@dataclass(frozen=True)
class Interactions:
    """Impressions and clicks sent, and how many a second were counted into features. `exact`: counted = sent."""

    events: int
    per_s: float
    exact: bool


@dataclass(frozen=True)
class Rung:
    """How well answers of ten held what people liked later, over all questions."""

    ndcg_at_10: float
    hr_at_10: float
    map_at_10: float


@dataclass(frozen=True)
class Recommendation:
    """Homepages during the replay of a data set's future.

    `ladder`: `live` and `frozen` are answers of the running system, with all that was told by then and with what was
    told before the replay; the others are models asked offline about the same moments. `learning_gain` is HR@10 of
    `live` minus `frozen`. `click_to_feature_s`: click sent → the homepage has changed. `promises_kept` is of the new
    videos whose promise of impressions has ended; None where none has.
    """

    users: int
    videos: int
    questions: int
    model: str | None
    latency_s: Percentiles
    ladder: dict[str, Rung]
    click_to_feature_s: Percentiles
    learning_gain: float
    promises_kept: float | None


@dataclass(frozen=True)
class Auc:
    """Areas under the ROC and the precision-recall curve; `n` posts of the class."""

    roc: float
    pr: float
    n: int


@dataclass(frozen=True)
class Moderation:
    """Posts, and what was decided about them.

    `auc` is of texts that no model was trained on, by class. `latency_s`: a post's event → its decision in the log, at
    20 posts a second. `edgy_enforced` are harmless ones among them that were taken down. `gone_s`: a post → what it
    shows is in no answer; `back_s`: a reviewer's reversal → it is found again; both None where the story's post stays.
    `policy_reload_s`: a policy's file changed → decisions name it; None where the file was not the demo's. `story`
    follows one post, line by line.
    """

    posts: int
    auc: dict[str, Auc]
    latency_s: Percentiles
    latency_p95_s: float
    enforced: int
    demoted: int
    reviewed: int
    reversed: int
    reported_to_review: int
    edgy_enforced: int
    gone_s: float | None
    back_s: float | None
    policy_reload_s: float | None
    model: str
    story: list[str]


@dataclass(frozen=True)
class Report:
    """A whole run. `recommendation` is None where its data could not be had, or another model answers; `moderation`
    where the system does not moderate."""

    broker: dict[str, Any]
    setup_s: float
    start_s: float
    visual_search: VisualSearch
    interactions: Interactions
    dead_letters: int
    features: dict[str, Any]
    metrics_url: str
    console_url: str
    contact_sheet: str
    recommendation: Recommendation | None = None
    moderation: Moderation | None = None
    seconds: float = field(default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data; the quality figures sit directly under `visual_search`."""
        data = dataclasses.asdict(self)
        data["visual_search"].update(data["visual_search"].pop("quality"))
        return data

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)


def render(report: Report) -> RenderableType:
    """Return the summary for a terminal."""
    search, ours, frozen = report.visual_search, report.visual_search.quality, report.visual_search.frozen_baseline
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold")
    facts.add_column()
    promise = "keeps its data" if report.broker["durable"] else "volatile: a restart of it loses everything"
    facts.add_row("broker", f"{report.broker['kind']} ({promise})")
    facts.add_row("started in", f"{report.start_s:.1f} s")
    facts.add_row("uploaded", f"{search.uploaded} images ({search.data}), {search.searchable} searchable")
    facts.add_row("fresh", _seconds(search.freshness_s, "event → found by a search, at 5 uploads a second"))
    facts.add_row("gone", _seconds(search.gone_s, "hide or delete → in no answer"))
    facts.add_row("searched", f"{search.queries} queries, " + _seconds(search.latency_s, "HTTP, image in the request"))
    counted = "every one counted once" if report.interactions.exact else "COUNTS DIFFER FROM WHAT WAS SENT"
    facts.add_row(
        "interactions",
        f"{report.interactions.events:,} sent and counted at {report.interactions.per_s:,.0f}/s; {counted}",
    )
    facts.add_row("dead letters", f"{report.dead_letters} (the broken records sent on purpose): riverlight dlq list")

    table = Table(title="Finding the same thing drawn by somebody else", title_justify="left")
    for column in ("", "recall@1", "recall@10", "MRR", "nDCG@10"):
        table.add_column(column, justify="left" if not column else "right")
    for name, quality in (("Riverlight, live answers", ours), ("frozen backbone, exact search", frozen)):
        values = (quality.recall_at_1, quality.recall_at_10, quality.mrr, quality.ndcg_at_10)
        table.add_row(name, *(f"{value:.3f}" for value in values))
    films = _films(report.recommendation) if report.recommendation is not None else None
    where = Text.assemble(
        ("contact sheet  ", "bold"),
        f"{report.contact_sheet}\n",
        ("console        ", "bold"),
        f"{report.console_url}\n",
        ("metrics        ", "bold"),
        report.metrics_url,
    )
    judged = _posts(report.moderation) if report.moderation is not None else None
    sections = [part for found in (films, judged) if found is not None for part in (found, Text())]
    parts = [facts, Text(), table, Text(), *sections, where]
    return Panel(Group(*parts), title="What happened", title_align="left", padding=(1, 2))


def _films(found: Recommendation) -> RenderableType:
    """Return the ladder of homepages, and what was seen beside it."""
    table = Table(title=f"What {found.users} people liked next, of {found.videos} films", title_justify="left")
    for column in ("", "HR@10", "nDCG@10", "mAP@10"):
        table.add_column(column, justify="left" if not column else "right")
    names = {"live": f"Riverlight, live answers ({found.model})", "frozen": "the same, frozen before the replay"}
    for name, rung in found.ladder.items():
        values = (rung.hr_at_10, rung.ndcg_at_10, rung.map_at_10)
        table.add_row(names.get(name, f"{name}, offline"), *(f"{value:.3f}" for value in values))
    kept = "no promise has ended" if found.promises_kept is None else f"promises kept: {found.promises_kept:.0%}"
    told = Text(
        f"homepages {_seconds(found.latency_s, 'HTTP')}\n"
        f"clicks {_seconds(found.click_to_feature_s, 'click → the homepage has changed')}; {kept}"
    )
    return Group(table, told)


def _posts(found: Moderation) -> RenderableType:
    """Return what was decided about posts, and the story of one."""
    table = Table(title=f"Harm in texts that no model was trained on ({found.model})", title_justify="left")
    for column in ("", "ROC-AUC", "PR-AUC", "posts of the class"):
        table.add_column(column, justify="left" if not column else "right")
    for harm, auc in found.auc.items():
        table.add_row(harm, f"{auc.roc:.3f}", f"{auc.pr:.3f}", str(auc.n))
    reload = "" if found.policy_reload_s is None else f"; another policy in force after {found.policy_reload_s:.2f} s"
    told = Text(
        f"{found.posts} posts: {found.enforced} taken down ({found.edgy_enforced} of them edgy, but harmless), "
        f"{found.demoted} lowered, {found.reviewed} reviewed, {found.reversed} reversed\n"
        f"decided {_seconds(found.latency_s, 'post → decision in the log, at 20 posts a second')}, "
        f"p95 {found.latency_p95_s * 1000:.0f} ms{reload}\n\nOne post:\n" + "\n".join(found.story)
    )
    return Group(table, told)


def _seconds(value: Percentiles, what: str) -> str:
    return f"p50 {value.p50 * 1000:.0f} ms, p99 {value.p99 * 1000:.0f} ms ({what})"
