"""Builds the documentation: `make docs` writes the site into build/site/, with broken links as errors.

The pages of docs/ are copied into build/docs/, where two kinds of pages are added that nobody writes by
hand: `configs.md` from the comments of the configs, `api/ROOM.md` from the package's docstrings.
"""

import ast
import io
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs"
CONFIGS = ROOT / "configs"
OUT = ROOT / "build" / "docs"

# Rooms with a page of the API; the others are commands, which `--help` documents, or programs.
ROOMS = {
    "ipad_jax": "From Python",
    "ipad_jax.convert": "Published weights",
    "ipad_jax.video": "Video: what all methods share",
    "ipad_jax.video.ipad": "Video: the IPAD network",
    "ipad_jax.video.baselines": "Video: the methods it is compared with",
    "ipad_jax.video.normal": "Video: comparison with normal footage",
    "ipad_jax.video.scores": "Video: from clips to a score a frame",
    "ipad_jax.video.detector": "Video: the detector",
    "ipad_jax.video.evaluation": "Video: evaluation",
    "ipad_jax.image": "Images: task, detector, maps",
    "ipad_jax.image.methods": "Images: the methods",
    "ipad_jax.image.evaluation": "Images: evaluation",
    "ipad_jax.training": "Training",
    "ipad_jax.evaluation": "Metrics and reports",
    "ipad_jax.input": "Input",
    "ipad_jax.prepare": "Preparing datasets",
    "ipad_jax.nn": "Layers",
    "ipad_jax.run": "Files, processes, configs",
    "ipad_jax.reproduce": "Tables of the papers",
    "ipad_jax.performance": "Speed and compilation",
}


def leaf_table(source: str, function: str) -> list[tuple[str, str, str]]:
    """Name, default and comment of each leaf that a config function sets, in order.

    Raises:
      ValueError: a leaf has no comment; names it.
    """
    # A comment belongs to the line it ends; a leaf of several lines may have it on the first.
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (body,) = (
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    sections: dict[str, str] = {}  # local variable -> dotted name of its section
    rows = []
    for node in body:
        if not isinstance(node, ast.Assign):
            continue
        dotted = next((ast.unparse(t) for t in node.targets if isinstance(t, ast.Attribute)), "")
        variable, _, leaf = dotted.partition(".")
        name = f"{sections.get(variable, '')}{leaf}"
        if any(isinstance(target, ast.Name) for target in node.targets):
            local = next(t.id for t in node.targets if isinstance(t, ast.Name))
            sections[local] = f"{name}." if name else ""
            continue
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        comment = next((comments[line] for line in lines if line in comments), "")
        if not comment:
            raise ValueError(f"{function}: leaf {name} has no comment with its unit or source.")
        value = node.value
        if isinstance(value, ast.Call) and value.args:  # ConfigDict({...})
            value = value.args[0]
        rows.append((name, ast.unparse(value), comment))
    return rows


def configs_page() -> str:
    """Every leaf of `configs/_base.py` with its default, and each config's text and variants."""
    lines = [
        "# Configs",
        "",
        "Generated from `configs/`. `--config.NAME=VALUE` sets a leaf; `--config FILE:variant,variant`",
        "chooses variants. A config of your own is a file with `get_config(arg=None)`.",
        "",
        "## Leaves that all video configs share",
        "",
        "| leaf | default | unit, source |",
        "|---|---|---|",
    ]
    for name, default, comment in leaf_table((CONFIGS / "_base.py").read_text(), "video_config"):
        lines.append(f"| `{name}` | `{default}` | {comment.replace('|', '/')} |")
    for path in sorted(CONFIGS.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines += ["", f"## {path.stem}", "", text]
    return "\n".join(lines) + "\n"


def api_page(module: str, title: str) -> str:
    """The directive that fills a page with the docstrings of a room, its files included."""
    # A room with rooms inside has pages for these; its own page shows its files alone.
    inner = [name.removeprefix(f"{module}.") for name in ROOMS if name.startswith(f"{module}.")]
    filters = "".join(f"\n        - '!^{name}$'" for name in ("_", *inner) if name != "_")
    return (
        f"# {title}\n\n::: {module}\n    options:\n      heading_level: 2\n"
        f"      show_submodules: {'false' if module == 'ipad_jax' else 'true'}\n"
        f"      filters:\n        - '!^_'{filters}\n"
    )


def write_pages() -> None:
    """Copies and generates everything that the site is made of."""
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(PAGES, OUT, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (OUT / "configs.md").write_text(configs_page())
    (OUT / "api").mkdir()
    for module, title in ROOMS.items():
        (OUT / "api" / f"{page_name(module)}.md").write_text(api_page(module, title))


def page_name(module: str) -> str:
    """File of a room's page, without its ending."""
    return module.removeprefix("ipad_jax").strip(".").replace(".", "_") or "python"


if __name__ == "__main__":
    print("[docs 1/2] pages of configs and docstrings", flush=True)
    write_pages()
    print("[docs 2/2] site, about 30 s", flush=True)
    build = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    status = subprocess.run(build, cwd=ROOT, check=False).returncode
    print(f"site: {ROOT / 'build' / 'site' / 'index.html'}" if not status else "docs: failed")
    sys.exit(status)
