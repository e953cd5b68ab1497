"""What all video configs share, leaf by leaf; a config file says only what it changes."""

from ml_collections import ConfigDict

from ipad_jax.video.ipad.model import VideoModelConfig


def video_config() -> ConfigDict:
    """Every leaf of a video config, at the paper's values where it has one."""
    config = ConfigDict()
    config.task = "video.ipad"  # family and method, or MODULE:CLASS of your own
    config.seed = 0  # of weights, order of clips and stochastic depth
    config.batch_size = 8  # clips a step, over all devices; paper sec. 5.2
    config.total_steps = 0  # steps; 0: from epochs
    config.epochs = 50.0  # passes over every stride-1 clip; paper sec. 5.2
    config.max_seconds = 0.0  # seconds of the command, compiling and calibration too; 0: no limit
    config.log_every = 20  # steps
    config.checkpoint_every = 500  # steps; the last step is always saved; 0: only that one
    config.eval_every = 500  # steps between losses on held-out normal clips; 0: never
    config.eval_batches = 8  # batches of them, at most; our choice
    config.num_workers = 0  # processes that decode ahead; 0: threads of this one
    config.num_devices = 0  # devices used; 0: all that JAX sees
    config.fsdp = 1  # devices over which one copy of the weights is spread
    config.fsdp_min_bytes = 4 * 2**20  # bytes; smaller arrays are whole on every device
    config.init_from = ""  # weights file of an encoder, run folder, or RUN_FOLDER:encoder
    config.freeze = ()  # parts left as they are, statistics too: encoder, period_head, memory, decoder

    config.adapters = adapters = ConfigDict()
    adapters.rank = 0  # of low-rank adapters on q and v, on init_from's weights; 0: all trains

    config.data = data = ConfigDict()
    data.builder = "ipad"  # ipad, factory or video_folder
    data.name = "S01"  # scene, device or name given to `ipad-jax prepare`; S01+S02 for several
    data.fingerprint = ""  # of the dataset a run was trained on; `train` fills it in
    data.variant = ""  # what `prepare` added to the dataset's name, such as seed3
    data.size = 256  # pixels, side of the prepared frames; paper sec. 5.2
    data.quality = 95  # JPEG quality of the prepared frames; our choice
    data.data_dir = ""  # folder of prepared datasets, local or gs://; "": ~/tensorflow_datasets
    data.clip_len = 16  # frames; paper sec. 5.2
    data.holdout_share = 0.2  # of the normal training videos, for calibration; our choice
    data.train_share = 1.0  # of the other training videos, whole ones; 0.2 is the paper's few-shot
    data.holdout_min = 5  # videos held out whole, at least, else parts of each; our choice
    data.holdout_blocks = 4  # such parts, spread over the video, at most; 0: its tail; our choice
    data.cache_mb = 512.0  # megabytes of frames kept decoded in memory if all fit; 0: none

    config.loss = loss = ConfigDict()
    loss.entropy_weight = 0.0002  # of the attention's entropy in nats; published code, train.py
    loss.period_weight = 0.02  # of the phase's cross-entropy in nats; published code, train.py
    loss.period_width = 0.0  # cycles, std of the phase's target; 0: one class, as published

    config.optim = optim = ConfigDict()
    optim.lr = 1e-4  # Adam's learning rate; paper sec. 5.2
    optim.schedule = "constant"  # constant (paper) or cosine
    optim.warmup_steps = 0  # steps of linear warm-up; 0: none, as the paper
    optim.clip_norm = 0.0  # largest global norm of the gradient; 0: no clipping, as the paper
    optim.weight_decay = 0.0  # decoupled; 0: off, as the paper

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.keep = 2  # complete checkpoints kept; a damaged one then has one before it

    config.eval = evaluation = ConfigDict()
    evaluation.protocol = "strict"  # strict or paper; see docs/results.md
    evaluation.stride = 4  # frames between clips; the paper's is 1
    evaluation.batch_size = 8  # clips
    evaluation.window = 5  # clips of eq. 7-8; paper sec. 4.3
    evaluation.spacing = 0  # frames between them; 0: a twentieth of a cycle, the paper's is 1
    evaluation.pool_px = 9  # pixels, side of the box over which the error is pooled; our choice
    evaluation.nearest_px = 64  # pixels, side at which normal frames are compared; 0: off; ours
    evaluation.motion_px = 64  # pixels, side at which motion is compared; 0: off; our choice
    evaluation.register = True  # takes the camera's shake out; ours, normal/small_picture.py
    evaluation.track_phase = True  # also by pictures and speed; ours, normal/phase_tracking.py
    evaluation.features = ""  # a network whose features count too, normal/features.py; "": off
    evaluation.features_weights = ""  # file of its weights; "": those of Lite0, from a package
    evaluation.false_alarms_per_hour = 1.0  # of normal time, at most; sets the thresholds
    evaluation.sustained_s = 1.0  # seconds of the median with a threshold of its own; 0: off; ours
    evaluation.renew_minutes = 5.0  # until frames without alarm join the normal ones; 0: off
    evaluation.paper_period_weight = 0.0  # of the period error in protocol paper, which is silent
    evaluation.components = ConfigDict(  # weights of the fused score; chosen on the tuning scenes
        {"nearest": 1.0, "period_error": 0.3, "motion": 0.3}
    )
    return config


def model_section(model: VideoModelConfig) -> ConfigDict:
    """All leaves of a model's config, so that each can be overridden; clip and picture size are data's."""
    leaves = model.to_dict()
    del leaves["clip_len"], leaves["image_size"]
    return ConfigDict(leaves)


def make_tiny(config: ConfigDict) -> None:
    """Shrinks a config to a CPU minute: a dataset prepared at `--size 32`, 20 steps.

    The switches that tell variants apart stay: boost, shrink (counted in 1 / slots), softmax, period
    head, norm of the patches; a memory is always there. The model of a method other than ours is its
    own config's affair.
    """
    if config.task == "video.ipad":
        large, config.model = config.model, model_section(VideoModelConfig.debug())
        for switch in ("boost", "shrink", "softmax_over"):
            config.model.memory[switch] = large.memory[switch]
        config.model.period_head = large.period_head  # as the variant has it
        config.model.encoder.patch_norm = large.encoder.patch_norm  # the same
    config.data.size = 32  # pixels
    config.data.clip_len = 4  # frames
    config.data.cache_mb = 100.0  # megabytes
    config.batch_size = 4  # clips
    config.total_steps = 20  # steps
    config.log_every = 5  # steps
    config.checkpoint_every = 10  # steps
    config.eval_every = 10  # steps
    config.eval_batches = 2  # batches
    config.eval.stride = min(config.eval.stride, 2)  # frames; 1 where the protocol asks for it


def parse_arg(arg: str | None, choices: dict[str, str]) -> set[str]:
    """The options of `FILE:option,option`.

    Args:
      arg: what stands after the colon.
      choices: option -> what it does.

    Raises:
      ValueError: an option that there is not; says the choices.
    """
    options = {option for option in (arg or "").split(",") if option}
    if unknown := sorted(options - choices.keys()):
        known = "\n".join(f"  {name}: {what}" for name, what in choices.items())
        raise ValueError(f"unknown config argument {', '.join(unknown)}; there are:\n{known}")
    return options
