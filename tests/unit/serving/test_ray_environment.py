import subprocess
from pathlib import Path

import pytest

from core.settings import ServingSettings, Settings
from serving.ray_environment import haproxy_is_there, ray_environment, short_folder


def environment(home: Path, **serving) -> dict[str, str]:
    return ray_environment(Settings(home=home, serving=ServingSettings(**serving)))


def test_haproxy_is_a_setting(tmp_path):
    assert environment(tmp_path, haproxy=False)["RAY_SERVE_ENABLE_HA_PROXY"] == "0"


def test_two_systems_on_one_machine_share_no_port_and_no_file(tmp_path):
    one, other = environment(tmp_path / "one"), environment(tmp_path / "other")
    ports = [value for env in (one, other) for name, value in env.items() if name.endswith("_PORT")]
    files = [value for env in (one, other) for name, value in env.items() if name.endswith(("_LOC", "_PATH", "_FILE"))]
    assert len(set(ports)) == len(ports)
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("depth", [1, 20])
def test_sockets_below_the_folder_fit_the_limit_however_deep_the_home_is(tmp_path, depth):
    home = tmp_path.joinpath(*["a-long-folder-name"] * depth)
    folder = short_folder(home, "haproxy")
    assert folder.is_dir()
    assert len(str(folder / ("x" * 56) / "metrics.sock")) <= 97  # as Serve names HAProxy's, and what HAProxy allows
    session = "session_2026-11-22_07-51-58_406455_4194304"
    assert len(str(folder / session / "sockets" / "plasma_store")) <= 107
    assert short_folder(home, "haproxy") == folder
    assert short_folder(home / "other", "haproxy") != folder


def test_a_ray_of_our_own_asks_for_a_new_token_at_each_start_that_only_this_user_can_read(tmp_path):
    first = environment(tmp_path)
    assert first["RAY_AUTH_MODE"] == "token"
    file = Path(first["RAY_AUTH_TOKEN_PATH"])
    token = file.read_text()
    assert (len(token), file.stat().st_mode & 0o777) == (64, 0o600)
    assert tmp_path in file.parents
    environment(tmp_path)
    assert file.read_text() != token


def test_a_cluster_of_somebody_elses_keeps_its_own_rules(tmp_path):
    names = environment(tmp_path, ray_address="10.0.0.1:6379")
    assert not {"RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_SERVE_HAPROXY_BINARY_PATH"} & set(names)


@pytest.mark.skipif(not haproxy_is_there(), reason="HAProxy comes with ray[serve] on Linux")
def test_haproxy_shows_its_metrics_and_statistics_here_only_and_the_api_where_it_was_told_to(tmp_path):
    names = environment(tmp_path)
    metrics, stats = names["RAY_SERVE_HAPROXY_METRICS_PORT"], names["RAY_SERVE_HAPROXY_STATS_PORT"]
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
        f"frontend prometheus\n    bind :{metrics}\nfrontend api\n    bind *:8080\nlisten stats\n  bind *:{stats}\n"
    )
    wrapper = names["RAY_SERVE_HAPROXY_BINARY_PATH"]
    checked = subprocess.run([wrapper, "-c", "-f", str(config)], env=names, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    binds = [line.strip() for line in config.read_text().splitlines() if "bind" in line]
    assert "    timeout http-request 10s" in config.read_text()
    assert binds == [f"bind 127.0.0.1:{metrics}", "bind *:8080", f"bind 127.0.0.1:{stats}"]
