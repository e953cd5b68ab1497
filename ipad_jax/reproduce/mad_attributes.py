"""What stands below the table of objects: PAD's numbers as printed, and what performance depends on.

PAD (arXiv 2310.07716), section 3.2: shape complexity is the number of triangles of an object, mapped to 0 to
100; colour contrast is sqrt(std(a)^2 + std(b)^2) of a picture in CIE Lab. Of MAD both are taken as printed.
Of the toys they are measured: triangles of boxes and of cylinders as prisms of 24 sides, the contrast on
the pixels of the object alone (PAD does not say how it scales it, nor what share the background has).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from ipad_jax.data_builders.mad.archive import SIM_CLASSES
from ipad_jax.data_builders.toys.animals import ANIMALS, build
from ipad_jax.data_builders.toys.cast import BOX, cast
from ipad_jax.data_builders.toys.write import ANGLE, DISTANCE, camera_grid, looking_at_origin
from ipad_jax.evaluation.report.plots import THEMED, Palette, style, to_svg
from ipad_jax.reproduce.collect import Folder, image_measures
from ipad_jax.reproduce.image_table import METHODS
from ipad_jax.reproduce.mad_table import published
from ipad_jax.reproduce.methods import TUNED_OBJECTS, Setting
from ipad_jax.reproduce.plan import Table
from ipad_jax.reproduce.table import NONE, Appendix, aligned

ATTRIBUTES = {"shape_complexity": "shape complexity", "colour_contrast": "colour contrast"}
NAMES = {**METHODS, "paper": "OmniposeAD"}  # of PAD's rows
LEVELS = {"image": "image_auroc", "pixel": "pixel_auroc"}
PRISM_SIDES = 24  # of a cylinder as triangles
VIEWS, VIEW_PX = 12, 64  # pictures of a toy whose colours are measured
FEWEST = 4  # objects of which a correlation is given
WRONG = (
    "As printed; some means do not follow from the rows, and both are given. CutPaste and OCR-GAN have one "
    "number, printed in the place of the pixel's; their public code has an image score alone, so it is most "
    "likely that. UniAD's code returns 1 - AUC where the AUC is below 0.5, so its lowest image value is 50.2."
)


@dataclass(frozen=True)
class Correlation:
    """Its estimate and 95 % interval, NaN where there is none, and over how many objects."""

    estimate: float
    low: float
    high: float
    count: int


Values = Mapping[str, Mapping[str, float]]  # of an object: level -> AUROC or NaN


def attributes_of(data: str, scenes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of each object, ATTRIBUTES -> number.

    Args: data "mad" or "toys". scenes: names of prepared objects; those of nobody's knowledge are left out.
    """
    if data == "mad":
        found, classes = published(), SIM_CLASSES
        return {
            scene: {name: found[name][classes.index(scene)] for name in ATTRIBUTES}
            for scene in scenes
            if scene in classes
        }
    names = {scene: scene.partition("_")[0] for scene in scenes}
    known = {scene: name for scene, name in names.items() if name in ANIMALS}
    counts = {scene: num_triangles(name) for scene, name in known.items()}
    low, high = (end(counts.values(), default=0) for end in (min, max))
    return {
        scene: {
            "shape_complexity": 100 * (counts[scene] - low) / max(1, high - low),
            "colour_contrast": toy_contrast(name),
        }
        for scene, name in known.items()
    }


def num_triangles(animal: str) -> int:
    """Triangles of a toy's solids."""
    box, cylinder = 12, 4 * PRISM_SIDES - 4
    return sum(box if solid.kind == BOX else cylinder for solid in build(animal).solids)


def toy_contrast(animal: str) -> float:
    """Mean over views of `colour_contrast` on the object's pixels."""
    grid = camera_grid()
    solids, focal_px = build(animal).solids, VIEW_PX / 2 / math.tan(ANGLE / 2)
    found = []
    for index in np.linspace(0, len(grid) - 1, VIEWS).round().astype(int):
        picture = cast(solids, looking_at_origin(grid[index] * DISTANCE), focal_px, VIEW_PX)
        found.append(colour_contrast(picture.image, np.all(picture.shown >= 0, axis=-1)))
    return float(np.mean(found))


def colour_contrast(image: np.ndarray, where: np.ndarray) -> float:
    """sqrt(std(a)^2 + std(b)^2) in CIE Lab of the pixels `where`, bool [h, w], of uint8 [h, w, 3]."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[where]
    return float(np.hypot(lab[:, 1].std(), lab[:, 2].std()))


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation:
    """Rank correlation with its 95 % interval (Bonett and Wright, 2000: Fisher's z); NaN below FEWEST pairs.

    Pairs with a NaN are left out.
    """
    both = np.array([x, y], float)
    a, b = both[:, np.isfinite(both).all(0)]
    nan = math.nan
    if len(a) < FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(nan, nan, nan, len(a))
    rho = float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
    if abs(rho) > 1 - 1e-12:
        return Correlation(rho, nan, nan, len(a))
    width = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(a) - 3))
    centre = math.atanh(rho)
    return Correlation(rho, math.tanh(centre - width), math.tanh(centre + width), len(a))


def correlations(attributes: Values, performance: Values) -> dict[tuple[str, str], Correlation]:
    """(attribute, level) -> Spearman's correlation over the objects that both have."""
    scenes = [scene for scene in attributes if scene in performance]
    return {
        (attribute, level): spearman(
            [attributes[s][attribute] for s in scenes],
            [performance[s].get(level, math.nan) for s in scenes],
        )
        for attribute in ATTRIBUTES
        for level in LEVELS
    }


def appendices_of(folder: Folder, table: Table, setting: Setting) -> tuple[Appendix, ...]:
    """PAD's table as printed, its correlations with the attributes, and those of what is there of ours."""
    found = published()
    own = {}
    for line in table.lines:
        by_scene = image_measures(folder, line)
        if by_scene and line.name != "constant":
            own[line.text] = {
                scene: {level: values[name] for level, name in LEVELS.items()}
                for scene, values in by_scene.items()
            }
    printed = {
        NAMES[name]: {
            scene: {level: row[level][i] for level in LEVELS if row[level]}
            for i, scene in enumerate(SIM_CLASSES)
        }
        for name, row in found["rows"].items()
    }
    of_pad = attributes_of("mad", SIM_CLASSES)
    of_own = attributes_of(setting.data, table.scenes)
    appendices = [
        Appendix("PAD's table 2 on MAD-Sim, as printed: image / pixel AUROC, %", _printed_lines()),
        _appendix("PAD's printed numbers and the attributes of MAD's classes", of_pad, printed),
    ]
    if own:
        what = "MAD's classes" if setting.data == "mad" else "these objects"
        appendices += [_own_table(own, table.scenes, of_own)]
        appendices += [
            _appendix(f"The numbers of this table and the attributes of {what}", of_own, own)
        ]
    return tuple(appendices)


def _printed_lines() -> tuple[str, ...]:
    found = published()
    rows = found["rows"]

    def pair(image: float | None, pixel: float | None) -> str:
        return " / ".join(NONE if v is None else f"{v:.1f}" for v in (image, pixel))

    grid = [["", *(NAMES[name] for name in rows)]]
    for i, name in enumerate(SIM_CLASSES):
        values = [pair(r["image"][i] if r["image"] else None, r["pixel"][i]) for r in rows.values()]
        grid.append([name, *values])
    means = [r["printed_mean"] for r in rows.values()]
    grid.append(["mean, printed", *(pair(m.get("image"), m["pixel"]) for m in means)])
    again = [
        pair(float(np.mean(r["image"])) if r["image"] else None, float(np.mean(r["pixel"])))
        for r in rows.values()
    ]
    grid.append(["mean of the rows", *again])
    return (*aligned(grid), "", WRONG)


def _own_table(own: Mapping[str, Values], scenes: Sequence[str], attributes: Values) -> Appendix:
    grid = [["image / pixel AUROC, %", *scenes]]
    for text, by_scene in own.items():
        cells = (by_scene.get(scene) for scene in scenes)
        grid.append([text, *(NONE if v is None else _pair(v) for v in cells)])
    for name, text in ATTRIBUTES.items():
        values = (attributes.get(scene) for scene in scenes)
        grid.append([text, *(NONE if v is None else f"{v[name]:.1f}" for v in values)])
    return Appendix("This table by object, and the objects' attributes", tuple(aligned(grid)))


def _pair(values: Mapping[str, float]) -> str:
    return " / ".join(
        f"{100 * v:.1f}" if math.isfinite(v) else NONE for v in (values[level] for level in LEVELS)
    )


def _appendix(title: str, attributes: Values, rows: Mapping[str, Values]) -> Appendix:
    """Spearman's correlations of each row, as lines and as a plot."""
    found = {text: correlations(attributes, by_scene) for text, by_scene in rows.items()}
    pairs = [(attribute, level) for attribute in ATTRIBUTES for level in LEVELS]
    head = [f"{ATTRIBUTES[a]}, {level}" for a, level in pairs]
    grid = [["Spearman's correlation (95 %)", *head]]
    grid += [[text, *(_text(values[pair]) for pair in pairs)] for text, values in found.items()]
    count = max(one.count for values in found.values() for one in values.values())
    lines = [*aligned(grid), "", "n: objects; intervals by Bonett and Wright (2000)."]
    if count < FEWEST:
        more = f"{count} objects are too few: {FEWEST} or more are needed. Name them with --scenes; of toys"
        more += f" there are {', '.join(ANIMALS)}, {' and '.join(TUNED_OBJECTS)} were tuned on."
        return Appendix(title, (more,))
    return Appendix(title, tuple(lines), to_svg(plot(found), f"attributes{len(title)}"))


def _text(found: Correlation) -> str:
    if not math.isfinite(found.estimate):
        return NONE
    ends = f"{found.low:+.2f} to {found.high:+.2f}, " if math.isfinite(found.low) else ""
    return f"{found.estimate:+.2f} ({ends}n {found.count})"


def plot(
    found: Mapping[str, Mapping[tuple[str, str], Correlation]], palette: Palette = THEMED
) -> Figure:
    """Correlations with their intervals, a row a method: image level above, pixel level below it."""
    height = 0.3 * len(found) + 0.75
    figure = Figure(figsize=(9.6, height))
    figure.patch.set_alpha(0)
    colours = {"image": palette.accent, "pixel": palette.fault}
    for place, (attribute, text) in enumerate(ATTRIBUTES.items()):
        axes = figure.add_axes((0.34 + 0.33 * place, 0.36 / height, 0.31, 1 - 0.75 / height))
        style(axes, palette)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=palette.grid, linewidth=0.6)
        axes.axvline(0, color=palette.muted, linewidth=0.8)
        for row, values in enumerate(list(found.values())[::-1]):
            for level, shift in (("image", 0.14), ("pixel", -0.14)):
                one = values[attribute, level]
                if not math.isfinite(one.estimate):
                    continue
                if math.isfinite(one.low):
                    ends, y = [one.low, one.high], [row + shift] * 2
                    axes.plot(ends, y, color=colours[level], linewidth=2.5, alpha=0.35)
                axes.plot([one.estimate], [row + shift], "o", color=colours[level], markersize=3.5)
        axes.set_xlim(-1, 1)
        axes.set_xticks([-0.5, 0, 0.5])
        axes.set_ylim(-0.6, len(found) - 0.4)
        names = [] if place else list(found)[::-1]
        axes.set_yticks(range(len(found)) if names else [], names, color=palette.ink)
        axes.set_title(text, fontsize=8.5, color=palette.ink, pad=4)
    for x, (level, colour) in zip((0.02, 0.12), colours.items()):
        figure.text(x, 0.1 / height, f"● {level}", fontsize=8, color=colour)
    return figure
