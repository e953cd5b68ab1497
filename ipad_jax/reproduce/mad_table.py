"""The table of objects from any side: rows, and what each of them trains, on MAD or on rendered toys.

Ours, OmniposeAD as published, and PAD's ten baselines and a memory bank, which know no pose, on the same
views. PAD's numbers (mad_published.json) stand beside those on MAD. Nothing is chosen: the last step is
judged, by the config's own scoring.
"""

import dataclasses
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ipad_jax.data_builders.mad.archive import SIM_CLASSES
from ipad_jax.pose.scorer import TRUE_POSE, TRUE_RENDER
from ipad_jax.reproduce.image_cells import CONSTANT, MEASURES
from ipad_jax.reproduce.image_table import METHODS as IMAGE_METHODS
from ipad_jax.reproduce.methods import TUNED_OBJECTS, Setting
from ipad_jax.reproduce.plan import Cell, Comparison, Line, Scoring, Table, Training, Words

NAME = "mad"
MAIN = "omnipose"
POSE_FREE = ("bank", "patchcore", "stfpm", "fastflow", "cflow", "cfa", "cutpaste", "draem")
POSE_FREE += ("favae", "ocrgan", "uniad")  # of PAD's table, the bank apart
POSE_FREE_SECONDS = 60.0  # of a training that no budget limits, as in the table of images
BESIDE = {
    "true_pose": (TRUE_POSE, "ours, with the true pose"),
    "true_render": (TRUE_RENDER, "ours, with the true pose and the true rendering"),
}
WORDS = Words("image AUROC", "image", "object", "defect", MEASURES)


def published() -> Mapping[str, Any]:
    """PAD's table 2 and attributes as printed: classes, shape_complexity, colour_contrast, rows."""
    return json.loads(files("ipad_jax.reproduce").joinpath("mad_published.json").read_text())


def printed(row: str) -> dict[str, float]:
    """PAD's image AUROC of a row in percent, by class of MAD and "mean"; {} where it printed none."""
    found = published()["rows"].get(row)
    if not found or not found["image"]:
        return {}
    by_class = dict(zip(SIM_CLASSES, found["image"], strict=True))
    return {**by_class, "mean": found["printed_mean"]["image"]}


def mad_table(setting: Setting) -> Table:
    """Methods x classes x seeds."""
    on_mad = setting.data == "mad"
    rows = [(MAIN, "omnipose (ours)", "")]
    rows += [(n, f"{IMAGE_METHODS[n]}, no pose", "") for n in POSE_FREE]
    rows.append(("paper", "OmniposeAD as published", ""))
    lines = [Line(n, text, tuple(_cells(setting, n))) for n, text, _ in rows]
    own = lines[0].cells
    if not on_mad:  # nobody knows the true poses of MAD's test views
        beside = [
            Line(n, text, tuple(dataclasses.replace(c, column=column) for c in own), column, True)
            for n, (column, text) in BESIDE.items()
        ]
        lines[1:1] = beside
    else:
        lines = [dataclasses.replace(line, published=_comparable(setting, line)) for line in lines]
    every = tuple(cell for line in lines if line.column == "score" for cell in line.cells)
    untrained = {CONSTANT: "a constant score", "nearest_image": "nearest training view, in grey"}
    for name, text in untrained.items():
        cells = tuple(dataclasses.replace(cell, column=name) for cell in every)
        lines.append(Line(name, f"{text} (no training)", cells, name))
    texts = {line.name: line.text for line in lines}
    others = [name for name in texts if name not in (MAIN, CONSTANT)]
    return Table(
        NAME,
        f"Objects from any side, {'MAD-Sim' if on_mad else 'rendered toys'}",
        setting.scenes,
        {"mean": setting.scenes},
        tuple(lines),
        tuple(Comparison(MAIN, n, f"{texts[MAIN]} above {texts[n]}") for n in others),
        setting.protocol,
        MAIN,
        _notes(setting, on_mad),
        WORDS,
    )


def _comparable(setting: Setting, line: Line) -> dict[str, float]:
    """PAD's numbers without its mean where other classes are judged than all of MAD's."""
    found = printed(line.name)
    if set(setting.scenes) != set(SIM_CLASSES):
        found.pop("mean", None)
    return found


def _notes(setting: Setting, on_mad: bool) -> tuple[str, ...]:
    notes = [
        "Networks of the pose-free rows are those that fit two cores (EfficientNet-Lite0, narrow "
        "generators), not the published ones. Without --seconds or --steps each of them trains for "
        f"{POSE_FREE_SECONDS:g} s, ours and OmniposeAD as long as their configs say.",
        "OmniposeAD as published (row paper) is days of training and hours a query on a CPU: leave it out "
        "there with --rows.",
    ]
    if tuned := [scene for scene in setting.scenes if scene in TUNED_OBJECTS]:
        notes.append(
            f"{', '.join(tuned)}: tuned on, so no figure of ours there is reported, nor a mean with it."
        )
    if on_mad:
        notes.append("'the paper' is PAD's table 2 as printed; what is wrong with it stands below.")
    if setting.tiny:
        notes.append("Tiny models on tiny pictures: these numbers mean nothing.")
    return tuple(notes)


def _cells(setting: Setting, row: str) -> list[Cell]:
    """One a class and seed."""
    is_image = row in POSE_FREE
    name = "omnipose" if row == "paper" else row
    options = ["paper"] if row == "paper" else []
    options += ["tiny"] if setting.tiny else []
    config = f"{name}:{','.join(options)}" if options else name
    found = []
    for scene in setting.scenes:
        leaves: dict[str, Any] = {"data.builder": setting.data, "data.name": scene}
        leaves |= {"eval_every": 0, "checkpoint.keep": 1}
        if is_image:
            leaves["max_seconds"] = POSE_FREE_SECONDS
        elif setting.data == "mad":
            leaves["data.size"] = 48 if setting.tiny else 400  # pixels, half of MAD's
        elif row == "paper" and not setting.tiny:
            leaves["data.size"] = 200  # pixels; the toys have no more
        for seed in setting.seeds:
            training = Training(f"{scene}/{row}/seed{seed}", config, leaves, seed)
            found.append(Cell(training, Scoring("test", {}), scene))
    return found
