"""Objects seen from any side: a field of the good object, the pose of a query, their difference.

    ipad-jax prepare toys --scene cat
    ipad-jax train --config omnipose --config.data.name=cat --workdir runs/cat
    ipad-jax evaluate --workdir runs/cat

`:own` reads your own photos (`prepare object_folder`), `:mad` a class of MAD (not run: the archive was not at
hand), `:paper` is OmniposeAD as published (`--config.model.weights=efficientnet-b4-6ed6700e.pth`; run in the
small only: a query is hours of a CPU). The method: ipad_jax/pose/task.py. Figures: docs/results.md.
"""

from ml_collections import ConfigDict

from ipad_jax.configs._images import image_config
from ipad_jax.pose.hash_field import HashConfig

ARGS = {
    "own": "an object of your own (`prepare object_folder`)",
    "mad": "a class of MAD (`prepare mad`)",
    "paper": "OmniposeAD's NeRF, search and comparison; needs an accelerator",
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
    evaluation.seek_focal = False  # with each query's pose: photos of another camera or zoom
    evaluation.connected = True  # the score is of one region of the map; our choice
    evaluation.blur_px = 1.0  # pixels, std of the Gaussian over differences; our choice

    if "own" in options:
        data.builder, data.name = "object_folder", "object"
    if "mad" in options:
        data.builder, data.name = "mad", "01Gorilla"
    if "paper" in options:
        _as_published(config)
    if "tiny" in options:
        data.size = 48  # pixels
        config.batch_size = 256  # rays
        config.total_steps = 100  # steps
        config.log_every = 20  # steps
        config.checkpoint_every = 50  # steps
        config.eval_every = 100  # steps
        config.eval_batches = 2  # batches
        evaluation.starts = 3  # poses
        if "paper" in options:
            config.model.depth, config.model.width, config.model.skip = 3, 32, 1  # layers, channels
            config.model.samples = (8, 8, 4)  # along a ray
            evaluation.steps, evaluation.pixels = 20, 256  # steps, a step
        else:
            config.model.levels, config.model.finest = 4, 48  # as the pictures' size
            config.model.log2_rows = 12  # of a table
    return config


def _as_published(config: ConfigDict) -> None:
    """Leaves of OmniposeAD; ipad_jax/pose/paper.py."""
    config.task = "pose.omnipose_paper"  # ipad_jax/pose/paper.py
    config.total_steps = 200_000  # steps; nerf-pytorch, configs/lego.txt and its defaults
    config.checkpoint_every = config.eval_every = 10_000  # steps; our choice
    config.data.size = 400  # pixels; half of MAD's
    config.data.holdout_share = 0.0  # every view is trained on, no threshold
    config.optim.lr = 5e-4  # nerf-pytorch; a cosine in place of x 0.1 in 500,000 steps
    config.model = ConfigDict()  # of two networks
    config.model.depth, config.model.width, config.model.skip = 8, 256, 4  # NeRF, sec. 3
    config.model.position_frequencies, config.model.direction_frequencies = 10, 4  # NeRF, sec. 5.1
    config.model.samples = (64, 64, 64)  # along a ray: even, where the weight is; PAD's configs
    config.model.backbone = "efficientnet_b4"  # PAD's retrieval/config.yaml
    config.model.weights = ""  # its file; "": colours are compared alone
    config.model.stages = ("blocks.1", "blocks.5", "blocks.9", "blocks.21")  # the same
    del config.eval.seek_focal
    del config.eval.connected
    config.eval.steps = 300  # of the search; PAD's anomaly_nerf_lego.py
    config.eval.pixels = 3072  # a step
