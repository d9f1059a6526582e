"""Serving: the API, its answers, and what carries it."""

from monitoring import catalogue as m
from monitoring.alerts import CPU_AT_MOST, ENCODER_FAILURES_AT_MOST, OUR_FAILURES, SHED_AT_MOST_PER_S
from monitoring.dashboards.panels import Dashboard, Limit, Panel, Row
from monitoring.objectives import ANSWERED, NOT_USED_BY_PEOPLE
from monitoring.others import CPU_SECONDS, MEMORY_BYTES, RAY_HEALTHY, RAY_PROCESSING, RAY_QUEUED, RAY_STARTS, START_TIME
from monitoring.promql import highest, increase, mean, observations, quantile, rate, summed

_FAILED = 'status=~"5.."'

SERVING = Dashboard(
    "riverlight-serving",
    "Riverlight / Serving",
    (
        Row(
            "Requests are answered",
            (
                Panel(
                    "How many requests are there?",
                    "Answers a second, by route and method.",
                    "reqps",
                    "saturation.md",
                    (
                        (
                            observations(m.REQUEST_SECONDS, by=("route", "method"), where=NOT_USED_BY_PEOPLE),
                            "{{method}} {{route}}",
                        ),
                    ),
                ),
                Panel(
                    "Which answers are errors?",
                    "Failures of ours a second, by route and status.",
                    "reqps",
                    "errors.md",
                    (
                        (
                            observations(m.REQUEST_SECONDS, by=("route", "status"), where=_FAILED),
                            "{{route}} {{status}}",
                        ),
                    ),
                    Limit(0.1),
                ),
                Panel(
                    "Which share of a route's answers are errors?",
                    "Failures of ours among all, by route.",
                    "percentunit",
                    "errors.md",
                    (
                        (
                            f"{observations(m.REQUEST_SECONDS, by=('route',), where=_FAILED)}"
                            f" / {observations(m.REQUEST_SECONDS, by=('route',))}",
                            "{{route}}",
                        ),
                    ),
                    Limit(ANSWERED.allowed),
                ),
                Panel(
                    "Are requests refused?",
                    "Refused a second, because as many as allowed were waiting.",
                    "reqps",
                    "saturation.md",
                    ((rate(m.REQUESTS_SHED, by=("route",)), "{{route}}"),),
                    Limit(SHED_AT_MOST_PER_S),
                ),
            ),
        ),
        Row(
            "Callers keep to their rates",
            (
                Panel(
                    "Who is refused for calling too often?",
                    "Refused a second, by kind of call. Their own doing, unless the limits are too low.",
                    "reqps",
                    "saturation.md",
                    ((rate(m.REQUESTS_RATE_LIMITED, by=("kind",)), "{{kind}}"),),
                    Limit(1.0),
                ),
                Panel(
                    "Are rates counted over all replicas?",
                    "Calls a second that were counted in one replica alone: the shared storage did not answer.",
                    "reqps",
                    "saturation.md",
                    ((rate(m.RATE_LIMIT_STORAGE_FAILURES), "alone"),),
                    Limit(0.1),
                ),
            ),
        ),
        Row(
            "Answers are fast",
            (
                Panel(
                    "How long do most answers take?",
                    "Half of the successful answers, by route.",
                    "s",
                    "latency.md",
                    ((quantile(0.5, m.REQUEST_SECONDS, by=("route",), where='status=~"2.."'), "{{route}}"),),
                    Limit(0.2),
                ),
                Panel(
                    "And the slowest one in a hundred?",
                    "99 of 100 successful answers, by route.",
                    "s",
                    "latency.md",
                    ((quantile(0.99, m.REQUEST_SECONDS, by=("route",), where='status=~"2.."'), "{{route}}"),),
                    Limit(0.4),
                ),
            ),
        ),
        Row(
            "The image encoder",
            (
                Panel(
                    "How many images are embedded?",
                    "Images a second, by outcome.",
                    "ops",
                    "encoder.md",
                    ((rate(m.ENCODER_IMAGES, by=("outcome",)), "{{outcome}}"),),
                ),
                Panel(
                    "Which share fails because of us?",
                    "Defects, time-outs, full queues, among all images.",
                    "percentunit",
                    "encoder.md",
                    ((f"{rate(m.ENCODER_IMAGES, where=OUR_FAILURES)} / {rate(m.ENCODER_IMAGES)}", "failed"),),
                    Limit(ENCODER_FAILURES_AT_MOST),
                ),
                Panel(
                    "How many images share a forward pass?",
                    "Mean. The setting's limit: the encoder is the bottleneck.",
                    "short",
                    "encoder.md",
                    ((mean(m.ENCODER_BATCH, window="5m"), "images"),),
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Panel(
                    "Is a processor core full?",
                    "Cores used.",
                    "short",
                    "saturation.md",
                    ((rate(CPU_SECONDS, by=("job",)), "{{job}}"),),
                    Limit(CPU_AT_MOST),
                ),
                Panel(
                    "How much memory does each process hold?",
                    "Resident memory.",
                    "bytes",
                    "memory.md",
                    ((summed(MEMORY_BYTES, by=("job",)), "{{job}}"),),
                ),
                Panel(
                    "Since when does each process run?",
                    "A line that jumps is a restart.",
                    "dateTimeFromNow",
                    "process-down.md",
                    ((f"1000 * {highest(START_TIME, by=('job',))}", "{{job}}"),),
                ),
                Panel(
                    "Which version runs?",
                    "1 for each process and version: two lines of one process are a rollout.",
                    "short",
                    "process-down.md",
                    ((summed(m.BUILD_INFO, by=("job", "version")), "{{job}} {{version}}"),),
                ),
            ),
        ),
        Row(
            "Ray Serve (on a cluster, where Ray's metrics are scraped)",
            (
                Panel(
                    "Do calls wait for a replica?",
                    "Calls waiting to be given to one.",
                    "short",
                    "saturation.md",
                    ((summed(RAY_QUEUED, by=("deployment",)), "{{deployment}}"),),
                    Limit(64),
                ),
                Panel(
                    "How busy are the replicas?",
                    "Calls being worked on.",
                    "short",
                    "saturation.md",
                    ((summed(RAY_PROCESSING, by=("deployment",)), "{{deployment}}"),),
                ),
                Panel(
                    "Are the replicas healthy?",
                    "Healthy ones, by deployment.",
                    "short",
                    "process-down.md",
                    ((summed(RAY_HEALTHY, by=("deployment",)), "{{deployment}}"),),
                    Limit(1, "below"),
                ),
                Panel(
                    "Are replicas started again and again?",
                    "Starts in an hour.",
                    "short",
                    "process-down.md",
                    ((increase(RAY_STARTS, by=("deployment",), window="1h"), "{{deployment}}"),),
                    Limit(3),
                ),
            ),
        ),
    ),
)
