"""Which rows each table has, and what each of them trains: the one description that is run and printed.

Factory tables judge four machines with videos of data seed 1: Table 3 in the `real` look, the others in the
`synthetic` one, so that all of them fit into one night. The lift and the arm are out, since the score was
chosen on them (with other seeds) and the arm is the demo's machine; both only lend footage to Table 3's
pretraining on all devices.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from ipad_jax.data_builders.mad.archive import SIM_CLASSES
from ipad_jax.reproduce.plan import Cell, Comparison, Line, Scoring, Table, Training
from ipad_jax.reproduce.published import comparable, published, scenes
from ipad_jax.run.config import load_config
from ipad_jax.video.ipad import transfer

DEVICES = ("conveyor", "drill", "crane", "turntable")
PRETRAINING_ONLY = ("arm", "lift")
LOOKS = {2: "synthetic", 3: "real", 4: "synthetic"}  # judged on by default, by table
FACTORY_SCENES = tuple(f"{d}_{look}" for look in ("synthetic", "real") for d in DEVICES)
ARM_SCENES = ("arm_synthetic", "arm_real")  # only if asked for by name
DATA_SEED = 1  # of the factory's videos in the tables; 0 is the demo's, 101 was tuned on
SEEDS = (0, 1, 2)
TUNED_OBJECTS = ("hound", "duck")  # toys that choices were made on
# Judged by default in the table of objects.
CLASSES_OF_OBJECTS = {"toys": ("cat", "turtle", "camel"), "mad": SIM_CLASSES}
UNTRAINED = {
    "diff_mean": "frame difference, mean",
    "diff_pooled": "frame difference, locally pooled",
}
# Of the period error in the strict fusion: the config's, chosen on the tuning scenes.
PERIOD_WEIGHT = 0.3
# An ImageNet network whose features are compared beside our own score, in a row of its own.
FEATURES, FEATURES_WEIGHT = "efficientnet_lite0", 0.3  # the weight chosen on the tuning scenes
FEATURES_TEXT = "our full method, frozen ImageNet features"
# Switches of `eval` that our own score is also made without, and what a table prints.
SWITCHES = {
    "register": "our full method, the camera's shake left in",
    "track_phase": "our full method, phase of the period head alone",
}
# Of the min-max period error in protocol paper, where the paper is silent: our choice.
PAPER_PERIOD_WEIGHT = 1.0


@dataclass(frozen=True)
class Setting:
    """What a table is made on.

    Attributes:
      data: "factory", "ipad", "video_folder": own footage, which only Table 2 can be made on; "image";
        or, of objects, "toys" or "mad".
      scenes: judged on.
      seeds: of the trainings.
      protocol: "strict" or "paper".
      variant: of the prepared factory datasets, such as seed1.
      tiny: every config shrunk to a moment's work; the numbers then mean nothing.
      cycles: scenes of own footage whose cycle is known; our model is trained with the phase there.
    """

    data: str
    scenes: tuple[str, ...]
    seeds: tuple[int, ...] = SEEDS
    protocol: str = "strict"
    variant: str = f"seed{DATA_SEED}"
    tiny: bool = False
    cycles: frozenset[str] = frozenset()

    @property
    def is_of_images(self) -> bool:
        """Whether single images are judged, in place of frames of videos."""
        return self.data in ("image", *CLASSES_OF_OBJECTS)

    @property
    def shared(self) -> dict[str, Any]:
        """Leaves that all trainings of the table share."""
        leaves: dict[str, Any] = {"eval_every": 0, "checkpoint.keep": 1}
        if self.data == "factory":
            leaves["data.variant"] = self.variant
        if self.protocol == "paper":
            leaves["data.holdout_share"] = 0.0  # the paper trains on every folder
        return leaves

    def spec(self, config: str, scene: str = "") -> str:
        """FILE[:arg] of a config at this setting's size, on one of its scenes."""
        options = []
        if self.data != "ipad" and config != self.data:
            options.append(self.data)
        if self.data == "ipad" and self.protocol == "paper":
            options.append("paper")
        if config == "video_folder" and scene in self.cycles:
            options.append("cycle")
        options += ["tiny"] if self.tiny else []
        return f"{config}:{','.join(options)}" if options else config

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Scenes of each look, where both are there, and all of them."""
        if self.data == "video_folder":
            return {"mean": self.scenes}
        real = tuple(s for s in self.scenes if s.startswith("R") or s.endswith("_real"))
        synthetic = tuple(s for s in self.scenes if s not in real)
        both = {"synthetic": synthetic, "real": real} if real and synthetic else {}
        return {**both, "mean": self.scenes}


def default_scenes(data: str, number: int | str) -> tuple[str, ...]:
    """Scenes that a table judges: the paper's, the factory's in the table's look, none of one's own."""
    if data == "ipad":
        return tuple(transfer.IPAD.twins) if number == 3 else scenes()
    if data in CLASSES_OF_OBJECTS:
        return CLASSES_OF_OBJECTS[data]
    if data in ("video_folder", "image") or isinstance(number, str):
        return ()
    return tuple(f"{device}_{LOOKS[number]}" for device in DEVICES)


@dataclass(frozen=True)
class Method:
    """A model to train.

    Attributes:
      name: of its folders.
      text: what a table prints.
      config: name of the file in configs/.
      overrides: leaves that differ from it.
      components: of the score by protocol strict; empty = as its config says.
      period_weight: of the period error in protocol paper.
    """

    name: str
    text: str
    config: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    components: Mapping[str, float] = field(default_factory=dict)
    period_weight: float = 0.0


NO_PERIOD = {"model.period_head": "none", "loss.period_weight": 0.0}
PSNR, PERIOD = {"psnr_mean": 1.0}, {"period_error": PERIOD_WEIGHT}


def ours(setting: Setting, *, memory: bool | None = None, period: bool = True) -> Method:
    """Our encoder and decoder with memory and phase on or off; by default as the config has them.

    What equals the config is the method "ours", so that one training serves all rows and tables. Without
    both parts it is V-Swin-T, one of the baselines.
    """
    has_memory = bool(_config(setting.spec(setting.data)).model.use_memory)
    overrides: dict[str, Any] = {} if period else dict(NO_PERIOD)
    name = [] if period else ["without_period"]
    if memory is not None and memory != has_memory:
        overrides["model.use_memory"] = memory
        name.append("with_memory" if memory else "without_memory")
    return Method(
        "_".join(name) or "ours", "", setting.data, overrides
    )  # configs/ has one a kind of data


@functools.cache
def _config(spec: str) -> ConfigDict:
    return load_config(spec)


BASELINES = (
    Method("conae", "conAE", "conae"),
    Method("memae", "memAE", "memae"),
    Method("astnet", "ASTNet", "astnet"),
    Method("dmad", "DMAD", "dmad"),
    Method("vswint", "V-Swin-T", "vswint"),
    Method("convlstm", "ConvLSTM autoencoder", "convlstm"),
)


def scoring(setting: Setting, name: str, components: Mapping[str, float], period: float) -> Scoring:
    """A way of scoring: components by protocol strict, the period error's weight by protocol paper."""
    leaves: dict[str, Any] = {"protocol": setting.protocol}
    if setting.protocol == "paper":
        leaves |= {"stride": 1, "spacing": 1, "paper_period_weight": period}
    elif components:
        leaves["components"] = dict(components)
    return Scoring(f"{setting.protocol}_{name}", leaves)


def with_features(setting: Setting) -> Scoring:
    """Our own score with the distance to prototypes of frozen ImageNet features added."""
    own = _config(setting.spec(setting.data)).eval.components
    added = dict(own) | {"features": FEATURES_WEIGHT}
    leaves = {"protocol": setting.protocol, "features": FEATURES, "components": added}
    return Scoring(f"{setting.protocol}_own_features", leaves)


def without(setting: Setting, leaf: str) -> Scoring:
    """Our own score with a switch of `eval` off."""
    leaves = {"protocol": setting.protocol, leaf: False}
    return Scoring(f"{setting.protocol}_own_without_{leaf}", leaves)


def train(setting: Setting, method: Method, scene: str, seed: int) -> Training:
    """A method's training on one scene."""
    overrides = {"data.name": scene, **setting.shared, **method.overrides}
    folder = f"{scene}/{method.name}/seed{seed}"
    return Training(folder, setting.spec(method.config, scene), overrides, seed)


def line(
    setting: Setting,
    name: str,
    text: str,
    method: Method,
    way: Scoring,
    numbers: Mapping[str, Mapping[str, float]],
) -> Line:
    """A row: one method, one way of scoring, all scenes and seeds."""
    cells = tuple(
        Cell(train(setting, method, scene, seed), way, scene)
        for scene in setting.scenes
        for seed in setting.seeds
    )
    return Line(name, text, cells, published=numbers.get(name, {}))


def untrained(lines: Sequence[Line]) -> list[Line]:
    """The rows that need no training, from whatever cell of a scene is there."""
    cells = tuple(cell for line in lines for cell in line.cells)
    return [
        Line(
            name,
            f"{text} (no training)",
            tuple(dataclasses.replace(cell, column=name) for cell in cells),
            column=name,
        )
        for name, text in UNTRAINED.items()
    ]


def table2(setting: Setting) -> Table:
    """Methods against each other (paper, Table 2)."""
    numbers = {} if setting.data == "video_folder" else published(2)
    lines = [
        line(setting, m.name, m.text, m, scoring(setting, "own", {}, 0.0), numbers)
        for m in BASELINES
    ]
    paper = scoring(setting, "psnr_period", PSNR | PERIOD, PAPER_PERIOD_WEIGHT)
    lines.append(
        line(
            setting, "ipad", "IPAD, the paper's method", ours(setting, memory=True), paper, numbers
        )
    )
    if setting.protocol == "strict":  # what it adds is no part of protocol paper
        full = scoring(setting, "own", {}, 0.0)
        lines.append(line(setting, "ours", "our full method", ours(setting), full, numbers))
    lines += untrained(lines)
    best = "ours" if setting.protocol == "strict" else "ipad"
    pairs = [(best, other.name) for other in lines if other.name != best]
    pairs += [("ipad", m.name) for m in BASELINES if best != "ipad"]
    texts = {entry.name: entry.text for entry in lines}
    comparisons = tuple(Comparison(a, b, f"{texts[a]} above {texts[b]}") for a, b in pairs)
    return _table(setting, 2, "Table 2: methods", best, lines, comparisons)


def table4(setting: Setting) -> Table:
    """What reconstruction, period, window and memory each add (paper, Table 4), on and off."""
    numbers = published(4)
    both, head = ours(setting, memory=True), ours(setting, memory=False)
    memory = ours(setting, memory=True, period=False)
    plain = next(method for method in BASELINES if method.name == "vswint")

    def add(name: str, text: str, method: Method, components: dict, period: float = 0.0) -> Line:
        # a scoring is named by what it adds up, so that rows and tables share it
        way = "_".join(components).replace("psnr_mean", "psnr").replace("period_error", "period")
        return line(setting, name, text, method, scoring(setting, way, components, period), numbers)

    weight = PAPER_PERIOD_WEIGHT
    strict = setting.protocol == "strict"
    lines = []
    if strict:  # protocol paper always has the reconstruction
        lines += [add("period_only", "period error alone (window, memory)", both, PERIOD)]
    lines += [
        add("reconstruction_only", "reconstruction alone", plain, PSNR),
        add("memory_without_window", "reconstruction, memory; no window", both, PSNR),
        add("window_without_memory", "reconstruction, window; no memory", head, PSNR | PERIOD, weight),
        add("full", "reconstruction, window, memory", both, PSNR | PERIOD, weight),
        add("memory_without_period", "reconstruction, memory without phase", memory, PSNR),
        add("head_only", "reconstruction, period head only in the loss", head, PSNR),
    ]  # fmt: skip
    if strict:
        pooled, nearest = {"pooled_mean": 1.0}, {"nearest": 1.0}
        lines += [
            add("full_pooled", "full, error locally pooled", both, pooled | PERIOD),
            add("nearest_memory", "nearest normal frame, window, memory", both, nearest | PERIOD),
            add("nearest", "nearest normal frame, window; no memory", head, nearest | PERIOD),
            add("nearest_only", "nearest normal frame; no window, no memory", head, nearest),
        ]
        own = scoring(setting, "own", {}, 0.0)
        seen = with_features(setting)
        lines += [
            line(setting, "ours", "our full method", ours(setting), own, numbers),
            line(setting, "ours_features", FEATURES_TEXT, ours(setting), seen, numbers),
            *(
                line(
                    setting, f"ours_without_{leaf}", text, ours(setting), without(setting, leaf), {}
                )
                for leaf, text in SWITCHES.items()
            ),
        ]
    lines += untrained(lines)
    differences = [
        ("full", "period_only", "reconstruction"),
        ("full", "reconstruction_only", "period (head, memory and window together)"),
        ("full", "memory_without_window", "window"),
        ("full", "window_without_memory", "memory"),
        ("memory_without_window", "memory_without_period", "phase in the memory"),
        ("head_only", "reconstruction_only", "period head as a second loss"),
        ("full_pooled", "full", "local pooling"),
        ("nearest", "window_without_memory", "nearest normal frame in place of reconstruction"),
        ("nearest", "nearest_only", "window, beside the nearest normal frame"),
        ("nearest_memory", "nearest", "memory, beside the nearest normal frame"),
        ("ours", "nearest", "motion over several lags"),
        ("ours", "ours_without_register", "taking out the camera's shake"),
        ("ours", "ours_without_track_phase", "phase tracking"),
        ("ours_features", "ours", "frozen ImageNet features"),
    ]
    there = {entry.name for entry in lines}
    comparisons = tuple(
        Comparison(a, b, f"{text} adds") for a, b, text in differences if {a, b} <= there
    )
    return _table(setting, 4, "Table 4: what each part adds", "full", lines, comparisons)


def table3(setting: Setting) -> tuple[Table, list[Training]]:
    """From synthetic footage to real machines (paper, Table 3); also the trainings others start from."""
    pairs = transfer.IPAD if setting.data == "ipad" else transfer.factory(DEVICES, PRETRAINING_ONLY)
    real = tuple(scene for scene in setting.scenes if scene in pairs.twins)
    if not real:
        raise ValueError(
            f"table 3 is judged on real scenes; of {', '.join(pairs.twins)} none is in --scenes."
        )
    setting = dataclasses.replace(setting, scenes=real)
    way = scoring(setting, "transfer", transfer.COMPONENTS, 0.0)
    before: dict[str, Training] = {}
    lines = []
    for row in transfer.ROWS:
        cells = []
        for scene in real:
            for seed in setting.seeds:
                plan = transfer.plan(row, pairs, scene)
                if plan.pretraining is not None:
                    start = transferred(setting, plan.pretraining, seed)
                    before[start.folder] = start
                cells.append(Cell(transferred(setting, plan.run, seed), way, scene))
        lines.append(Line(row.name, row.text, tuple(cells), published=dict(row.paper_auc)))
    lines += untrained(lines)
    names = [row.name for row in transfer.ROWS]
    differences = [(name, "real") for name in names[1:]]
    differences += list(
        zip(names[5:], names[4:])
    )  # adapters for full, twins for twin, all for twins
    texts = {entry.name: entry.text for entry in lines}
    comparisons = tuple(Comparison(a, b, f"{texts[a]} above {texts[b]}") for a, b in differences)
    title = "Table 3: from synthetic footage to real"
    table = _table(setting, 3, title, "real", lines, comparisons)
    paper = "; ".join(
        f"{row.text}: {row.paper_parameters:g}M, {row.paper_minutes:g} min" for row in transfer.ROWS
    )
    note = f"Trained parameters and time in the paper, on a GPU it does not name: {paper}."
    return dataclasses.replace(table, notes=(*table.notes, note)), list(before.values())


def transferred(setting: Setting, run: transfer.Run, seed: int) -> Training:
    """A run of Table 3 as a training; its budget grows with its footage, as the paper's epochs do."""

    def folder(name: str) -> str:
        return f"transfer/{name}/seed{seed}"

    overrides = {**setting.shared, **run.overrides()}
    del overrides["init_from"]  # a place, which `start` stands for
    start = folder(run.init_from) if run.init_from else ""
    footage = len(run.scenes) * run.share
    config = setting.spec("ipad_adapter")
    return Training(folder(run.name), config, overrides, seed, start, footage)


def make_table(number: int, setting: Setting) -> tuple[Table, list[Training]]:
    """The paper's table of a number, and trainings that only others start from.

    Raises:
      ValueError: no such table, or a scene that it cannot be made on.
    """
    if setting.data == "video_folder":
        if number != 2 or not setting.scenes:
            raise ValueError(
                f"--table {number} --scenes {' '.join(setting.scenes)}: on own footage take table 2 "
                "with the names given to `ipad-jax prepare video_folder --name` as --scenes."
            )
        return table2(setting), []
    if setting.data == "factory" and (bad := [s for s in setting.scenes if s.startswith("lift")]):
        raise ValueError(f"{', '.join(bad)}: the lift was tuned on, so no table judges it.")
    known = scenes() if setting.data == "ipad" else (*FACTORY_SCENES, *ARM_SCENES)
    if bad := [s for s in setting.scenes if s not in known]:
        raise ValueError(
            f"{setting.data} has no scene {', '.join(bad)}; choose from {', '.join(known)}."
        )
    if number == 3:
        return table3(setting)
    makers = {2: table2, 4: table4}
    if number not in makers:
        raise ValueError(f"--table {number}: choose 2, 3 or 4.")
    return makers[number](setting), []


def _table(
    setting: Setting,
    number: int,
    title: str,
    main: str,
    lines: Sequence[Line],
    comparisons: tuple[Comparison, ...],
) -> Table:
    """With what all tables share."""
    where = {"ipad": "IPAD", "factory": "rendered factory machines", "video_folder": "own footage"}
    notes = []
    if setting.data == "factory":
        notes.append(
            "The paper's numbers are from IPAD, which nobody here has: they show its order, not a target."
        )
    if setting.tiny:
        notes.append("Tiny models on tiny pictures: these numbers mean nothing.")
    if setting.data == "ipad":
        lines = [
            dataclasses.replace(e, published=comparable(number, e.published, setting.groups))
            for e in lines
        ]
    return Table(
        number,
        f"{title}, {where[setting.data]}",
        setting.scenes,
        setting.groups,
        tuple(lines),
        comparisons,
        setting.protocol,
        main,
        tuple(notes),
    )
