"""The package as it is installed: every folder is in the wheel, which works without the clone."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import ipad_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
UV = Path(sys.prefix) / "bin" / "uv"
FOLDERS = {
    "ipad_jax": "ipad_jax",
    "configs": "ipad_jax.configs",
    "data_builders": "ipad_jax.data_builders",
}


def test_every_package_folder_is_named():
    """A folder that pyproject.toml does not name is missing from the wheel, and only there."""
    found = set()
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            inner = path.parent.relative_to(ROOT / folder).parts
            found.add(".".join([package, *inner]))
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_version_stands_in_one_place():
    assert ipad_jax.__version__ == PROJECT["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## ([\d.]+)", changes, re.M)[1] == ipad_jax.__version__


def run(*command, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Folder with the sdist, and the wheel that was built from it."""
    if not UV.exists():
        pytest.skip("no uv beside this Python: `make setup` installs it")
    folder = tmp_path_factory.mktemp("dist")
    build = ("build", "--no-build-isolation", "--offline", "--python", sys.executable)
    run(UV, *build, "--out-dir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.slow
def test_the_sdist_holds_what_users_edit(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"configs/factory.py", "data_builders/factory/render.py", "README.md"} <= names


def test_the_wheel_holds_data_files(dist):
    (path,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(path).namelist())
    for folder, package in FOLDERS.items():
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".j2", ".json", ".bib", ".txt") or file.name == "README.md":
                inside = Path(*package.split(".")) / file.relative_to(ROOT / folder)
                assert inside.as_posix() in names
    assert not any(name.startswith(("configs/", "data_builders/", "tests/")) for name in names)


@pytest.mark.slow
def test_the_wheel_works_outside_the_clone(dist, tmp_path):
    """In an environment of its own, from an empty folder, as `uv tool install` leaves it."""
    (wheel,) = dist.glob("*.whl")
    run(UV, "venv", "--offline", "--python", sys.executable, tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    install = ("pip", "install", "--offline", "--no-deps", "--python", binaries / "python")
    run(UV, *install, wheel, cwd=tmp_path)
    (site,) = (tmp_path / "venv").glob("lib/*/site-packages")
    # The dependencies of this environment; its .pth files, the editable install's among them, stay out.
    (path,) = {Path(p) for p in sys.path if p.endswith("site-packages")}
    (site / "dependencies.pth").write_text(f"{path}\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    where = run(binaries / "python", "-c", "import ipad_jax; print(ipad_jax.__file__)", cwd=empty)
    assert Path(where.strip()).is_relative_to(site)
    described = run(
        binaries / "ipad-jax", "train", "--config", "factory:tiny", "--describe", cwd=empty
    )
    assert "parameters" in described or "total" in described
    code = (
        "import ipad_jax\n"
        "from ipad_jax.data_builders.factory.factory_dataset_builder import Builder\n"
        "from ipad_jax.reproduce.published import published\n"
        "assert 'rendered machines' in Builder.get_metadata().description\n"
        "assert published(2)\n"
        "print(ipad_jax.__version__)\n"
    )
    assert run(binaries / "python", "-c", code, cwd=empty).strip() == ipad_jax.__version__
