"""The direction of imports between rooms, read from the source, and what is never imported."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ipad_jax"

# A room may import those below it; rooms of one floor know nothing of each other.
FLOORS = (
    ("configs", "data_builders"),
    ("run", "nn"),
    ("input", "prepare", "evaluation", "training"),
    ("video", "image"),
    ("pose",),
    ("web", "reproduce", "performance"),
    ("commands",),
    ("main", "__init__", "convert"),
)
ACROSS = {
    ("prepare", "input"): "to measure a cycle is to read prepared-like frames",
    ("prepare", "evaluation"): "a number of good images is promised what a threshold is",
    ("configs", "video"): "a config takes its model's own default values",
    ("configs", "image"): "the same",
    ("configs", "pose"): "the same",
}
# Host-side code that must run without a model: it takes arrays or files.
WITHOUT_JAX = ("input", "prepare", "evaluation", "data_builders")
PROGRAMS = {  # of their own, run by `python -m`
    "data_builders/factory/difficulty.py",
    "data_builders/factory/write.py",
}
PRINTERS = {
    "ipad_jax/run/progress.py": "bars, which commands show, and `train` without a callback",
    "ipad_jax/run/processes.py": "last words of a process that ends at once, whatever runs in it",
}
PRINTS = ("print", "sys.stdout.write", "sys.stderr.write")
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> dict[Path, str]:
    """Every source file and its room."""
    rooms = {p: p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in PACKAGE.rglob("*.py")}
    for room in ("configs", "data_builders"):
        rooms |= dict.fromkeys((ROOT / room).rglob("*.py"), room)
    return rooms


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(name: str) -> str:
    """Room of an imported name; "" where it is none of ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "ipad_jax" and len(parts) > 1 and parts[1] in FLOOR else ""


def test_imports_go_down():
    wrong = []
    for path, here in modules().items():
        assert here in FLOOR, f"say in FLOORS where {path} stands"
        for there in {room_of(name) for name in imports(path)} - {"", here}:
            if FLOOR[there] >= FLOOR[here] and (here, there) not in ACROSS:
                wrong.append(f"{path.relative_to(ROOT)} imports {there}")
            if there == "convert":
                wrong.append(f"{path.relative_to(ROOT)} imports convert, which is for users alone")
    assert not wrong, "\n".join(wrong)


def test_pose_takes_what_judging_images_has_in_common_and_nothing_of_video():
    for path, room in modules().items():
        if room == "pose":
            assert "video" not in {room_of(name) for name in imports(path)}, path


def test_only_commands_parse_arguments():
    parsing = {
        path.relative_to(ROOT).as_posix()
        for path, room in modules().items()
        if "argparse" in imports(path) and room != "commands"
    }
    assert parsing <= PROGRAMS


def test_only_commands_print():
    printing = {
        path.relative_to(ROOT).as_posix()
        for path, room in modules().items()
        if room not in ("commands", "main")
        and any(
            isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTS
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert printing - PROGRAMS <= set(PRINTERS), printing


def test_host_side_code_needs_no_jax():
    for path, room in modules().items():
        if room in WITHOUT_JAX and "factory" not in path.parts:  # which renders with JAX
            used = {name.split(".")[0] for name in imports(path)}
            assert not used & {"jax", "flax", "optax", "orbax"}, path


def test_builders_import_nothing_of_ours():
    for path, room in modules().items():
        if room == "data_builders":
            assert {room_of(name) for name in imports(path)} <= {"", "data_builders"}, path


def test_the_top_floor_is_small():
    entries = [
        p for p in PACKAGE.iterdir() if p.name != "__pycache__" and not p.name.startswith(".")
    ]
    assert len(entries) <= 18, sorted(p.name for p in entries)


def test_no_torch_or_tensorflow_at_module_level():
    for path in modules():
        tops = {name.split(".")[0] for name in imports(path, top_level_only=True)}
        assert not tops & {"torch", "tensorflow", "torchvision"}, path


def test_commands_load_without_torch_and_tensorflow():
    code = (
        "import importlib, sys\n"
        "from ipad_jax.main import COMMANDS\n"
        "for name in COMMANDS: importlib.import_module('ipad_jax.commands.' + name)\n"
        "sys.exit(bool({'torch', 'tensorflow'} & set(sys.modules)))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
