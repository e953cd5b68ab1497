"""What holds for every launch script: it is well formed and explained, and refuses half an order."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
README = (LAUNCH / "README.md").read_text()
TRAIN = ("tpu_vm.sh", "gke_jobset_tpu.sh", "gke_jobset_gpu.sh", "slurm.sh")
STARTED_BY_HAND = (*TRAIN, "slurm_array.sh")
EXAMPLE = {
    "TPU_NAME": "ipad",
    "ZONE": "us-west4-a",
    "NAME": "s01",
    "IMAGE": "registry/ipad:1",
    "WORKDIR": "gs://bucket/runs/S01",
    "DATA_DIR": "gs://bucket/data",
    "SHARES": "20",
}
SCRIPT = re.compile(r"^([A-Z_]+)=\$\{\1(:[?-])", re.MULTILINE)  # NAME=${NAME:?...} or ${NAME:-...}


def variables(script: str) -> dict[str, bool]:
    """The variables on top of a script: name -> whether it must be given."""
    return {name: kind == ":?" for name, kind in SCRIPT.findall((LAUNCH / script).read_text())}


def test_shellcheck_finds_nothing():
    scripts = sorted(LAUNCH.glob("*.sh"))
    assert {*STARTED_BY_HAND, "tpu_vm_host.sh"} <= {script.name for script in scripts}
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_scripts_can_be_executed_and_stop_at_the_first_error():
    for script in LAUNCH.glob("*.sh"):
        assert script.stat().st_mode & 0o111, f"{script} is not executable"
        assert "set -euo pipefail" in script.read_text(), script


@pytest.mark.parametrize("script", STARTED_BY_HAND)
def test_each_variable_stands_on_the_page(script):
    assert variables(script).keys() >= {"WORKDIR", "DATA_DIR", "CACHE_DIR"}
    missing = [name for name in variables(script) if f"`{name}`" not in README]
    assert not missing, f"{script} takes {missing}, which launch/README.md does not explain"


def test_the_page_names_each_script_and_nothing_that_is_not_there():
    names = set(re.findall(r"\]\(([\w.]+)\)", README))
    assert names >= {*STARTED_BY_HAND, "tpu_vm_host.sh"}
    assert names <= {path.name for path in LAUNCH.iterdir()}


@pytest.mark.parametrize("script", STARTED_BY_HAND)
def test_a_missing_variable_is_named_and_nothing_is_called(script, machine, clone):
    machine.stand_in("gcloud", "kubectl", "srun", "scontrol")
    required = [name for name, must in variables(script).items() if must]
    given = {name: EXAMPLE[name] for name in required}
    for name in required:
        rest = {key: value for key, value in given.items() if key != name}
        done = machine.run(clone / "launch" / script, "--config", "ipad", **rest)
        assert done.returncode != 0
        assert f"{name}:" in done.stderr
    done = machine.run(clone / "launch" / script, **given)
    assert done.returncode != 0
    assert ("--config" if script in TRAIN else "--table") in done.stderr
    assert machine.calls() == []


def test_no_script_deletes_or_kills_what_is_not_its_own():
    words = re.compile(r"\b(rm|delete|rsync|mv|scancel|prune|clean|pkill|killall|--clear)\b")
    for script in LAUNCH.glob("*.sh"):
        code = re.sub(r"(^|\s)#.*", "", script.read_text())
        assert not words.search(code), f"{script}: {words.search(code)}"


def test_the_image_holds_what_the_package_is_made_of():
    root = LAUNCH.parent
    kept = [
        line[1:]
        for line in (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    assert [name for name in kept if not (root / name).exists()] == []
    project = tomllib.loads((root / "pyproject.toml").read_text())
    folders = project["tool"]["setuptools"]["package-dir"].values()
    files = [project["project"]["readme"], *project["project"]["license-files"]]
    needed = {*folders, *files}
    assert needed | {"pyproject.toml", "requirements.lock", "Makefile"} == set(kept)
    dockerfile = (LAUNCH / "Dockerfile").read_text()
    extras = project["project"]["optional-dependencies"]
    assert {"tpu", "cuda", "gcs"} <= extras.keys()
    assert '-c requirements.lock -e ".[$EXTRA,gcs]"' in dockerfile
