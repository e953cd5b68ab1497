"""The paper's numbers, as printed: what a reproduced table stands beside.

Tables 2 and 4 are in published.json; Table 3's stand with its rows in video/ipad/transfer.py. All are frame
AUCs in percent on IPAD; beside numbers of another dataset they only say what the paper's order was.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ipad_jax.video.ipad import transfer


def published(table: int) -> dict[str, dict[str, float]]:
    """Row -> {scene, "mean", "synthetic" or "real" -> frame AUC in percent}; what was not printed is absent.

    Args:
      table: 2, 3 or 4 of the paper.
    """
    if table == 3:
        return {row.name: dict(row.paper_auc) for row in transfer.ROWS}
    content = _content()
    if table == 4:
        return {name: dict(values) for name, values in content["table4"]["rows"].items()}
    scenes, means = content["table2"]["scenes"], content["table2"]["mean"]
    return {
        name: {**dict(zip(scenes, values, strict=True)), "mean": means[name]}
        for name, values in content["table2"]["rows"].items()
    }


def scenes() -> tuple[str, ...]:
    """The sixteen scenes in the order of Table 2."""
    return tuple(_content()["table2"]["scenes"])


def comparable(
    table: int, row: Mapping[str, float], groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """A row's numbers without the paper's means over other scenes than those of `groups`.

    Args:
      table: 2, 3 or 4 of the paper.
      row: as `published` gives it.
      groups: name of a mean -> the scenes that it is to stand beside.
    """
    synthetic, real = ({s for s in scenes() if s.startswith(look)} for look in "SR")
    means = {
        2: {"mean": synthetic | real},
        3: {"mean": real},
        4: {"synthetic": synthetic, "real": real},
    }
    of_others = {name for name, of in means[table].items() if set(groups.get(name, ())) != of}
    return {name: value for name, value in row.items() if name not in of_others}


def _content() -> Mapping[str, Any]:
    return json.loads(files("ipad_jax.reproduce").joinpath("published.json").read_text())
