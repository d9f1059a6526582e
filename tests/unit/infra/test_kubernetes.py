"""The manifests, rendered by kubectl as a cluster would get them: core objects against Kubernetes' own schemas, custom
resources and everything that has to agree with the code against the code.
"""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from core import topics
from core.settings import Settings, load_settings
from infra.broker.jars import kafka_version
from infra.cli.main import app
from monitoring import rules
from storage.log.admin import config_of, partitions_of
from tests.docs.test_pages import problem_of

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "infra" / "kubernetes"
OVERLAYS = ("small", "production")
Objects = list[dict[str, Any]]

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: nothing is rendered")


@pytest.fixture(scope="module", params=OVERLAYS)
def rendered(request: pytest.FixtureRequest) -> tuple[str, Objects]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / "overlays" / request.param)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return request.param, [found for found in yaml.safe_load_all(done.stdout) if found]


@pytest.fixture
def objects(rendered: tuple[str, Objects]) -> Objects:
    return rendered[1]


@pytest.fixture
def settings(objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    for name, value in environment(objects).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RIVERLIGHT_SECRETS", "")  # mounted on a cluster
    return load_settings()


def of_kind(objects: Objects, kind: str) -> Objects:
    return [found for found in objects if found["kind"] == kind]


def the(objects: Objects, kind: str, name: str) -> dict[str, Any]:
    [found] = [found for found in of_kind(objects, kind) if found["metadata"]["name"] == name]
    return found


def environment(objects: Objects) -> dict[str, str]:
    [config] = of_kind(objects, "ConfigMap")
    return dict(config["data"])


def ray_groups(objects: Objects) -> dict[str, dict[str, Any]]:
    cluster = the(objects, "RayService", "riverlight")["spec"]["rayClusterConfig"]
    return {"head": cluster["headGroupSpec"], **{group["groupName"]: group for group in cluster["workerGroupSpecs"]}}


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every pod template of ours by name."""
    for found in objects:
        if found["kind"] in ("Deployment", "StatefulSet"):
            yield found["metadata"]["name"], found["spec"]["template"]
    for name, group in ray_groups(objects).items():
        yield name, group["template"]


def test_core_objects_are_what_kubernetes_accepts(objects: Objects) -> None:
    custom = {"kafka.strimzi.io", "ray.io", "keda.sh", "monitoring.coreos.com"}
    core = [found for found in objects if found["apiVersion"].partition("/")[0] not in custom]
    assert {"Deployment", "StatefulSet", "NetworkPolicy", "PodDisruptionBudget"} <= {found["kind"] for found in core}
    for found in core:
        kubernetes_validate.validate(found, "1.33", strict=True)
    for name, pod in pods(objects):  # those in custom resources, too
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **pod["metadata"]}, "spec": pod["spec"]},
            "1.33", strict=True,
        )  # fmt: skip


def test_custom_resources_are_of_the_versions_that_their_operators_have(objects: Objects) -> None:
    versions = {found["kind"]: found["apiVersion"] for found in objects if "." in found["apiVersion"]}
    assert versions == {
        "Kafka": "kafka.strimzi.io/v1",
        "KafkaNodePool": "kafka.strimzi.io/v1",
        "KafkaTopic": "kafka.strimzi.io/v1",
        "RayService": "ray.io/v1",
        "ScaledObject": "keda.sh/v1alpha1",
        "PodMonitor": "monitoring.coreos.com/v1",
        "PrometheusRule": "monitoring.coreos.com/v1",
        "NetworkPolicy": "networking.k8s.io/v1",
    }


def test_every_pod_keeps_to_the_restricted_standard_on_a_read_only_root(objects: Objects) -> None:
    for name, pod in pods(objects):
        spec, security = pod["spec"], pod["spec"]["securityContext"]
        assert spec["automountServiceAccountToken"] is False, name
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] == 10001, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(spec.get(shared) for shared in ("hostNetwork", "hostPID", "hostIPC")), name
        assert not any("hostPath" in volume for volume in spec["volumes"]), name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert not re.search(r":latest$|^[^:@]+$", container["image"]), name
            writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert writable == {"/tmp", "/var/lib/riverlight"}, name


def test_probes_ask_paths_that_there_are(objects: Objects) -> None:
    for found in [*of_kind(objects, "Deployment"), *of_kind(objects, "StatefulSet")]:
        [container] = found["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
        assert {"name": "metrics", "containerPort": 9101} in container["ports"]
        assert container["args"][container["args"].index("--metrics-port") + 1] == "9101"


def test_the_commands_are_commands(objects: Objects) -> None:
    assert app.info.name == "riverlight"
    for found in [*of_kind(objects, "Deployment"), *of_kind(objects, "StatefulSet")]:
        [container] = found["spec"]["template"]["spec"]["containers"]
        assert problem_of(container["args"], complete=True) is None


def test_the_settings_are_settings_that_production_accepts(objects: Objects, settings: Settings) -> None:
    assert settings.profile == "production"
    assert settings.auth.mode == "tokens"
    assert settings.serving.ray_address == "auto"
    own = {name: "" for _, pod in pods(objects) for one in pod["spec"]["containers"] for name in _own(one)}
    for variable in {**environment(objects), **own}:
        if variable.startswith("RIVERLIGHT_") and variable != "RIVERLIGHT_SECRETS":
            section, _, field = variable.removeprefix("RIVERLIGHT_").lower().partition("__")
            part = getattr(settings, section)
            assert not field or hasattr(part, field), variable


def _own(container: dict[str, Any]) -> list[str]:
    return [variable["name"] for variable in container.get("env", [])]


def test_no_secret_is_written_down(objects: Objects) -> None:
    assert of_kind(objects, "Secret") == []
    values = environment(objects)
    assert not [name for name in values if re.search("password|token(?!s)|secret_access", values[name], re.IGNORECASE)]


def test_there_is_a_topic_for_each_declared_one_with_its_configuration(objects: Objects, settings: Settings) -> None:
    made = {found["metadata"]["name"]: found["spec"] for found in of_kind(objects, "KafkaTopic")}
    assert set(made) == set(topics.BY_NAME)
    for name, topic in topics.BY_NAME.items():
        assert made[name]["partitions"] == partitions_of(topic, settings.broker)
        assert made[name]["replicas"] == settings.broker.replication_factor == 3
        assert made[name]["config"] == config_of(topic, settings.broker)


def test_kafka_is_the_version_that_is_tested_and_keeps_what_topics_promise(objects: Objects) -> None:
    kafka = the(objects, "Kafka", "riverlight")["spec"]["kafka"]
    assert kafka["version"] == kafka_version()
    assert kafka["config"]["auto.create.topics.enable"] is False
    assert kafka["config"]["min.insync.replicas"] == 2
    assert the(objects, "KafkaNodePool", "nodes")["spec"]["replicas"] >= 3


def test_serve_is_told_of_applications_that_there_are(objects: Objects) -> None:
    import importlib

    from serving.app import ROUTES

    spec = the(objects, "RayService", "riverlight")["spec"]
    config = yaml.safe_load(spec["serveConfigV2"])
    assert {one["name"]: one["route_prefix"] for one in config["applications"]} == ROUTES
    groups = ray_groups(objects)
    for one in config["applications"]:
        module, _, name = one["import_path"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))
        assert one["args"]["node_resource"] in groups
    locked = re.search(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert spec["rayClusterConfig"]["rayVersion"] == locked[1]


def test_there_is_room_for_every_replica(objects: Objects, settings: Settings) -> None:
    serving = settings.serving
    wanted = {
        "gateway": serving.gateway_replicas,
        "encoder": serving.encoder_replicas,
        "moderator": serving.moderator_replicas,
    }
    for name, replicas in wanted.items():
        group = ray_groups(objects)[name]
        per_pod = json.loads(json.loads(group["rayStartParams"]["resources"]))[name]
        assert group["replicas"] * per_pod == replicas
        assert float(group["rayStartParams"]["num-cpus"]) >= 0.5 * per_pod
        [container] = group["template"]["spec"]["containers"]
        gpus = int(container["resources"]["limits"].get("nvidia.com/gpu", 0))
        assert gpus >= (settings.serving.encoder_gpus * per_pod if name == "encoder" else 0)
    assert json.loads(json.loads(ray_groups(objects)["gateway"]["rayStartParams"]["resources"])) == {"gateway": 1}


def test_metrics_are_shown_where_the_monitor_looks(objects: Objects, settings: Settings) -> None:
    ports = {
        "gateway": settings.monitoring.gateway_metrics_port,
        "encoder": settings.monitoring.encoder_metrics_port,
        "moderator": settings.monitoring.moderator_metrics_port,
        "worker-content": 9101, "worker-behaviour": 9101, "canary": 9101,
    }  # fmt: skip
    selector = the(objects, "PodMonitor", "riverlight")["spec"]["selector"]["matchExpressions"][0]
    assert set(selector["values"]) == set(ports)
    for name, pod in pods(objects):
        if name in ports:
            [container] = pod["spec"]["containers"]
            assert {"name": "metrics", "containerPort": ports[name]} in container["ports"]
            assert pod["metadata"]["labels"]["riverlight/role"] == name
    allowed = the(objects, "NetworkPolicy", "metrics")["spec"]["ingress"][0]["ports"]
    assert {one["port"] for one in allowed} == set(ports.values())


def test_the_rules_are_those_of_the_local_prometheus(objects: Objects) -> None:
    assert the(objects, "PrometheusRule", "riverlight")["spec"] == json.loads(rules.render())


def test_workers_are_scaled_by_the_lag_of_their_own_group_up_to_one_a_partition(
    objects: Objects, settings: Settings
) -> None:
    from streams.app import group_id  # Faust, which no other test here needs

    spec = the(objects, "ScaledObject", "worker-content")["spec"]
    [trigger] = spec["triggers"]
    assert trigger["metadata"]["topic"] == topics.UPLOADS.name
    assert trigger["metadata"]["consumerGroup"] == group_id(["index-upload"])
    assert trigger["metadata"]["bootstrapServers"] == settings.broker.bootstrap
    assert spec["minReplicaCount"] <= spec["maxReplicaCount"] == partitions_of(topics.UPLOADS, settings.broker)
    assert spec["scaleTargetRef"]["name"] in {found["metadata"]["name"] for found in of_kind(objects, "Deployment")}


def test_what_counts_in_files_of_its_own_is_one_pod_with_a_disk(objects: Objects) -> None:
    spec = the(objects, "StatefulSet", "worker-behaviour")["spec"]
    assert spec["replicas"] == 1
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["home"]


def test_the_network_is_closed_but_for_what_is_named(objects: Objects) -> None:
    policies = {found["metadata"]["name"]: found["spec"] for found in of_kind(objects, "NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    open_to_all = [
        name
        for name, spec in policies.items()
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]
        if not rule.get("from") and not rule.get("to")
    ]
    assert open_to_all == []
    # Ray runs the code of whoever reaches it: its own nodes on any port, the operator on two, clients on the API's.
    reaching_ray = {
        name: {port["port"] for rule in spec.get("ingress", []) for port in rule.get("ports", [])}
        for name, spec in policies.items()
        if "ray" in name or name == "api"
    }
    assert reaching_ray == {"ray-inside": set(), "ray-operator": {8265, 52365}, "api": {8000}}
    assert policies["ray-inside"]["ingress"] == [{"from": [{"podSelector": policies["ray-inside"]["podSelector"]}]}]


def test_every_label_that_a_policy_or_a_budget_selects_is_on_a_pod(objects: Objects) -> None:
    labels = {(key, value) for _, pod in pods(objects) for key, value in pod["metadata"]["labels"].items()}
    for found in [*of_kind(objects, "NetworkPolicy"), *of_kind(objects, "PodDisruptionBudget")]:
        spec = found["spec"]
        selector = spec.get("podSelector", spec.get("selector"))
        for pair in selector.get("matchLabels", {}).items():
            assert pair in labels, found["metadata"]["name"]
        for expression in selector.get("matchExpressions", []):
            assert {(expression["key"], value) for value in expression["values"]} <= labels


def test_every_configuration_that_a_pod_names_exists(objects: Objects) -> None:
    [config] = of_kind(objects, "ConfigMap")
    for name, pod in pods(objects):
        for container in pod["spec"]["containers"]:
            assert container["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}], name


def test_the_image_is_of_this_version(objects: Objects) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {one["image"] for _, pod in pods(objects) for one in pod["spec"]["containers"]} == {f"riverlight:{version}"}
