"""docs/reference/capacity.md and its plot: the plan for the load of `GLOBAL`, and one for a small platform."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from infra.capacity.inputs import GLOBAL, Load, Prices, UnitCosts, read_prices, read_unit_costs
from infra.capacity.model import Plan, backfill_gpu_days, plan
from infra.capacity.sensitivity import effects

#: A platform that one cluster of a few machines carries.
SMALL = Load(images=20e6, uploads_per_day=1e6, interactions_per_day=100e6, posts_per_day=1e6, queries_per_s=100)
PLOT = "capacity.svg"


def page() -> str:
    """Return the page as Markdown."""
    costs, figures = read_unit_costs()
    prices = read_prices()
    lines = ["# Capacity: the figures\n"]
    lines += ["[capacity.md](../capacity.md) explains them. Your own: `riverlight plan capacity --help`.\n"]
    lines += _section("200 billion images, 10 billion videos, 500 million posts a day", GLOBAL, costs, prices)
    lines += [f"![Cost of each part, logarithmic]({PLOT})\n"]
    lines += _section("20 million images, a million uploads a day", SMALL, costs, prices)
    lines += ["## Unit costs\n", "| figure | value | source | how | meaning |", "| --- | --- | --- | --- | --- |"]
    for figure in figures.values():
        how = f"`{figure.command}`, {figure.date}" if figure.command else ""
        source = f"**{figure.source}**" if figure.source == "assumed" else figure.source
        lines.append(f"| `{figure.name}` | {figure.value:g} | {source} | {how} | {figure.meaning} |")
    return "\n".join(lines) + "\n"


def plot() -> str:
    """Return the cost of each part of the large plan as an SVG of bars on a logarithmic scale."""
    costs, _ = read_unit_costs()
    prices = read_prices()
    parts = [(part.name, part.resources.cost_per_month(prices)) for part in plan(GLOBAL, costs).parts]
    return _bars(sorted(parts, key=lambda part: -part[1]), "US dollars a month (assumed prices)")


def table(found: Plan, prices: Prices) -> Iterator[tuple[str, ...]]:
    """Yield a row for each part and one for the total, as text."""
    for part in found.parts:
        counts = ", ".join(f"{number:,} {name}" for name, number in part.counts.items())
        yield part.name, counts, *_resources(part.resources, prices), part.because
    yield "total", "", *_resources(found.total, prices), ""


HEADINGS = ("part", "how many", "vCPU", "memory", "SSD", "objects", "GPUs", "$ a month", "because")


def _section(title: str, load: Load, costs: UnitCosts, prices: Prices) -> Iterator[str]:
    found = plan(load, costs)
    yield f"## {title}\n"
    yield (
        f"{load.uploads_per_day:,.0f} uploads and {load.interactions_per_day:,.0f} interactions a day, "
        f"{load.queries_per_s:,.0f} searches a second, {load.peak_factor:g} times that at the peak; "
        f"{load.frames_per_video:g} frames of each video; {load.replication:g} copies of the log.\n"
    )
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "|" + " --- |" * len(HEADINGS)
    for row in table(found, prices):
        yield "| " + " | ".join(f"**{cell}**" if row[0] == "total" and cell else cell for cell in row) + " |"
    yield f"\nEmbedding everything once takes one GPU {backfill_gpu_days(load, costs):,.1f} days.\n"
    most = effects(load, costs, prices)[:3]
    said = "; ".join(f"{effect.kind} `{effect.name}` {effect.share:+.0%}" for effect in most)
    yield f"What moves the total most when it is doubled: {said}.\n"


def _resources(resources: object, prices: Prices) -> tuple[str, ...]:
    from infra.capacity.model import Resources

    assert isinstance(resources, Resources)
    return (
        f"{resources.vcpus:,.0f}",
        _size(resources.memory_gib),
        _size(resources.ssd_gib),
        _size(resources.object_gib),
        f"{resources.gpus:,.0f}",
        f"{resources.cost_per_month(prices):,.0f}",
    )


def _size(gib: float) -> str:
    for unit, size in (("PiB", 1024.0**2), ("TiB", 1024.0)):
        if gib >= size:
            return f"{gib / size:,.1f} {unit}"
    return f"{gib:,.0f} GiB"


def _bars(values: Sequence[tuple[str, float]], title: str) -> str:
    left, width, row = 190, 520, 28
    low = math.floor(math.log10(min(value for _, value in values)))
    high = math.ceil(math.log10(max(value for _, value in values)))
    height = 40 + row * len(values) + 30

    def x(value: float) -> float:
        return left + width * (math.log10(value) - low) / (high - low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left}" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        lines.append(f'<line x1="{at:.1f}" y1="32" x2="{at:.1f}" y2="{height - 26}" stroke="#ddd"/>')
        lines.append(f'<text x="{at:.1f}" y="{height - 8}" text-anchor="middle" fill="#555">{10**power:,}</text>')
    for number, (name, value) in enumerate(values):
        y = 40 + row * number
        lines.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect x="{left}" y="{y}" width="{x(value) - left:.1f}" height="20" fill="#2a6f97"/>')
        lines.append(f'<text x="{x(value) + 6:.1f}" y="{y + 15}">{value:,.0f}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
