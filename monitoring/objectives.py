"""The promises that are kept for a share of cases (SLOs), as data: what is bad, and how much of it a month allows.

Their alerts ask how fast that allowance is used up, over several windows: a page when a month's would be gone in about
two days (14.4 times the allowed rate over an hour, or 6 times over six hours), a ticket when it goes as fast as it
comes or faster (over three days, or three times as fast over one). The short second window makes an alert end soon
after its cause. The figures are those of Google's SRE workbook, chapter 5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitoring import catalogue as m
from monitoring.promql import observations, rate, within

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
#: (how many times the allowed rate, the long window, the short window)
PAGE_BURNS = ((14.4, "1h", "5m"), (6.0, "6h", "30m"))
TICKET_BURNS = ((3.0, "1d", "2h"), (1.0, "3d", "6h"))

CANARY_WITHIN_S = 1.0
#: Seconds in which 99 % of a route's successful answers have to be there. Bounds of `LATENCY_SECONDS`.
ROUTE_WITHIN_S: Mapping[str, float] = {
    "/v1/search/images": 0.4,
    "/v1/recommendations/{user_id}": 0.2,
    "/v1/media": 0.4,
    "/v1/events/{stream}": 0.2,
    "/v1/items/{item_id}": 0.1,
    "/v1/features/items/{item_id}": 0.1,
    "/v1/features/users/{user_id}": 0.1,
}
#: Asked by whoever watches the gateway, not by who uses it.
NOT_USED_BY_PEOPLE = 'route!~"/livez|/readyz|/metrics"'


@dataclass(frozen=True)
class Objective:
    """One promise about a share of cases. `bad_share` is PromQL, by window: the share that broke it, in [0, 1]."""

    name: str
    alert: str  # the first part of its alerts' names
    promise: str
    measured_by: str
    target: float
    by: tuple[str, ...]
    bad_share: Callable[[str], str]
    runbook: str

    @property
    def allowed(self) -> float:
        """The share of cases that may break the promise."""
        return round(1.0 - self.target, 6)

    def recorded(self, window: str) -> str:
        """Return the selector of the recorded bad share over a window."""
        return f'{series(window)}{{objective="{self.name}"}}'

    def burning(self, burns: tuple[tuple[float, str, str], ...]) -> str:
        """Return the alert condition: both windows of any of the pairs are over their rate."""
        pairs = []
        for times, long, short in burns:
            limit = f"{times * self.allowed:.6g}"
            pairs.append(f"({self.recorded(long)} > {limit} and {self.recorded(short)} > {limit})")
        return " or ".join(pairs)


def series(window: str) -> str:
    """Return the name under which the bad share over a window is recorded."""
    return f"riverlight:objective_bad:ratio{window}"


def _searchable(window: str) -> str:
    # Of all runs, not of the observed ones: an image that never came up is in no histogram.
    return _late("searchable", rate(m.CANARY_RUNS, by=("system",), window=window), window)


def _gone(window: str) -> str:
    # Of the runs whose image came up: only these can see it go.
    found = observations(m.CANARY_FRESHNESS, by=("system",), where='effect="searchable"', window=window)
    return _late("gone", found, window)


def _late(effect: str, runs: str, window: str) -> str:
    where = f'effect="{effect}"'
    good = within(CANARY_WITHIN_S, m.CANARY_FRESHNESS, by=("system",), where=where, window=window)
    return f"clamp_min(1 - {good} / {runs}, 0)"


def _errors(window: str) -> str:
    failed = observations(m.REQUEST_SECONDS, where=f'{NOT_USED_BY_PEOPLE},status=~"5.."', window=window)
    shed = rate(m.REQUESTS_SHED, window=window)
    # A counter that never counted does not exist; without the zeros, neither would the sum.
    return (
        f"(({failed} or vector(0)) + ({shed} or vector(0)))"
        f" / {observations(m.REQUEST_SECONDS, where=NOT_USED_BY_PEOPLE, window=window)}"
    )


def _slow(window: str) -> str:
    shares = []
    for route, bound in ROUTE_WITHIN_S.items():
        where = f'route="{route}",status=~"2.."'
        good = within(bound, m.REQUEST_SECONDS, by=("route",), where=where, window=window)
        shares.append(f"1 - {good} / {observations(m.REQUEST_SECONDS, by=('route',), where=where, window=window)}")
    return " or ".join(shares)


SEARCHABLE = Objective(
    "searchable",
    "Searchable",
    "An upload is found by a search within a second.",
    "canary: upload to found, through the public API",
    0.99,
    ("system",),
    _searchable,
    "freshness.md",
)
GONE = Objective(
    "gone",
    "Gone",
    "What is hidden or deleted is in no answer a second later.",
    "canary: deletion to no longer found, through the public API",
    0.99,
    ("system",),
    _gone,
    "freshness.md",
)
ANSWERED = Objective(
    "answered",
    "Answered",
    "A request is answered: not refused because of load, and without a failure of ours.",
    "requests to the API: 5xx and shed ones among all",
    0.999,
    (),
    _errors,
    "errors.md",
)
FAST = Objective(
    "fast",
    "Fast",
    "An answer is there within its route's time.",
    "successful answers of the API, by route",
    0.99,
    ("route",),
    _slow,
    "latency.md",
)

OBJECTIVES = (SEARCHABLE, GONE, ANSWERED, FAST)
