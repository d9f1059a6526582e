import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.errors import IntegrityError, InvalidInput, NotFound
from models.registry.aliases import FileAliasStore
from models.registry.manifest import CARD, DRIFT, WEIGHTS, Manifest, file_sha256, verify
from models.registry.packaged import open_registry
from models.registry.store import CHALLENGER, ModelRegistry


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def model_folder(folder: Path, value: float, model: str = "toy") -> Path:
    folder.mkdir(parents=True)
    save_file({"weight": np.full(3, value, np.float32)}, folder / WEIGHTS)
    Manifest(
        model=model,
        sha256=file_sha256(folder / WEIGHTS),
        created=f"2026-11-2{int(value)}T00:00:00+00:00",
        code_version="0.1.0",
        command="make toy",
        seed=1,
        parent="nothing",
        data={"images": 3},
    ).write(folder)
    (folder / CARD).write_text("# Toy")
    return folder


@pytest.fixture
def registry(tmp_path) -> ModelRegistry:
    return open_registry(tmp_path / "home", clock=StoppedClock(), packaged={})


@pytest.fixture
def sources(tmp_path) -> list[Path]:
    return [model_folder(tmp_path / f"source-{value}", float(value)) for value in (1, 2, 3)]


def test_a_registered_model_is_found_by_version_with_its_lineage_and_card(registry, sources):
    version = registry.register("toy", sources[0]).version
    found = registry.resolve(f"toy@{version}")
    assert found.label == f"toy/{version}"
    assert (found.manifest.parent, found.manifest.data) == ("nothing", {"images": 3})
    assert (found.folder / CARD).read_text() == "# Toy"


def test_registering_the_same_weights_twice_leaves_one_version(registry, sources):
    registry.register("toy", sources[0])
    registry.register("toy", sources[0])
    assert len(registry.list("toy")) == 1


def test_the_champion_is_what_a_bare_model_name_means(registry, sources):
    registry.register("toy", sources[0], alias="champion")
    second = registry.register("toy", sources[1], alias="challenger")
    assert registry.resolve("toy").aliases == ("champion",)
    assert registry.resolve("toy@challenger").version == second.version


def test_promoting_the_challenger_moves_the_champion_alias(registry, sources):
    registry.register("toy", sources[0], alias="champion")
    second = registry.register("toy", sources[1], alias=CHALLENGER)
    promoted = registry.promote("toy", CHALLENGER)
    assert promoted.version == second.version
    assert promoted.aliases == ("champion", "challenger")


def test_rolling_back_twice_goes_back_two_versions_and_not_forth_again(registry, sources):
    versions = [registry.register("toy", source, alias="champion").version for source in sources]
    assert registry.rollback("toy").version == versions[1]
    assert registry.rollback("toy").version == versions[0]
    with pytest.raises(NotFound, match="no earlier champion"):
        registry.rollback("toy")
    actions = [change.action for change in registry.history("toy")]
    assert actions == ["promote"] * 3 + ["rollback"] * 2


def test_promoting_what_is_champion_already_is_no_change(registry, sources):
    version = registry.register("toy", sources[0], alias="champion").version
    registry.promote("toy", version)
    assert len(registry.history("toy")) == 1


def test_changed_weights_are_refused_at_load_and_at_promotion(registry, sources):
    found = registry.register("toy", sources[0], alias="champion")
    content = bytearray((found.folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (found.folder / WEIGHTS).write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match="was changed or is damaged"):
        registry.resolve("toy@champion")
    with pytest.raises(IntegrityError):
        registry.promote("toy", found.version, alias="challenger")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "head.joblib"])
def test_a_folder_with_a_pickle_is_refused(registry, sources, name):
    (sources[0] / name).write_bytes(b"\x80\x04.")
    with pytest.raises(IntegrityError, match=name):
        registry.register("toy", sources[0])


def test_a_manifest_of_a_newer_release_is_refused(sources):
    path = sources[0] / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(IntegrityError, match="format 2"):
        verify(sources[0])


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}'])
def test_a_broken_manifest_is_an_integrity_error(sources, content):
    (sources[0] / "manifest.json").write_text(content)
    with pytest.raises(IntegrityError, match="manifest"):
        verify(sources[0])


def test_missing_weights_or_manifest_are_named(sources, tmp_path):
    (sources[0] / WEIGHTS).unlink()
    with pytest.raises(IntegrityError, match=WEIGHTS):
        verify(sources[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntegrityError, match=r"manifest\.json is missing"):
        verify(tmp_path / "empty")


def test_a_model_is_not_registered_under_another_name(registry, sources):
    with pytest.raises(InvalidInput, match="'toy'"):
        registry.register("other", sources[0])


def test_unknown_names_say_what_there_is(registry, sources):
    version = registry.register("toy", sources[0]).version
    with pytest.raises(NotFound, match="registered models: toy"):
        registry.show("nothing")
    with pytest.raises(NotFound, match=version):
        registry.show("toy", "ffffffff")
    with pytest.raises(NotFound, match=f"toy has no champion; promote one of: {version}"):
        registry.show("toy")
    with pytest.raises(InvalidInput, match="aliases are: champion, challenger"):
        registry.promote("toy", version, alias="best")


def test_packaged_weights_become_champion_on_first_use_and_stay_out_of_the_way_later(tmp_path, sources):
    registry = open_registry(tmp_path / "home", packaged={"toy": sources[0]})
    assert registry.show("toy").aliases == ("champion",)
    second = registry.register("toy", sources[1], alias="champion")
    again = open_registry(tmp_path / "home", packaged={"toy": sources[0]})
    assert again.show("toy").version == second.version
    assert [item.version for item in again.list()] == [verify(sources[0]).version, second.version]


def test_a_failed_registration_leaves_nothing(registry, sources, tmp_path):
    (sources[0] / WEIGHTS).write_bytes(b"broken")
    with pytest.raises(IntegrityError):
        registry.register("toy", sources[0])
    assert registry.list() == []


def test_aliases_survive_a_new_process_and_a_broken_file_is_named(tmp_path):
    store = FileAliasStore(tmp_path / "aliases.json", StoppedClock())
    store.set("toy", "champion", "aaaa1111")
    again = FileAliasStore(tmp_path / "aliases.json", StoppedClock())
    assert again.get("toy", "champion") == "aaaa1111"
    assert again.history("toy", "champion")[0].at == "2026-11-22T00:00:00+00:00"
    (tmp_path / "aliases.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"aliases\.json"):
        again.get("toy", "champion")


def test_no_change_is_lost_when_two_threads_set_aliases_at_once(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def change(number: int) -> None:
        FileAliasStore(tmp_path / "aliases.json", StoppedClock()).set("toy", "champion", f"{number:08x}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(40)))
    history = FileAliasStore(tmp_path / "aliases.json", StoppedClock()).history("toy", "champion")
    assert {item.version for item in history} == {f"{number:08x}" for number in range(40)}


def test_a_half_copied_registration_is_not_a_version(registry, sources):
    found = registry.register("toy", sources[0], alias="champion")
    shutil.copytree(found.folder, found.folder.parent / ".registering-crashed")
    assert len(registry.list("toy")) == 1


def test_the_reference_for_drift_goes_with_the_weights(registry, sources):
    (sources[0] / DRIFT).write_bytes(b"what it was trained on")
    version = registry.register("toy", sources[0])
    assert (version.folder / DRIFT).read_bytes() == b"what it was trained on"
    assert not (registry.register("toy", sources[1]).folder / DRIFT).exists()
