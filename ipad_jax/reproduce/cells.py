"""Running a table's trainings and cells in a folder, each once; what is complete is left alone.

    ROOT/<scene>/<method>/seed<N>/               a run folder, and training.json once it is trained
    ROOT/<scene>/<method>/seed<N>/eval/<way>/    a cell: metrics.json, judged.npz, and cell.json last

Folders of several machines merge by copying. A cell counts as complete if its cell.json is there and
describes what is asked for now; printing a table needs nothing but the small files of the cells.
"""

import gc
import io
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.evaluation.paired import Judgement
from ipad_jax.input.frames import dataset_dir, open_source
from ipad_jax.reproduce import image_cells, video_cells
from ipad_jax.reproduce.plan import Budget, Cell, Job, Training
from ipad_jax.run.config import FREE_LEAVES, leaves, load_config, read_config, save_config
from ipad_jax.run.files import write_atomic
from ipad_jax.run.stopwatch import INTERRUPTED
from ipad_jax.training.loop import train
from ipad_jax.training.task import family_of, make_task
from ipad_jax.video.detector.predictor import scene_cycle
from ipad_jax.video.ipad.model import num_parameters
from ipad_jax.video.scores.frame_scores import FORMAT as SCORES_FORMAT

FORMAT = 1
TRAINING, CELL, JUDGED = "training.json", "cell.json", "judged.npz"
MANY_STEPS = 10_000_000  # a training that ends by the clock
# Leaves that do not say what a training is; its seconds do.
NEVER_WHAT = {*FREE_LEAVES, "init_from"} - {"max_seconds"}


class InterruptedRunError(Exception):
    """A training was told to stop; it is saved, and the same command goes on."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.status = INTERRUPTED[reason]


def training_config(
    root: str | os.PathLike[str], training: Training, budget: Budget, data_dir: str
) -> ConfigDict:
    """The config of a training, places and budget included.

    Raises:
      FileNotFoundError: configs/ has no such file.
      ValueError: the config lacks a leaf that the table sets.
    """
    overrides = dict(training.overrides) | {"seed": training.seed, "data.data_dir": data_dir}
    if training.start:
        overrides["init_from"] = str(epath.Path(root) / training.start)
    config = load_config(training.config, overrides)
    own = budget.scaled(training.footage)
    with config.unlocked():
        if own.steps:
            config.total_steps, config.max_seconds = own.steps, 0.0
        elif own.seconds:
            config.max_seconds = own.seconds
            # a schedule that depends on the number of steps keeps its number, and may end by it
            if config.optim.schedule == "constant":
                config.total_steps = MANY_STEPS
    return config


def describe(config: ConfigDict) -> dict[str, Any]:
    """What a training is, and how it is judged: its config without places, machines and intervals."""
    return {name: value for name, value in leaves(config).items() if name not in NEVER_WHAT}


def missing_data(
    jobs: Sequence[Job], configs: Mapping[str, ConfigDict]
) -> list[tuple[list[str], list[str]]]:
    """The datasets that jobs need and that are not there, those to train on and those to judge.

    Args:
      jobs: trainings and their cells.
      configs: of each training, by its folder.

    Returns:
      (arguments of `ipad-jax prepare` without the scenes, scenes), one entry a kind of dataset.
    """
    scenes: dict[tuple[str, ...], dict[str, None]] = {}
    for job in jobs:
        config = configs[job.training.folder]
        data = config.data
        if _is_image(config):
            if words := image_cells.missing(config):
                scenes.setdefault(tuple(words), {})[data.name] = None
            continue
        words = prepare_words(data)
        for scene in (*data.name.split("+"), *(cell.scene for cell in job.cells)):
            if not place_of(data, scene).exists():
                scenes.setdefault(tuple(words), {})[scene] = None
    return [(list(words), list(found)) for words, found in scenes.items()]


def _is_image(config: ConfigDict) -> bool:
    """Whether single images are judged."""
    return family_of(config) in ("image", "pose")


def prepare_words(data: ConfigDict) -> list[str]:
    """What `ipad-jax prepare` needs for the footage of a config's `data` section, without the scenes."""
    size = data.size
    sides = str(size) if isinstance(size, int) else f"{size[1]}x{size[0]}"
    words = [data.builder, "--size", sides]
    if data.variant.startswith("seed"):
        words += ["--seed", data.variant.removeprefix("seed")]
    return words + (["--data-dir", data.data_dir] if data.data_dir else [])


def place_of(data: ConfigDict, scene: str) -> epath.Path:
    """Folder of a scene's dataset, prepared as a config's `data` section says."""
    return dataset_dir(data.data_dir, data.builder, scene, data.size, data.quality, data.variant)


def scenes_with_cycle(
    root: str | os.PathLike[str], config: ConfigDict, scenes: Sequence[str]
) -> frozenset[str]:
    """Those of some scenes whose cycle is known: as prepared, or as trained where the dataset is elsewhere.

    Args:
      root: folder of the tables.
      config: whose `data` section says where the datasets are.
      scenes: to choose from.
    """

    def has_cycle(scene: str) -> bool:
        if (place := place_of(config.data, scene)).exists():
            return scene_cycle(open_source(place, "train")) is not None
        trained = [_read(path) for path in (epath.Path(root) / scene).glob(f"*/*/{TRAINING}")]
        heads = [found["config"].get("model.period_head", "none") for found in trained if found]
        return any(head != "none" for head in heads)

    return frozenset(filter(has_cycle, scenes))


def is_trained(root: str | os.PathLike[str], training: Training, config: ConfigDict) -> bool:
    """Whether a run folder holds this training, finished.

    Raises:
      ValueError: the folder holds another training; names what differs.
    """
    found = _read(epath.Path(root) / training.folder / TRAINING)
    return bool(found) and _check_same(found["config"], config, training.folder)


def is_complete(root: str | os.PathLike[str], cell: Cell, config: ConfigDict) -> bool:
    """Whether a cell is there, whole, and made as asked for now.

    Raises:
      ValueError: it was made with another config; names what differs.
    """
    folder = epath.Path(root) / cell.folder
    found = _read(folder / CELL)
    if not found or not all((folder / name).exists() for name in ("metrics.json", JUDGED)):
        return False
    # Scored in another way under this name, by other code, or with other leaves of `eval`, also with one
    # that only one of the two has: judging again is cheap.
    if found["scoring"] != cell.scoring.leaves or found.get("scores_format") != SCORES_FORMAT:
        return False
    if _of_eval(found["config"]) != _of_eval(describe(config)):
        return False
    return _check_same(found["config"], config, cell.folder)


def _of_eval(found: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves of the `eval` section."""
    return {name: value for name, value in found.items() if name.startswith("eval.")}


def _check_same(was: Mapping[str, Any], config: ConfigDict, where: str) -> bool:
    """True if what was trained is what is asked for; how it is judged does not count.

    Leaves that only one of the two has are not compared: a leaf that came after the training must by default
    train as before, and nothing here can tell whether it does.
    """
    now = describe(config)
    different = {
        name: (was[name], now[name])
        for name in sorted(was.keys() & now.keys() - _of_eval(now).keys())
        if was[name] != now[name]
    }
    if different:
        lines = [f"  {name}: {a!r} there, {b!r} asked for" for name, (a, b) in different.items()]
        raise ValueError(
            f"{where} was made with another config:\n"
            + "\n".join(lines)
            + "\nTake another --workdir, or move that folder away."
        )
    return True


def run_job(
    root: str | os.PathLike[str],
    job: Job,
    config: ConfigDict,
    say: Callable[[str], None] = print,
) -> None:
    """Trains a job's model if it is not trained, and judges it in all ways that are not there yet.

    Args:
      root: folder of the tables.
      job: the training and its cells.
      config: of the training, see `training_config`.
      say: told what is done, in lines.

    Raises:
      InterruptedRunError: SIGTERM or Ctrl-C; the run is saved.
    """
    workdir = epath.Path(root) / job.training.folder
    if not is_trained(root, job.training, config):
        _find_start(workdir, job.training.start, config)
        start = time.perf_counter()
        summary = train(config, str(workdir))
        if summary.reason in INTERRUPTED:
            raise InterruptedRunError(summary.reason)
        fitting = image_cells.fit_seconds(workdir) if _is_image(config) else 0.0
        facts = {
            "format": FORMAT,
            "config": describe(config),
            "steps": summary.step,
            "train_seconds": summary.train_seconds or fitting,
            "wall_seconds": time.perf_counter() - start,  # of the last start, compiling included
            **sizes(config),
        }
        write_atomic(workdir / TRAINING, (json.dumps(facts, indent=2) + "\n").encode())
    todo = [cell for cell in job.cells if not is_complete(root, cell, config)]
    if todo:
        save_config(workdir, config)  # `eval` as it is now
    for cell in todo:
        say(f"  judging {cell.folder}")
        start = time.perf_counter()
        if _is_image(config):
            arrays = image_cells.judge(workdir, cell)
        else:
            steps = _read(workdir / TRAINING).get("steps")
            arrays = video_cells.arrays_of(video_cells.judge(root, job, cell, config, steps))
        _keep(epath.Path(root) / cell.folder, arrays, cell, config, time.perf_counter() - start)
    gc.collect()
    jax.clear_caches()  # of hundreds of models, one is needed at a time


def _find_start(workdir: epath.Path, start: str, config: ConfigDict) -> None:
    """Tells a half-trained run where what it starts from lies now.

    The root may have been moved, or be given relative now and absolute before; another start is left to
    `train`, which refuses it.
    """
    if not start or not (workdir / "config.json").exists():
        return
    stored = read_config(workdir)
    if f"/{stored.init_from}".endswith(f"/{start}"):
        stored.init_from = config.init_from
        save_config(workdir, stored)


def _keep(
    folder: epath.Path,
    arrays: Mapping[str, np.ndarray],
    cell: Cell,
    config: ConfigDict,
    seconds: float,
) -> None:
    """Writes judged.npz, then cell.json."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy names allow_pickle first
    write_atomic(folder / JUDGED, buffer.getvalue())
    content = {
        "format": FORMAT,
        "scores_format": SCORES_FORMAT,
        "config": describe(config),
        "scoring": dict(cell.scoring.leaves),
        "scene": cell.scene,
        "judging_seconds": seconds,
    }
    write_atomic(folder / CELL, (json.dumps(content, indent=2) + "\n").encode())


def load_judgement(root: str | os.PathLike[str], cell: Cell) -> Judgement:
    """What a complete cell says of each frame, in its column; frames that lack a value are left out.

    Raises:
      ValueError: the file was not copied whole, or lacks the column; says how to judge it again.
    """
    path = epath.Path(root) / cell.folder / JUDGED
    again = f"delete {CELL} beside it and run the same command to judge it again"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); {again}.") from error
    if cell.column not in arrays:
        raise ValueError(f"{path} has no column {cell.column}; {again}.")
    score = arrays[cell.column].astype(np.float64)
    judgement = Judgement(
        score, arrays["label"], arrays["video"], arrays["frame"], arrays.get("kind")
    )
    return judgement.select(np.isfinite(score))


def load_facts(root: str | os.PathLike[str], cell: Cell) -> dict[str, Any]:
    """metrics.json of a complete cell, and what is known of its training."""
    folder = epath.Path(root)
    metrics = json.loads((folder / cell.folder / "metrics.json").read_text())
    training = _read(folder / cell.training.folder / TRAINING)
    return {"metrics": metrics, "training": training, "cell": _read(folder / cell.folder / CELL)}


def sizes(config: ConfigDict) -> dict[str, int]:
    """Parameters of a config's model, and those that are trained."""
    task = make_task(config)
    model = nnx.eval_shape(lambda: task.init_model(jax.random.key(0)))
    trainable = jax.tree.leaves(nnx.state(model, task.trainable))
    return {
        "parameters": num_parameters(model),
        "trainable": sum(leaf.size for leaf in trainable),
    }


def _read(path: epath.Path) -> dict[str, Any]:
    """A JSON object; {} if it is not there, not whole, or of another version."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}
