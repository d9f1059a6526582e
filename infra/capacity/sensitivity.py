"""Which inputs move the total most: each is doubled alone."""

import dataclasses
from dataclasses import dataclass

from infra.capacity.inputs import Load, Prices, UnitCosts
from infra.capacity.model import plan


@dataclass(frozen=True)
class Effect:
    """What doubling one input does to the monthly cost, as a share of it (0.2: a fifth more)."""

    name: str
    kind: str  # load, unit cost or price
    share: float


def effects(load: Load, costs: UnitCosts, prices: Prices) -> list[Effect]:
    """Return the effect of doubling each input, the largest (in either direction) first."""
    base = plan(load, costs).cost_per_month(prices)
    found = []
    for kind, table in (("load", load), ("unit cost", costs), ("price", prices)):
        for field in dataclasses.fields(table):  # type: ignore[arg-type]
            value = 2 * getattr(table, field.name)
            if field.name.endswith(("_share", "_ratio")):
                value = min(1.0, value)
            changed = dataclasses.replace(table, **{field.name: value})  # type: ignore[type-var]
            given = {"load": load, "unit cost": costs, "price": prices} | {kind: changed}
            cost = plan(given["load"], given["unit cost"]).cost_per_month(given["price"])  # type: ignore[arg-type]
            found.append(Effect(field.name, kind, (cost - base) / base if base else 0.0))
    return sorted(found, key=lambda effect: (-abs(effect.share), effect.name))
