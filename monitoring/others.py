"""Metrics of the libraries under us that the dashboards use, declared as ours are so that queries name them alike.

Ray Serve exports its own where Ray's metrics agent runs: on a cluster (KubeRay: port 8080 of every node), not in the
local profile, which starts no agent to save its memory. Faust counts only inside its process; what matters of it is
among our own metrics (`riverlight_stream_*`).
"""

from monitoring.catalogue import Counter, Gauge

_DEPLOYMENT = ("application", "deployment")

RAY_QUEUED = Gauge(
    "ray_serve_deployment_queued_queries", "Calls waiting to be given to a replica.", (*_DEPLOYMENT, "handle"), "ray"
)
RAY_PROCESSING = Gauge("ray_serve_replica_processing_queries", "Calls being worked on.", _DEPLOYMENT, "ray")
RAY_HEALTHY = Gauge("ray_serve_deployment_replica_healthy", "Healthy replicas.", _DEPLOYMENT, "ray")
RAY_STARTS = Counter("ray_serve_deployment_replica_starts", "Starts of replicas.", _DEPLOYMENT, "ray")

RAY_SERVE = (RAY_QUEUED, RAY_PROCESSING, RAY_HEALTHY, RAY_STARTS)

CPU_SECONDS = Counter("process_cpu_seconds", "Processor time used.", ("job",), "prometheus_client")
MEMORY_BYTES = Gauge("process_resident_memory_bytes", "Memory held.", ("job",), "prometheus_client")
OPEN_FILES = Gauge("process_open_fds", "Open files and connections.", ("job",), "prometheus_client")
MAX_FILES = Gauge("process_max_fds", "Files and connections that may be open.", ("job",), "prometheus_client")
START_TIME = Gauge("process_start_time_seconds", "When the process was started.", ("job",), "prometheus_client")
UP = Gauge("up", "Whether the target answered Prometheus.", ("job",), "prometheus")

PROCESS = (CPU_SECONDS, MEMORY_BYTES, OPEN_FILES, MAX_FILES, START_TIME)
