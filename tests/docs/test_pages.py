"""What the documents say is there: links, files, commands, options, leaves, keys."""

import ast
import contextlib
import importlib.util
import io
import json
import re
import tomllib
from functools import cache

import numpy as np
import pytest
from pages import PAGES, ROOT, anchors, blocks, commands, links, name_of, prose

from ipad_jax import main
from ipad_jax.evaluation.summary import ScoredFrames, summarise
from ipad_jax.run.config import leaves, load_config

README = ROOT / "README.md"
TOP_FOLDERS = ("ipad_jax", "configs", "data_builders", "launch", "tests", "docs")


@pytest.fixture(params=PAGES, ids=name_of)
def page(request):
    return request.param


def generated():
    """Names of the pages that `make docs` adds."""
    build = docs_build()
    return {"configs.md"} | {f"api/{build.page_name(room)}.md" for room in build.ROOMS}


@cache
def docs_build():
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_lead_somewhere(page):
    for link in links(page.read_text()):
        if link.startswith(("https://", "mailto:")):
            continue  # nothing is fetched
        target, _, anchor = link.partition("#")
        if page.parent == ROOT / "docs" and target in generated():
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name_of(page)} links to {link}, which is not there"
        assert path.is_relative_to(ROOT), f"{name_of(page)} links out of the repository: {link}"
        if anchor:
            assert anchor in anchors(path.read_text()), f"{name_of(page)}: no heading {link}"


def test_files_that_are_named_exist(page):
    text = prose(page.read_text())
    named = re.findall(rf"`((?:{'|'.join(TOP_FOLDERS)})/[\w./-]*)`", text)
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing, f"{name_of(page)} names files that are not there: {missing}"


def test_readme_is_short():
    lines = README.read_text().splitlines()
    assert len(lines) <= 200
    long = [line for line in lines if len(line) > 120 and not line.startswith("|")]
    assert not long, "longer than 120 characters outside tables:\n" + "\n".join(long)


def test_pictures_are_small():
    for path in (ROOT / "docs" / "images").iterdir():
        assert path.stat().st_size < 150_000, f"{path.name}: make it smaller than 150 kB"


@cache
def help_of(*command: str) -> str:
    """What `ipad-jax COMMAND [SUBCOMMAND] --help` prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main.main([*command, "--help"])
    return out.getvalue()


def checked(command: list[str]) -> str:
    """What is wrong with the arguments of one `ipad-jax` command; "" if nothing is."""
    name, *words = command[1:]
    if name not in main.COMMANDS:
        return "" if name in ("--version", "--help", "help") else f"no command {name!r}"
    known = help_of(name)
    if "positional arguments:" in known:  # subcommands
        inner = (
            words[:1] if words and words[0][0] != "-" else re.findall(r"^ {4}(\w+)", known, re.M)
        )
        known += "".join(help_of(name, one) for one in inner)
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--config."):
            spec = words[words.index("--config") + 1] if "--config" in words else "factory"
            # A config of the reader's own has the leaves of the one that it starts from.
            spec = "factory" if spec.endswith(".py") else spec
            if option.removeprefix("--config.") not in leaves(load_config(spec)):
                return f"{spec} has no leaf {option}"
        elif option.startswith("--") and not re.search(rf"{option}(?![\w-])", known):
            return f"`ipad-jax {name} --help` has no {option}"
    if "--config" in words and not words[words.index("--config") + 1].endswith(".py"):
        load_config(words[words.index("--config") + 1])
    return ""


def test_commands_can_be_typed(page):
    wrong = {}
    for command in commands(page.read_text()):
        if command[0] == "ipad-jax" and (why := checked(command)):
            wrong[" ".join(command)] = why
        if command[0] == "make" and len(command) > 1:
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
            assert command[1] in targets, f"{name_of(page)}: no target {command[1]}"
        if command[0].startswith("launch/"):
            assert (ROOT / command[0]).exists(), f"{name_of(page)}: no {command[0]}"
    assert not wrong, f"{name_of(page)}: {json.dumps(wrong, indent=2)}"


def test_a_command_that_is_not_is_found():
    """The checker itself: each kind of mistake is seen."""
    right = ["ipad-jax", "train", "--config", "factory", "--config.seed=1", "--workdir", "x"]
    assert checked(right) == ""
    assert checked(["ipad-jax", "trane"])
    assert checked([*right, "--wrokdir", "x"])
    assert checked([*right, "--config.data.scene=S01"])


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = README.read_text().split("## Dependencies")[1].split("## More")[0].lower()
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in extras.values() for one in extra)]
    names = {re.match(r"[\w-]+", one)[0].lower() for one in wanted} - {"jax"}
    missing = {name for name in names | extras.keys() if name not in table}
    assert not missing, f"say in the README's table what these are for: {missing}"


def test_figures_of_the_readme_are_results():
    """Every row of the table of methods stands in docs/results.md, with the same interval."""
    rows = re.findall(r"\| ([\d.]+) \| (\d+ to \d+) \|$", README.read_text(), re.M)
    assert len(rows) == 9
    results = (ROOT / "docs" / "results.md").read_text()
    for figure, interval in rows:
        assert f"| {figure} ({interval}) |" in results


def test_keys_of_metrics_json_are_documented():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 0, 1], 5)
    frames = ScoredFrames(
        score=rng.normal(size=20),
        label=label,
        video=np.repeat([0, 1], 10),
        frame=np.tile(np.arange(10), 2),
        fps=[25.0, 25.0],
        kind=label,
        kinds=("normal", "appearance"),
    )
    page = (ROOT / "docs" / "run_folder.md").read_text().split("## metrics.json")[1]
    rows = re.findall(r"^\|([^|]*)\|", page, re.M)
    documented = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    made = set(summarise(frames, protocol="strict", threshold=0.0))
    assert made <= documented, f"say in docs/run_folder.md what {made - documented} are"
    beside = {"config_hash", "checkpoint_step", "deviations", "calibration", "cycle_ends", "rows"}
    beside.add("always_on")
    assert documented - made <= beside, f"no longer written: {documented - made - beside}"


def test_every_leaf_of_the_configs_is_on_its_page():
    page = docs_build().configs_page()
    own = ("model.", "eval.components.")  # a method's own; a leaf that is itself a table
    for leaf in leaves(load_config("ipad")):
        if not leaf.startswith(own):
            assert f"| `{leaf}` |" in page, f"{leaf} is not on the page of configs"


def test_every_room_has_a_page_of_the_api():
    rooms = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "ipad_jax").rglob("__init__.py")
        if any(p.name != "__init__.py" for p in path.parent.glob("*.py"))
    }
    shown = set(docs_build().ROOMS)
    missing = {room for room in rooms if not {room, room.rpartition(".")[0]} & shown} - {
        "ipad_jax.commands"
    }  # which `--help` documents
    assert not missing, f"name them in docs/build.py: {sorted(missing)}"
    nav = (ROOT / "zensical.toml").read_text()
    assert set(re.findall(r'"(api/\w+\.md)"', nav)) == {
        name for name in generated() if name.startswith("api/")
    }


def test_python_of_the_pages_is_python(page):
    for block in blocks(page.read_text()):
        if block.language.split(" ")[0] == "python":
            compile(block.code, name_of(page), "exec")


def test_no_docstring_holds_a_link_by_accident():
    """`KINDS[layer][1]` in the text of a docstring is a link to "1", and `make docs` ends there."""
    for path in sorted((ROOT / "ipad_jax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = re.sub(r"`[^`]*`", "", ast.get_docstring(node) or "")
                assert not re.search(r"\]\[\w", text), (path, getattr(node, "name", ""))
