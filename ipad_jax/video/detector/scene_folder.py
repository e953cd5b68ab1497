"""One run judged on another scene than its own, or on one of several: WORKDIR/scenes/<scene>/.

A run trained on several scenes (`data.name=S01+S02`), or on the synthetic twin of the machine that counts,
is calibrated and judged scene by scene: cycle, normal frames, threshold and evaluations belong to a scene,
only the weights are shared. A scene folder is a run folder that borrows its run's checkpoints: it has its
own config.json (the run's with another `data.name`), and whatever takes a run folder takes it:

    ipad-jax evaluate --workdir runs/all --config.data.name=R01    # makes runs/all/scenes/R01
    ipad-jax detect --workdir runs/all/scenes/R01 --video NEW.mp4
"""

import os

from ml_collections import ConfigDict

from ipad_jax.input.scenes import scene_names
from ipad_jax.input.split import open_split
from ipad_jax.run.config import leaves, read_config, save_config
from ipad_jax.training.checkpoint_files import SCENES, weights_folder


def scene_folder(
    workdir: str | os.PathLike[str], scene: str, data_dir: str = "", *, write: bool = True
) -> str | os.PathLike[str]:
    """The folder in which a run is judged on a scene; its own folder for its own scene.

    Args:
      workdir: run folder.
      scene: one scene, prepared as the run's own were.
      data_dir: root of prepared datasets, where it is no longer the run's.
      write: make it, or bring its config up to date; False on processes other than the first.

    Raises:
      FileNotFoundError: no run there, or the scene is not prepared.
      ValueError: several scenes at once.
    """
    config = read_config(workdir)
    if scene == config.data.name:
        return workdir
    config.data.name, config.data.fingerprint = scene, ""
    check_one_scene(config, workdir)
    folder = weights_folder(workdir) / SCENES / scene
    if not write:
        return folder
    there = (folder / "config.json").exists()
    if there:
        config.data.fingerprint = read_config(folder).data.get("fingerprint", "")
    else:  # a scene that is not there leaves no folder behind
        here = config.copy_and_resolve_references()
        here.data.data_dir = data_dir or config.data.data_dir
        config.data.fingerprint = open_split(here, "train").fingerprint
        save_config(folder, config)
    if there and leaves(read_config(folder)) != leaves(
        config
    ):  # the run went on with other free leaves
        save_config(folder, config)
    return folder


def check_one_scene(config: ConfigDict, workdir: str | os.PathLike[str]) -> None:
    """Raises ValueError where a run has several scenes, and one is needed to judge or calibrate it."""
    names = scene_names(config.data.name)
    if len(names) > 1:
        raise ValueError(
            f"{workdir} has the scenes {', '.join(names)}, and a cycle and a threshold belong to one: judge "
            f"them one by one, `ipad-jax evaluate --workdir {workdir} --config.data.name={names[0]}`, which "
            f"also makes {workdir}/{SCENES}/{names[0]} for `ipad-jax detect --workdir`."
        )
