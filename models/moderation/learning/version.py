"""A learned candidate as a version of the registry: weights, manifest and card."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from models.moderation.evaluate import as_plain
from models.moderation.learning.gate import Verdict, mean_areas
from models.moderation.learning.round import Outcome
from models.moderation.learning.saved import SavedModel
from models.moderation.weights import save_model
from models.registry.manifest import CARD, WEIGHTS, Manifest, file_sha256

ORIGIN = "origin"

_CARD = """# Model card: {model} {version}

Learned from {parent} and what people reported: {reported} reported posts ({fresh} of them fresh; {classes}) and
{unreported} that were shown and never reported. What {parent} said of {anchors} was kept.

| | |
| --- | --- |
| kept out of the lesson | {kept_out} posts like ones that people judged |
| not asked about | {left_out} judged posts like ones that {parent} had learned |
| images | only their NSFW score was known; vectors of people's images are not kept |
| experts, calibration | those of {parent} |
| made by | `{command}`, code {code_version}, {created} |

## The gate: {outcome}

{reason}. {judged} posts that people judged by hand were asked about, and texts of the base. {difference}

| texts | class | posts | harmful | ROC area {parent} | this | PR area {parent} | this | calibration error | this |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

## Weaknesses

- Reports say what people mind, not what the policy forbids; what nobody sees nobody reports.
- Judged posts are mostly those that a machine had flagged: of the others the figures say little.
- All that the first card of the line says of data, languages and images holds.
"""


def write_version(
    outcome: Outcome,
    saved: SavedModel,
    folder: Path,
    *,
    parent: Manifest,
    anchors: str,
    command: str,
    code_version: str,
    created: str,
) -> Manifest:
    """Write a candidate as a folder that the registry accepts. `anchors` names what it was kept to."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(outcome.arrays, saved.described, folder / WEIGHTS)
    manifest = Manifest(
        model=parent.model,
        sha256=file_sha256(folder / WEIGHTS),
        created=created,
        code_version=code_version,
        command=command,
        seed=parent.seed,
        parent=parent.version,
        data={
            "reported": outcome.reported,
            "fresh": outcome.fresh,
            "unreported": outcome.unreported,
            "harmful": outcome.harmful,
            "kept_out": outcome.kept_out,
            "judged_left_out": outcome.judged_left_out,
            "anchors": anchors,
            "base": parent.data.get("base") or dict(parent.data),
            ORIGIN: origin_of(parent) or mean_areas(outcome.verdict.compared),
        },
        settings=parent.settings,
        metrics={"gate": as_plain(asdict(outcome.verdict))},
    )
    manifest.write(folder)
    (folder / CARD).write_text(_card(manifest, outcome, parent), encoding="utf-8")
    return manifest


def origin_of(manifest: Manifest) -> Mapping[str, float]:
    """Return the mean ROC area by set of base texts of the version that a line began with; nothing before a round."""
    found: Mapping[str, float] = manifest.data.get(ORIGIN, {})
    return found


def _card(manifest: Manifest, outcome: Outcome, parent: Manifest) -> str:
    verdict = outcome.verdict
    return _CARD.format(
        model=manifest.model,
        version=manifest.version,
        parent=parent.version,
        reported=outcome.reported,
        fresh=outcome.fresh,
        classes=", ".join(f"{harm} {count}" for harm, count in outcome.harmful.items() if count) or "no class",
        unreported=outcome.unreported,
        anchors=manifest.data["anchors"],
        kept_out=outcome.kept_out,
        left_out=outcome.judged_left_out,
        command=manifest.command,
        code_version=manifest.code_version,
        created=manifest.created,
        outcome=verdict.outcome,
        reason=verdict.reason,
        judged=verdict.judged,
        difference=_difference(verdict),
        rows=_rows(verdict),
    )


def _difference(verdict: Verdict) -> str:
    gain = verdict.difference
    if gain is None:
        return "They were too few for a difference."
    return f"ROC area on them: {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}, 95 %)."


def _rows(verdict: Verdict) -> str:
    return "\n".join(
        f"| {one.of} | {one.harm} | {one.examples} | {one.harmful} "
        f"| {one.champion_roc:.3f} | {one.candidate_roc:.3f} | {one.champion_pr:.3f} | {one.candidate_pr:.3f} "
        f"| {one.champion_error:.3f} | {one.candidate_error:.3f} |"
        for one in verdict.compared
    )
