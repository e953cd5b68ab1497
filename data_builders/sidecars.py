"""Files beside the frames that say more than IPAD does: scene.json and annotations/<NN>.npz."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np


def read_description(path: Path) -> dict[str, Any]:
    """scene.json: fps, kinds, cycle_frames and whatever else was written; {} where there is none.

    Raises: ValueError saying what is wrong, without the file's name.
    """
    if not path.is_file():
        return {}
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"is no JSON ({error}); repair or remove it") from error
    if not isinstance(description, dict):
        raise ValueError(f"holds a {type(description).__name__}; expected an object")
    kinds = description.get("kinds", ["normal"])
    if not isinstance(kinds, list) or kinds[:1] != ["normal"]:
        raise ValueError(f'"kinds" is {kinds!r}; expected a list that begins with "normal"')
    for name in ("fps", "cycle_frames"):
        value = description.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value) and value > 0):
            raise ValueError(f'"{name}" is {value!r}; expected a number above 0, without quotes')
    return description


def read_annotations(
    path: Path, n: int, num_kinds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """phase float32, cycle int32 and kind int8, [n] each, of one folder.

    Raises: ValueError saying what is wrong, without the file's name.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            phase = np.asarray(arrays["phase"], np.float32)
            cycle = np.asarray(arrays["cycle"], np.int32)
            kind = np.asarray(arrays["kind"], np.int8)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(f"cannot be read ({error}); expected phase, cycle, kind") from error
    for name, array in (("phase", phase), ("cycle", cycle), ("kind", kind)):
        if array.shape != (n,):
            raise ValueError(f"{name} has shape {array.shape}; expected ({n},), one a frame")
    if not (np.isnan(phase) | ((phase >= 0) & (phase < 1))).all():
        raise ValueError("phase leaves [0, 1)")
    if n and (kind.min() < -1 or kind.max() >= num_kinds):
        raise ValueError(f"kind {kind.min()}..{kind.max()}; scene.json names {num_kinds} kinds")
    return phase, cycle, kind
