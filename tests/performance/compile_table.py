"""The README's table of TPU slices: every row a compilation of the paper's train step, one at a time.

    python tests/performance/compile_table.py FOLDER

Needs the extra `compile`. A row takes minutes (two compilations, for the largest batch); its figures are
kept in FOLDER as JSON, and a row that is there is not compiled again, so the script can be stopped and
started. Prints the table of what is there at the end, and with `--print` does nothing else.
"""

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CLIPS = 8  # a chip
CHOSEN = (
    "bfloat16",
    False,
    8,
)  # dtype, remat, side of the window: the option `tpu` of configs/ipad.py
HERE = list(itertools.product(("bfloat16", "float32"), (False, True), (8, 7)))
ROWS = [("v5e:4x4", *CHOSEN)]
ROWS += [("v5e:4x4", *row) for row in HERE if row != CHOSEN]
ROWS += [(topology, *CHOSEN) for topology in ("v6e:4x4", "v5p:2x2x4", "v5e:16x16")]
CHIPS = {"v5e:4x4": 16, "v6e:4x4": 16, "v5p:2x2x4": 16, "v5e:16x16": 256}
HEADER = (
    "slice, chips | compute, remat, window | memory of a chip | FLOPs compiled / needed | "
    "main memory moved | least step: compute, memory, links | most clips/s | largest batch"
)


def name(row: tuple[str, str, bool, int]) -> str:
    topology, dtype, remat, side = row
    return f"{topology.replace(':', '_')}-{dtype}-{'remat' if remat else 'plain'}-{side}"


def compile_row(row: tuple[str, str, bool, int], folder: Path, largest: bool) -> None:
    """Runs the command; what it prints goes to FOLDER too."""
    topology, dtype, remat, side = row
    command = [sys.executable, "-m", "ipad_jax.main", "compile", "--config", "ipad"]
    command += ["--topology", topology, "--only", "train"]
    command += [f"--config.batch_size={CLIPS * CHIPS[topology]}", f"--config.model.dtype={dtype}"]
    command += [f"--config.model.remat={remat}"]
    command += [f"--config.model.encoder.window_size=(2, {side}, {side})"]
    command += ["--json", str(folder / f"{name(row)}.json")]
    command += ["--largest-batch"] * largest
    with (folder / f"{name(row)}.log").open("w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)


def line(row: tuple[str, str, bool, int], found: dict[str, Any] | None) -> str:
    """A row of the table in Markdown."""
    topology, dtype, remat, side = row
    cells = [
        f"{topology}, {CHIPS[topology]}",
        f"{dtype}, {'on' if remat else 'off'}, 2x{side}x{side}",
    ]
    if found is None:
        return f"| {' | '.join([*cells, 'not compiled'])} |" + " |" * (HEADER.count("|") - 2)
    (step,), gib, chip = found["steps"], 2**30, found["chip"]
    used = f"{step['used_bytes'] / gib:.2f} of {chip['hbm_gib']} GiB"
    if not step["fits"]:
        cells += [f"does not fit: {used}", "", "", "", ""]
    else:
        bound = step["roofline"]
        parts = ("compute_s", "memory_s", "links_s")
        seconds = max(bound[part] for part in parts)
        cells += [
            used,
            f"{step['flops_compiled'] / step['flops_needed']:.2f}",
            f"{step['bytes_moved'] / gib:.1f} GiB",
            ", ".join(f"{1e3 * bound[part]:.1f}" for part in parts) + " ms",
            f"{step['clips'] * step['devices'] / seconds:,.0f}",
        ]
    largest = found["largest_batch"]
    cells += ["not asked" if largest is None else f"{largest}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--print", action="store_true", help="print what is there, compile nothing")
    parser.add_argument("--one-size", action="store_true", help="leave out the largest batch")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for row in ROWS:
        file = arguments.folder / f"{name(row)}.json"
        if not file.exists() and not arguments.print:
            compile_row(row, arguments.folder, not arguments.one_size)
        found[row] = json.loads(file.read_text()) if file.exists() else None
    print(f"| {HEADER} |\n" + "|---" * (HEADER.count("|") + 1) + "|")
    print("\n".join(line(row, found[row]) for row in ROWS))


if __name__ == "__main__":
    main()
