"""What an alert is tried with. Values are in promtool's notation: `0+2x10` is 0 and ten steps of 2; `_x5` is five
missing samples."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """What Prometheus has seen, one sample every `step` from 0 on, and the labels under which the alert then fires."""

    alert: str
    why: str
    series: Mapping[str, str]
    at: str
    fires: tuple[Mapping[str, str], ...] = ()
    step: str = "1m"


def objective(name: str, **labels: str) -> dict[str, str]:
    """Return the labels of an objective's alerts."""
    return {"objective": name, **labels}
