"""Config files: found by path or bare name, overridden on the command line, kept in the run folder."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from ipad_jax import configs
from ipad_jax.run.files import absolute, write_atomic

CONFIGS = Path(configs.__file__).parent

# Leaves that say how far, how often, where and how fast, never what is learned or what a score is. They may
# change between runs of one folder and are not part of `config_hash`.
FREE_LEAVES = (
    "log_every",
    "checkpoint_every",
    "eval_every",
    "eval_batches",
    "max_seconds",
    "num_workers",
    "num_devices",
    "fsdp",
    "fsdp_min_bytes",
    "model.remat",
    "data.data_dir",
    "data.cache_mb",
    "eval.batch_size",
    "checkpoint.keep",
)
# The rest of eval says how a run is judged: it may change between runs of one folder, and every evaluation
# says with what it was made; but two results of other values are not the same experiment.
JUDGED_BY = "eval."
FINGERPRINT = "data.fingerprint"


def config_path(spec: str) -> str:
    """`FILE[:arg]` with FILE found: as given, else in the clone's configs/ by bare name.

    Raises:
      FileNotFoundError: neither exists; names the configs there are.
    """
    name, colon, arg = spec.partition(":")
    for path in (Path(name), CONFIGS / name, CONFIGS / f"{name}.py", CONFIGS.parent / name):
        if path.is_file() and path.suffix != ".py":
            raise ValueError(f"{path} is no config: take a .py file with get_config(arg=None).")
        if path.is_file():
            return f"{path.resolve()}{colon}{arg}"
    known = sorted(path.stem for path in CONFIGS.glob("*.py") if not path.stem.startswith("_"))
    raise FileNotFoundError(
        f"no config {name!r} here or in {CONFIGS}; there are: {', '.join(known)} (a file's path also works)."
    )


def load_config(spec: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """The locked config of `FILE[:arg]`.

    Args:
      spec: as after `--config`.
      overrides: leaves to set, such as {"optim.lr": 1e-3}; types are checked.

    Raises:
      FileNotFoundError: no such config.
      ValueError: the file does not know the arg, or has no such leaf, or it is of another type.
    """
    path, _, arg = config_path(spec).partition(".py:")
    path = path.removesuffix(".py") + ".py"
    loaded = spec_from_file_location(f"config_{Path(path).stem}", path)
    if loaded is None or loaded.loader is None:
        raise ValueError(f"{path} is not a Python file.")
    module = module_from_spec(loaded)
    loaded.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{path} has no get_config(arg=None); see configs/ for examples.")
    config = module.get_config(arg or None)
    config.lock()
    refuse_old_names(overrides or {})
    for name, value in (overrides or {}).items():
        if name not in leaves(config):
            raise ValueError(f"{spec} has no leaf {name!r}; it has {', '.join(leaves(config))}.")
        try:
            config.update_from_flattened_dict({name: value})
        except TypeError as error:
            raise ValueError(f"{name}={value!r}: {error}") from error
    return config


def leaves(config: ConfigDict) -> dict[str, Any]:
    """A config's leaves by dotted name; lists and tuples are leaves and come out as lists."""
    found = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            found |= {f"{key}.{name}": leaf for name, leaf in leaves(value).items()}
        else:
            found[key] = _lists(value)
    return found


def config_hash(config: ConfigDict) -> str:
    """Twelve hexadecimal digits of what makes an experiment: all but FREE_LEAVES and the data itself."""
    left_out = (*FREE_LEAVES, FINGERPRINT)
    kept = {name: value for name, value in leaves(config).items() if name not in left_out}
    text = json.dumps(kept, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def save_config(workdir: str | os.PathLike, config: ConfigDict) -> None:
    """Writes config.json into the run folder, whole or not at all."""
    folder = epath.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config.to_dict(), indent=2, sort_keys=True, default=_plain) + "\n"
    write_atomic(folder / "config.json", text.encode())


# Names of before version 0.2: a run folder with them is read as if it had the new ones.
RENAMED = {"data.scene": "data.name"}
RETIRED = {  # constants now
    "optim.b1": 0.9,
    "optim.b2": 0.999,
    "optim.eps": 1e-8,
    "optim.end_lr": 0.0,
    "eval.nearest_share": 0.04,
    "eval.features_px": 128,
    "eval.features_blocks": "4+10",
    "eval.features_frames": 300,
    "eval.features_share": 0.1,
}
# Leaves of a video run's `eval` in place of eval.alpha, a share of normal cycles.
IN_PLACE_OF_ALPHA = {"false_alarms_per_hour": 1.0, "sustained_s": 1.0}
# Of a video run that lacks `eval.renew_minutes`, in place of eval.drift_per_hour.
RENEW_MINUTES = 5.0
OLD_TASKS = {"video": "video.ipad"} | {
    name: f"video.{name}" for name in ("conae", "memae", "astnet", "dmad", "convlstm")
}


def read_config(workdir: str | os.PathLike) -> ConfigDict:
    """The config of a run folder.

    Raises:
      FileNotFoundError: the folder holds no run.
      ValueError: config.json is not JSON.
    """
    path = epath.Path(workdir) / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: {workdir} is no run folder; "
            f"`ipad-jax train --config ... --workdir {workdir}` makes one."
        )
    try:
        config = ConfigDict(json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); restore it from a copy.") from error
    return with_new_names(config)


def with_new_names(config: ConfigDict) -> ConfigDict:
    """A config as saved by any version, with the names of this one."""
    if config.get("task") in OLD_TASKS:
        config.task = OLD_TASKS[config.task]
    if "scene" in config.get("data", {}):
        config.data.name = config.data.scene
        del config.data["scene"]
    if {"alpha", "components"} <= set(config.get("eval", {})):  # a video run of before 0.3
        del config.eval["alpha"]
        config.eval.update(IN_PLACE_OF_ALPHA)
    if "nearest_px" in config.get("eval", {}) and "renew_minutes" not in config.eval:
        config.eval.renew_minutes = RENEW_MINUTES
        if "drift_per_hour" in config.eval:
            del config.eval["drift_per_hour"]
    for name, value in leaves(config).items():
        if name in RETIRED:
            if value != RETIRED[name]:
                raise ValueError(
                    f"{name}={value!r} of this run can no longer be chosen (it is {RETIRED[name]!r} now): "
                    "use the run with version 0.1."
                )
            section, _, leaf = name.partition(".")
            del config[section][leaf]
    return config


def override_eval(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A copy of a run's config with other leaves in its `eval` section.

    Raises:
      ValueError: there is no such leaf; names those there are.
    """
    config = ConfigDict(config.to_dict())
    for leaf, value in overrides.items():
        if leaf not in config.eval:
            raise ValueError(
                f"eval has no leaf {leaf!r}; it has {', '.join(sorted(config.eval))}. A run made before a "
                "leaf existed gets it by adding it to `eval` in the run's config.json."
            )
        config.eval[leaf] = value
    return config


def refuse_old_names(names: Iterable[str]) -> None:
    """Raises ValueError for leaves that have another name now, saying which."""
    for name in names:
        if name in RENAMED:
            raise ValueError(
                f"{name} is called {RENAMED[name]} now (a scene, a device, a class or your own dataset): "
                f"--config.{RENAMED[name]}=..."
            )


_NONE = "(none)"  # stands for the value of a leaf that a config lacks
# What absence means: a run older than the leaf goes on where the config has this value.
MEANT_BY_ABSENCE = {"data.holdout_blocks": 0, "model.textures": "drawn"}


def differing_leaves(old: ConfigDict, new: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """Leaves that make `new` another experiment than `old`: name -> (old value, new value)."""
    before, after = leaves(old), leaves(new)

    def value(of: dict[str, Any], name: str) -> Any:
        return of.get(name, MEANT_BY_ABSENCE.get(name, _NONE))

    free: set[str] = set(FREE_LEAVES)
    if after.get("optim.schedule", "constant") == "constant":  # else the rate depends on the length
        free |= {"total_steps", "epochs"}
    if not before.get(FINGERPRINT) or not after.get(FINGERPRINT):  # not opened, or of before 0.2
        free.add(FINGERPRINT)
    return {
        name: (value(before, name), value(after, name))
        for name in sorted(before.keys() | after.keys())
        if name not in free
        and not name.startswith(JUDGED_BY)
        and value(before, name) != value(after, name)
    }


def check_workdir(workdir: str | os.PathLike, config: ConfigDict) -> None:
    """Raises ValueError if the folder holds a run with another config; names the differing leaves."""
    claimed = (epath.Path(workdir) / "config.json").exists()
    if claimed and (different := differing_leaves(read_config(workdir), config)):
        lines = [f"  {name}: {was!r} there, {now!r} here" for name, (was, now) in different.items()]
        newer = any(was == _NONE for was, _ in different.values())
        raise ValueError(
            f"{workdir} holds a run with another config:\n"
            + "\n".join(lines)
            + (
                f"\nLeaves with {_NONE} there are of another config file, or came after the run: it can be "
                "evaluated and used as it is, but not trained on. Take another --workdir, with "
                f"--config.init_from={workdir} to start from its weights."
                if newer
                else "\nTake another --workdir, or the same values."
            )
        )


def claim_workdir(workdir: str | os.PathLike, config: ConfigDict) -> None:
    """Checks the folder (see `check_workdir`) and writes config.json, with `data.data_dir` absolute.

    The run folder is then read from anywhere, whatever folder the training was started in.
    """
    check_workdir(workdir, config)
    stored = ConfigDict(config.to_dict())
    if data_dir := stored.get("data", {}).get("data_dir"):
        stored.data.data_dir = str(absolute(os.path.expanduser(data_dir)))
    save_config(workdir, stored)


def _lists(value: Any) -> Any:
    """Tuples as lists, all the way down, as JSON gives them back."""
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    """What JSON cannot hold as it is."""
    raise ValueError(
        f"config leaf of type {type(value).__name__} ({value!r}); take numbers, texts, lists or sections."
    )
