"""What all image configs share, leaf by leaf; a config file says only what it changes."""

from ml_collections import ConfigDict

from ipad_jax.configs._base import parse_arg

ARGS = {
    "parts": "rendered parts (`ipad-jax prepare parts`)",
    "tiny": "a CPU minute: images at 64x64",
    "paper": "the published settings; see the file's text",
}


def image_config(
    task: str, arg: str | None, choices: dict[str, str] = ARGS, parts_px: int = 160
) -> tuple[ConfigDict, set[str]]:
    """Every leaf that all image methods have, and the options of `arg`.

    Args:
      task: the method.
      arg: options, separated by commas.
      choices: those that there are.
      parts_px: side of a picture of rendered parts, which are 160 x 160.

    Raises:
      ValueError: an unknown option.
    """
    options = parse_arg(arg, choices)
    config = ConfigDict()
    config.task = f"image.{task}"  # family and method
    config.seed = 0  # of random choices, weights and the order of images
    config.batch_size = 8  # images a step; of no effect where a method has no steps
    config.total_steps = 0  # steps; 0: from epochs
    config.epochs = 0.0  # passes over the good images
    config.max_seconds = 0.0  # seconds of the command, compiling and calibration too; 0: no limit
    config.log_every = 20  # steps
    config.checkpoint_every = 500  # steps; the last step is always saved; 0: only that one
    config.eval_every = 0  # steps between losses on held-out good images; 0: never
    config.eval_batches = 8  # batches of them, at most
    config.num_workers = 0  # processes that read ahead; 0: threads of this one
    config.num_devices = 0  # devices used; 0: all that JAX sees
    config.fsdp = 1  # devices over which one copy of the weights is spread
    config.fsdp_min_bytes = 4 * 2**20  # bytes; smaller arrays are whole on every device
    config.init_from = ""  # not for images: a network's file is model.weights

    config.data = data = ConfigDict()
    data.builder = "image_folder"  # image_folder, parts or mad
    data.name = "images"  # the name given to `ipad-jax prepare`
    data.fingerprint = ""  # of the dataset a run was trained on; `train` fills it in
    data.data_dir = ""  # folder of prepared datasets, local or gs://; "": ~/tensorflow_datasets
    data.height = 256  # pixels of a picture as the method sees it; a multiple of 16
    data.width = 256  # pixels; `prepare` prints what fits the images' proportions
    data.tiles = 1  # tiles along each side, half overlapping: 3 sees an image at twice the size
    data.holdout_share = 0.2  # of the good images, for the threshold; our choice
    data.holdout_min = 5  # images held out, at least (half of them at most); our choice
    data.train_share = 1.0  # of the other good images

    config.model = ConfigDict()  # the method's own

    config.optim = optim = ConfigDict()
    optim.lr = 1e-3  # Adam's learning rate
    optim.schedule = "constant"  # constant or cosine
    optim.warmup_steps = 0  # steps of linear warm-up
    optim.clip_norm = 0.0  # largest global norm of the gradient; 0: no clipping
    optim.weight_decay = 0.0  # decoupled; 0: off

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.keep = 2  # complete checkpoints kept

    config.eval = evaluation = ConfigDict()
    evaluation.false_alarm_share = 0.05  # share of good images that may raise an alarm
    evaluation.batch_size = 4  # images
    evaluation.blur_px = (
        4.0  # std of the Gaussian over a map, pixels of a picture; PatchCore's code
    )
    evaluation.save_maps = False  # also write maps/, float32 at each image's own size

    if "parts" in options:
        data.builder, data.name = "parts", "plate"
        data.height = data.width = parts_px
    if "paper" in options:
        data.holdout_share = 0.0  # the papers train on every good image, and have no threshold
    if "tiny" in options:
        data.height = data.width = 64  # pixels
    return config, options


def backbone_section(backbone: str = "efficientnet_lite0", *stages: str) -> ConfigDict:
    """Leaves of a frozen network."""
    section = ConfigDict()
    section.backbone = backbone  # of nn/backbones.py
    section.weights = ""  # its file, .pth, .safetensors or .npz; "": Lite0's, from a package
    section.stages = stages or ("blocks.2", "blocks.4", "blocks.10")  # whose outputs are taken
    return section
