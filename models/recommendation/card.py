"""The model card, written from what was measured."""

from typing import Any

from models.registry.manifest import Manifest

_CARD = """# Model card: {model} {version}

{what}. Users are described by what they found relevant so far and by their features; the model scores items.

| | |
| --- | --- |
| learned from | {pairs} relevant pairs of {users} users and {items} items |
| data | {source} |
| licence of the data | {licence} |
| relevant is | {rule} |
| settings | {settings} |
| made by | `{command}`, seed {seed}, code {code_version}, {created} |

## Measured

Leave-last-out on the same data: the last relevant item of each of {tested} users is found among all items the user had
not found relevant before. The model that was measured was fitted without it; the weights here were then fitted on
everything. Means with 95 % bootstrap intervals over users.

| metric | model | {reference} |
| --- | ---: | ---: |
{rows}

## Weaknesses

- The protocol lets a model learn from what other users did later; figures on the live stream will be lower.
- Items that nobody found relevant yet are ranked by their features at best; the exploration of new items is serving's.
- What people were not shown they could not like: popular items are favoured by the data itself.
- Groups of users may be served unequally; `riverlight evaluate recommendation` prints nDCG@10 by group.
"""


def render_card(manifest: Manifest, what: str, settings: dict[str, Any]) -> str:
    """Return the card as Markdown; every number comes from the manifest."""
    metrics, reference = manifest.metrics["model"], manifest.metrics["reference"]
    rows = []
    for name in ("hr@10", "ndcg@10", "map@10", "recall@20", "coverage@10", "novelty@10"):
        interval = metrics["intervals"].get(name)
        spread = f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else ""
        rows.append(f"| {name} | {metrics['values'][name]:.3f}{spread} | {reference['values'][name]:.3f} |")
    return _CARD.format(
        model=manifest.model,
        version=manifest.version,
        what=what[:1].upper() + what[1:],
        pairs=manifest.data["pairs"],
        users=manifest.data["users"],
        items=manifest.data["items"],
        source=manifest.data.get("source", "a file of the user's"),
        licence=manifest.data.get("licence", "the user's own"),
        rule=manifest.data["rule"],
        settings=", ".join(f"{name} {value}" for name, value in settings.items()),
        command=manifest.command,
        seed=manifest.seed,
        code_version=manifest.code_version,
        created=manifest.created,
        tested=manifest.metrics["users"],
        reference=reference["name"],
        rows="\n".join(rows),
    )
