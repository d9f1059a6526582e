"""A learned candidate as a version of the registry: weights, manifest and card; and reading what a version knows."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.recommendation.learning.gate import DECIDES, METRICS, Verdict
from models.recommendation.learning.round import Outcome
from models.recommendation.learning.traffic import Positions
from models.recommendation.weights import save_model
from models.registry.manifest import CARD, WEIGHTS, Manifest, file_sha256

LEARNED, BASE = "learned", "base"

_CARD = """# Model card: {model} {version}

Learned incrementally from {parent}: {events} fresh interactions, {pairs} newly relevant pairs, {new_items} new videos.
It has learned the stream up to {positions}.

| | |
| --- | --- |
| relevant pairs in all | {all_pairs} of {users} users and {items} items |
| first trained on | {base} |
| refitted on everything | {refitted} |
| left as they were | {kept} |
| made by | `{command}`, code {code_version}, {created} |
| from click to weights | median {median_min:.1f} min, newest {newest_min:.1f} min |

## The gate: {word}

{reason}. Asked about {questions} held-out moments of {asked} users, the newest there were; neither version had learned
them. Means over users; the difference is paired, with its 95 % bootstrap interval.

| metric | {parent} | this | difference |
| --- | ---: | ---: | ---: |
{rows}

## Weaknesses

- What people were not shown they could not like: what earlier versions showed is favoured.
- The held-out moments are recent and few; a change that shows only over weeks is not seen.
"""


def write_version(
    outcome: Outcome,
    folder: Path,
    *,
    model: str,
    parent: Manifest,
    command: str,
    code_version: str,
    created: str,
    minutes: Mapping[str, float],
) -> Manifest:
    """Write a candidate as a folder that the registry accepts, with the position it learned to."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(outcome.candidate, outcome.feedback, folder / WEIGHTS)
    verdict, feedback = outcome.verdict, outcome.feedback
    manifest = Manifest(
        model=model,
        sha256=file_sha256(folder / WEIGHTS),
        created=created,
        code_version=code_version,
        command=command,
        seed=parent.seed,
        parent=parent.version,
        data={
            LEARNED: outcome.positions,
            BASE: parent.data.get(BASE) or {name: value for name, value in parent.data.items() if name != LEARNED},
            "events": outcome.taught_events,
            "fresh_pairs": outcome.taught_pairs,
            "pairs": len(feedback.positives()),
            "users": feedback.n_users,
            "items": feedback.n_items,
            "rule": parent.data.get("rule", ""),
        },
        settings=parent.settings,
        metrics={
            "users": verdict.users,
            "model": {"name": "candidate", "values": verdict.candidate},
            "reference": {"name": f"{model}/{parent.version}", "values": verdict.champion},
            "gate": asdict(verdict),
            "click_to_weights": dict(minutes),
        },
    )
    manifest.write(folder)
    (folder / CARD).write_text(_card(manifest, outcome, parent), encoding="utf-8")
    return manifest


def position_of(manifest: Manifest) -> Positions:
    """Return what of the stream a version has learned: nothing, for one that was trained from files."""
    found: Positions = manifest.data.get(LEARNED, {})
    return found


def base_of(manifest: Manifest) -> Mapping[str, Any]:
    """Return what a manifest says of the data a version's line was first trained on."""
    found: Mapping[str, Any] = manifest.data.get(BASE) or manifest.data
    return found


def _card(manifest: Manifest, outcome: Outcome, parent: Manifest) -> str:
    verdict, base = outcome.verdict, base_of(manifest)
    return _CARD.format(
        model=manifest.model,
        version=manifest.version,
        parent=parent.version,
        events=outcome.taught_events,
        pairs=outcome.taught_pairs,
        new_items=outcome.new_items,
        positions=_positions_text(outcome.positions),
        all_pairs=manifest.data["pairs"],
        users=manifest.data["users"],
        items=manifest.data["items"],
        base=base.get("source") or base.get("dataset") or "files of the user's",
        refitted=", ".join(outcome.refitted) or "nothing",
        kept=", ".join(outcome.kept) or "nothing",
        command=manifest.command,
        code_version=manifest.code_version,
        created=manifest.created,
        word="promoted" if verdict.promote else "held",
        reason=verdict.reason,
        questions=verdict.questions,
        asked=verdict.users,
        rows=metric_rows(verdict),
        **{name: manifest.metrics["click_to_weights"][name] for name in ("median_min", "newest_min")},
    )


def metric_rows(verdict: Verdict) -> str:
    """Return the compared metrics as rows of a Markdown table."""
    lines = []
    for name in METRICS:
        gain = verdict.difference[name]
        star = " (decides)" if name == DECIDES else ""
        lines.append(
            f"| {name}{star} | {verdict.champion[name]:.4f} | {verdict.candidate[name]:.4f} | "
            f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}) |"
        )
    return "\n".join(lines)


def _positions_text(positions: Positions) -> str:
    ends = [f"{partition}: {offset}" for offsets in positions.values() for partition, offset in sorted(offsets.items())]
    return f"(partition: offset) {', '.join(ends)}" if ends else "its beginning"
