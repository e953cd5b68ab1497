"""The minute on a new machine, here in seconds at tiny sizes."""

import importlib.util
from pathlib import Path

import pytest

path = Path(__file__).parents[2] / "launch" / "smoke.py"
spec = importlib.util.spec_from_file_location("smoke", path)
smoke = importlib.util.module_from_spec(spec)
spec.loader.exec_module(smoke)


@pytest.mark.slow
def test_it_trains_on_every_device_and_says_how_fast(capsys):
    assert smoke.main(["--seconds", "0", "--clips-per-device", "1"]) == 0
    out = capsys.readouterr().out
    assert "4 x cpu, 1 process(es)" in out
    assert "10 steps of 4 clips" in out
    assert "share of peak unknown" in out


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v5", 459e12),  # what JAX calls v5p
        ("TPU v6 lite", 918e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("cpu", None),
    ],
)
def test_peaks_are_found_by_the_devices_names(kind, peak):
    assert smoke.peak_flops(kind) == peak
