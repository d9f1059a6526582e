from pathlib import Path

import pytest

from core.settings import ServingSettings, Settings
from serving.ray_environment import ray_environment, short_folder


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
