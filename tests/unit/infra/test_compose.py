"""The compose file and the Dockerfile, read as data: there is no docker here to run them, so what can be known without
one is checked. That the same commands with the same settings run is `tests/integration/test_processes_apart.py`.
"""

import json
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings, load_settings
from infra.broker.jars import kafka_version
from tests.docs.test_pages import problem_of
from tests.integration.compose_system import COMPOSE, make_secrets, services

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "infra" / "docker" / "Dockerfile").read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = services()
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("riverlight:")}

#: What could not be confined as the others, each with its reason in the compose file.
WRITABLE_ROOT = {"elasticsearch"}
NO_HEALTHCHECK = {"topics", "tools", "otel-collector", "keys"}
PUBLISHED = {"serve": "127.0.0.1:8080:8080", "grafana": "127.0.0.1:3000:3000"}

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


@each_service
def test_every_container_gives_up_what_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in WRITABLE_ROOT)
    assert service["mem_limit"]
    assert 0 < service["pids_limit"] <= 2048
    assert service["logging"]["options"]["max-size"]
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@each_service
def test_every_image_has_a_version_of_its_own_and_can_be_pinned_by_digest(name: str) -> None:
    written = DOCUMENT["services"][name]["image"]
    assert re.fullmatch(r"\$\{[A-Z_]+_IMAGE:-[^}]+\}", written), "a variable, so that .env can name a digest"
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.search(r"\d", tag)
    assert tag != "latest"


@each_service
def test_every_service_says_how_it_is(name: str) -> None:
    check = SERVICES[name].get("healthcheck", {})
    if name in NO_HEALTHCHECK:
        assert check == {"disable": True}
    elif name in OURS:
        assert not check, "the image's own"
    else:
        assert check["test"][0] in ("CMD", "CMD-SHELL")


def test_nothing_but_the_api_and_grafana_has_a_port_and_those_on_loopback() -> None:
    assert {name: one["ports"] for name, one in SERVICES.items() if "ports" in one} == {
        name: [port] for name, port in PUBLISHED.items()
    }
    assert {name: one["network_mode"] for name, one in SERVICES.items() if "network_mode" in one} == {"keys": "none"}


def test_only_what_is_published_is_in_a_network_that_leads_out() -> None:
    outward = {name for name, network in DOCUMENT["networks"].items() if not network.get("internal")}
    assert outward == {"published"}
    assert {name for name, one in SERVICES.items() if outward & set(one.get("networks", []))} == set(PUBLISHED)


def test_the_stores_and_the_log_are_reached_by_those_that_use_them_alone() -> None:
    members: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for network in service.get("networks", []):
            members.setdefault(network, set()).add(name)
    used = {name for network in members.values() for name in network}
    assert used | NO_HEALTHCHECK >= set(SERVICES)
    assert not members["stores"] & {"prometheus", "grafana", "canary", "kafka-1"}
    assert not members["log"] & {"prometheus", "grafana", "canary", "postgres", "redis", "minio"}


@each_service
def test_every_name_that_a_service_uses_is_declared(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("networks", [])) <= set(DOCUMENT["networks"])
    assert set(service.get("secrets", [])) <= set(DOCUMENT["secrets"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert (COMPOSE / source).exists() if source.startswith(".") else source in DOCUMENT["volumes"], volume


@each_service
def test_no_password_is_written_down(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|ROOT_USER|_URL$", variable) and value:
            assert str(value).startswith(("/run/secrets", "http://")), variable
            assert "@" not in str(value), variable


@each_of_ours
def test_the_command_is_one(name: str) -> None:
    if name in ("tools", "keys"):
        pytest.skip("not a command of riverlight alone")
    assert problem_of([str(word) for word in SERVICES[name]["command"]], complete=True) is None


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(tmp_path_factory.mktemp("compose"))


@each_of_ours
def test_the_settings_are_settings_that_production_accepts(
    name: str, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    mounted = tmp_path / "secrets"
    mounted.mkdir()
    for secret in SERVICES[name]["secrets"]:
        (mounted / secret).write_bytes((secrets / secret).read_bytes())
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("RIVERLIGHT_SECRETS", str(mounted) if environment["RIVERLIGHT_SECRETS"] else "")
    settings = load_settings()
    assert settings.profile == "production"
    for key in environment:
        if key.startswith("RIVERLIGHT_") and key != "RIVERLIGHT_SECRETS":
            _value(settings, key)
    if "catalogue__url" in SERVICES[name]["secrets"]:
        assert settings.catalogue_url.startswith("postgresql+psycopg://riverlight:")
        assert settings.objects_url.startswith("s3://riverlight/")
        assert settings.features.redis_url.startswith("redis:6379,")


def _value(settings: Settings, variable: str) -> Any:
    """Return what a variable has set; raises AttributeError for one that is no setting."""
    found: Any = settings
    for part in variable.removeprefix("RIVERLIGHT_").lower().split("__"):
        found = getattr(found, part)
    return found


def test_our_processes_read_secrets_that_are_settings_and_nobody_else_does() -> None:
    for name, service in SERVICES.items():
        theirs = {secret for secret in service.get("secrets", []) if "__" in secret}
        assert theirs == (set(service["secrets"]) if name in OURS else set()), name


def test_the_secrets_are_all_made_once_and_differ_between_installations(secrets: Path, tmp_path: Path) -> None:
    made = {file.name for file in secrets.iterdir()}
    mounted = {one["file"].removeprefix("./secrets/") for one in DOCUMENT["secrets"].values()}
    assert mounted <= made
    assert made - mounted == {"redis_password"}  # redis_users has it, in the form that Redis reads
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    again = make_secrets(secrets.parent)
    assert {file.name: file.read_text() for file in again.iterdir()} == before
    other = make_secrets(tmp_path)
    same = {name for name in before if (other / name).read_text() == before[name]}
    assert same == {"minio_user"}
    assert len(before["postgres_password"]) >= 32


def test_the_kafka_nodes_are_a_cluster() -> None:
    nodes = {name: one["environment"] for name, one in SERVICES.items() if name.startswith("kafka-")}
    voters = {f"{one['KAFKA_NODE']}@{name}:9093" for name, one in nodes.items()}
    assert set(nodes["kafka-1"]["KAFKA_VOTERS"].split(",")) == voters
    assert len({(one["KAFKA_VOTERS"], one["KAFKA_CLUSTER_ID"]) for one in nodes.values()}) == 1
    assert {one["KAFKA_HOST"] for one in nodes.values()} == set(nodes)
    bootstrap = SERVICES["serve"]["environment"]["RIVERLIGHT_BROKER__BOOTSTRAP"]
    assert set(bootstrap.split(",")) == {f"{name}:9092" for name in nodes}
    assert SERVICES["kafka-1"]["image"].endswith(f"kafka:{kafka_version()}")
    properties = (COMPOSE / "kafka" / "server.properties").read_text()
    assert f"default.replication.factor={len(nodes)}" in properties
    assert "auto.create.topics.enable=false" in properties


def test_prometheus_asks_every_process_where_it_shows_its_metrics() -> None:
    config = json.loads((COMPOSE / "prometheus.yml").read_text())
    asked = {target for job in config["scrape_configs"] for one in job["static_configs"] for target in one["targets"]}
    shown = {
        f"serve:{SERVICES['serve']['environment'][f'RIVERLIGHT_MONITORING__{one}_METRICS_PORT']}"
        for one in ("GATEWAY", "ENCODER", "MODERATOR")
    }
    for name, service in OURS.items():
        if "--metrics-port" in service["command"]:
            shown.add(f"{name}:{service['command'][service['command'].index('--metrics-port') + 1]}")
    assert asked == shown
    watching = set(SERVICES["prometheus"]["networks"])
    assert all(watching & set(SERVICES[target.partition(":")[0]]["networks"]) for target in asked)


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed: compose cannot read its file")
def test_docker_compose_reads_the_file(secrets: Path) -> None:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30).returncode:
        pytest.skip("docker has no compose plugin here")
    command = ["docker", "compose", "--file", str(COMPOSE / "compose.yaml"), "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- the image -------------------------------------------------------------------------------------------------


def _instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [
        (word, " ".join(rest.split()))
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def test_the_image_is_built_from_a_base_with_a_version_in_two_stages() -> None:
    bases = [rest for word, rest in _instructions() if word == "FROM"]
    assert bases == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    [base] = [rest for word, rest in _instructions() if word == "ARG"]
    assert re.fullmatch(r"PYTHON_IMAGE=docker\.io/library/python:3\.11\.\d+-slim-bookworm", base)


def test_what_the_image_installs_is_locked_with_hashes() -> None:
    installs = [rest for word, rest in _instructions() if word == "RUN" and re.search(r"pip install", rest)]
    assert len(installs) == 2
    assert installs[0].count("--require-hashes") == installs[0].count("pip install") == 2
    assert "--constraint requirements.lock --requirement pyproject.toml" in installs[0]
    assert "--no-deps --no-build-isolation --no-index" in installs[1]
    assert not any(word == "ADD" for word, _ in _instructions())
    run = "\n".join(rest for word, rest in _instructions() if word == "RUN")
    assert not re.search(r"curl|wget https?:|git clone", run)


def test_the_image_runs_as_nobody_in_particular_and_is_asked_how_it_is() -> None:
    last_stage = _instructions()[[word for word, _ in _instructions()].index("FROM", 2) :]
    said = dict(last_stage)
    assert said["USER"] == "10001:10001"
    assert said["ENTRYPOINT"] == '["riverlight"]'
    assert "urllib.request.urlopen(os.environ['HEALTH_URL']" in said["HEALTHCHECK"]
    assert not re.search(r"password|secret|token", DOCKERFILE, re.IGNORECASE)


def test_every_folder_that_a_volume_of_ours_is_mounted_at_belongs_to_the_user_in_the_image() -> None:
    [made] = [rest for word, rest in _instructions() if word == "RUN" and "install --directory" in rest]
    mounted = {
        volume.split(":")[1]
        for one in OURS.values()
        for volume in [*one.get("volumes", []), *(f"tmpfs:{place}" for place in one["tmpfs"])]
    }
    assert mounted - {"/tmp"} <= set(made.split())


def test_the_context_holds_what_is_copied_and_no_secrets() -> None:
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    assert rules[1] == "*"
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} | {"pyproject.toml", "requirements.lock"} <= kept
    assert {"infra/compose/secrets", "infra/compose/.env"} <= set(rules)
    assert "var" not in kept
