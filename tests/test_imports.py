"""The direction of imports, read from the source, and what is never imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ipad_jax"

# A lower number may not import a higher one. Files not named here take their folder's level.
LEVELS = {
    "files": -1,
    "hlo": -1,
    "roofline": -1,
    "nn": 0,
    "input": 0,
    "metrics": 0,
    "report": 0,
    "video": 1,
    "image": 1,
    "pose": 1,
    "convert": 2,
    "train_state": 3,
    "optim": 3,
    "sharding": 3,
    "base": 3,
    "scene_folder": 3,
    "checkpoint_files": 3,
    "checkpoints": 3,
    "held_out": 3,
    "writer": 3,
    "compile_cache": 3,
    "goodput": 3,
    "interrupt": 3,
    "cluster": 0,
    "distributed": 2,
    "pretrained": 3,
    "config": 3,
    "task": 2,
    "progress": 3,
    "predict": 3,
    "kept": 3,
    "open_frames": 3,
    "small_pictures": 3,
    "normal_frames": 4,
    "normal_features": 4,
    "normal_motion": 4,
    "comparisons": 4,
    "crew": 4,
    "calibrate": 4,
    "footage": 4,
    "measure": 4,
    "train": 4,
    "evaluation_report": 4,
    "evaluate": 5,
    "merge": 4,
    "detector": 4,
    "detect_record": 4,
    "detect": 5,
    "prepare_arguments": 4,
    "prepare_report": 4,
    "prepare_cycle": 4,
    "prepare": 4,
    "validate": 4,
    "compile_report": 4,
    "compile": 5,
    "bench": 5,
    "demo": 6,
    "reproduce": 6,
    "main": 7,
}
# Host-side code that must run without a model: it takes arrays.
WITHOUT_JAX = ("input", "metrics", "report")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    here = room(path)
    if here == "__init__":
        return
    assert here in LEVELS, f"say where {path.name} stands in LEVELS"
    for name in imports(path):
        if not name.startswith("ipad_jax."):
            continue
        there = name.split(".")[1]
        if there == here or there not in LEVELS:
            continue
        assert LEVELS[there] <= LEVELS[here], f"{path} imports {name}, which stands above it"
        if LEVELS[there] == LEVELS[here] == 0:
            raise AssertionError(f"{path}: {here} and {there} know nothing of each other")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_host_side_code_needs_no_jax(path):
    if room(path) in WITHOUT_JAX:
        assert not {n.split(".")[0] for n in imports(path)} & {"jax", "flax", "optax", "orbax"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "data_builders").rglob("*.py")), ids=lambda p: p.name
)
def test_builders_import_nothing_of_ours(path):
    assert not any(name.split(".")[0] == "ipad_jax" for name in imports(path))


@pytest.mark.parametrize(
    "path", modules() + sorted((ROOT / "data_builders").rglob("*.py")), ids=lambda p: p.name
)
def test_no_torch_or_tensorflow_at_module_level(path):
    tops = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert not tops & {"torch", "tensorflow", "torchvision"}


def test_commands_load_without_torch_and_tensorflow():
    code = (
        "import importlib, sys\n"
        "from ipad_jax.main import MODULES\n"
        "for name in MODULES.values(): importlib.import_module('ipad_jax.' + name)\n"
        "sys.exit(bool({'torch', 'tensorflow'} & set(sys.modules)))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
