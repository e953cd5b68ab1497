"""The table of image methods: rows, and what each of them trains, on any prepared sets of images.

Every method trains as long, by `max_seconds`; those without steps are fitted once. Nothing is chosen: the
last step is judged, by the config's own scoring. The untrained rows are judged on the same images.
"""

import dataclasses
from collections.abc import Sequence

from ipad_jax.image.untrained import ROWS as UNTRAINED
from ipad_jax.reproduce.image_cells import MEASURES
from ipad_jax.reproduce.methods import Setting
from ipad_jax.reproduce.plan import Cell, Comparison, Line, Scoring, Table, Training, Words

NAME = "image"
PARTS = ("plate", "cloth")  # rendered sets, of the builder `parts`
METHODS = {
    "bank": "bank of frozen features (ours)",
    "pca": "PCA residual of frozen features",
    "patchcore": "PatchCore",
    "stfpm": "STFPM",
    "fastflow": "FastFlow",
    "cflow": "CFlow",
    "cfa": "CFA",
    "cutpaste": "CutPaste",
    "draem": "DRAEM",
    "favae": "FAVAE",
    "ocrgan": "OCR-GAN",
    "uniad": "UniAD",
    "autoencoder": "convolutional autoencoder",
}
MAIN = "bank"
WORDS = Words("image AUROC", "image", "set", "defect", MEASURES)


def image_table(setting: Setting) -> Table:
    """Methods x sets x seeds.

    Raises:
      ValueError: no set was named.
    """
    if not setting.scenes:
        raise ValueError(f"--table {NAME} needs sets: --data NAME[,NAME], as given to prepare.")
    lines = [
        Line(name, text, tuple(_cells(setting, name)), published={})
        for name, text in METHODS.items()
    ]
    every = tuple(cell for line in lines for cell in line.cells)
    for name, text in UNTRAINED.items():
        cells = tuple(dataclasses.replace(cell, column=name) for cell in every)
        lines.append(Line(name, f"{text} (no training)", cells, column=name))
    texts = {line.name: line.text for line in lines}
    others = [name for name in texts if name != MAIN]
    comparisons = [Comparison(MAIN, n, f"{texts[MAIN]} above {texts[n]}") for n in others]
    notes = [
        "Networks are those that fit two cores (EfficientNet-Lite0, narrow generators), not the published "
        "ones: the order of methods says nothing about these at their published size.",
        "PatchCore is fitted on every good image, the others on four fifths: the rest sets their threshold.",
    ]
    if setting.tiny:
        notes.append("Tiny models on tiny pictures: these numbers mean nothing.")
    return Table(
        NAME,
        "Image methods",
        setting.scenes,
        {"mean": setting.scenes},
        tuple(lines),
        tuple(comparisons),
        setting.protocol,
        MAIN,
        tuple(notes),
        WORDS,
    )


def _cells(setting: Setting, method: str) -> list[Cell]:
    """One a set and seed."""
    found = []
    for name in setting.scenes:
        options = ["parts"] if name in PARTS else []
        options += ["tiny"] if setting.tiny else []
        config = f"{method}:{','.join(options)}" if options else method
        overrides = {"data.name": name, "eval_every": 0, "checkpoint.keep": 1}
        for seed in setting.seeds:
            training = Training(f"{name}/{method}/seed{seed}", config, overrides, seed)
            found.append(Cell(training, Scoring("test", {}), name))
    return found


def sets_of(names: str) -> Sequence[str]:
    """bottle,hazelnut -> the names."""
    return tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
