"""Objects seen from any side: a field of the good object, the pose of a query, their difference.

    ipad-jax prepare toys --scene cat
    ipad-jax train --config omnipose --config.data.name=cat --workdir runs/cat
    ipad-jax evaluate --workdir runs/cat

`:own` reads your own photos (`prepare object_folder`), `:mad` a class of MAD (not run: the archive was not at
hand). The method: ipad_jax/pose/task.py. Figures: docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import image_config
from ipad_jax.pose.hash_field import HashConfig

ARGS = {
    "own": "an object of your own (`prepare object_folder`)",
    "mad": "a class of MAD (`prepare mad`)",
    "tiny": "a CPU minute: 48 pixels, 100 steps",
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS."""
    config, options = image_config("omnipose", arg, ARGS)
    config.task = "pose.omnipose"  # ipad_jax/pose/task.py
    config.batch_size = 1024  # rays a step
    config.total_steps = 3000  # 130 s of one core
    config.log_every = 100  # steps
    config.checkpoint_every = 1000  # steps
    config.eval_every = 1000  # steps between errors on held-out views
    config.eval_batches = 16  # batches of their rays

    data = config.data
    for leaf in ("height", "width", "tiles"):
        del data[leaf]
    data.builder, data.name = "toys", "cat"
    data.size = 200  # pixels of the longer side: learned and judged at it
    data.holdout_share = 0.14  # of the views, for the threshold: 29 of MAD's 210

    config.model = ConfigDict(HashConfig().__dict__)  # ipad_jax/pose/hash_field.py
    config.model.samples = (24, 16, 4)  # along a ray: to look, where the weight is, everywhere
    config.model.bend_weight = 1e-3  # penalty on colours that depend on the direction; our choice

    config.optim.lr = 1e-2  # Instant-NGP, sec. 4
    config.optim.schedule = "cosine"  # our choice

    evaluation = config.eval
    evaluation.batch_size = 1  # queries go one by one
    evaluation.starts = 8  # poses that a search begins from
    evaluation.blur_px = 1.0  # pixels, std of the Gaussian over differences; our choice

    if "own" in options:
        data.builder, data.name = "object_folder", "object"
    if "mad" in options:
        data.builder, data.name = "mad", "01Gorilla"
    if "tiny" in options:
        data.size = 48  # pixels
        config.batch_size = 256  # rays
        config.total_steps = 100  # steps
        config.log_every = 20  # steps
        config.checkpoint_every = 50  # steps
        config.eval_every = 100  # steps
        config.eval_batches = 2  # batches
        config.model.levels, config.model.finest, config.model.log2_rows = 4, 48, 12  # as its size
        evaluation.starts = 3  # poses
    return config
