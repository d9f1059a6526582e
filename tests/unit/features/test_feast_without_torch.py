import subprocess
import sys


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout


def test_opening_the_features_does_not_load_torch_and_leaves_it_importable():
    said = in_a_new_process(
        "import sys, features.online; print('torch' in sys.modules); import torch; print(torch.ones(2).sum().item())"
    )
    assert said.split() == ["False", "2.0"]


def test_a_process_that_has_torch_keeps_it():
    assert (
        in_a_new_process("import torch, sys, features.online; print(sys.modules['torch'] is torch)").strip() == "True"
    )


def test_metrics_stay_in_their_registry_and_children_inherit_nothing_of_feasts():
    said = in_a_new_process(
        "import os, features.online\n"
        "from prometheus_client import CollectorRegistry, Counter\n"
        "for amount in (1, 2):\n"
        "    registry = CollectorRegistry()\n"
        "    Counter('one_name', 'In two registries.', registry=registry).inc(amount)\n"
        "    print(registry.get_sample_value('one_name_total'))\n"
        "print([name for name in os.environ if 'MULTIPROC' in name.upper()])"
    )
    assert said.split() == ["1.0", "2.0", "[]"]
