"""The optimizer a config asks for: Adam at a constant 1e-4 (paper, sec. 5), or what we add to it."""

import optax
from ml_collections import ConfigDict

SCHEDULES = ("constant", "cosine")


def make_schedule(optim: ConfigDict, total_steps: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up over `warmup_steps`, then constant or cosine to 0.

    Raises:
      ValueError: unknown `optim.schedule`, a rate that is not positive, a warm-up longer than the run.
    """
    if optim.schedule not in SCHEDULES:
        raise ValueError(f"optim.schedule={optim.schedule!r}; one of {', '.join(SCHEDULES)}.")
    if not optim.lr > 0:
        raise ValueError(f"optim.lr={optim.lr} must be positive.")
    if not 0 <= optim.warmup_steps < max(total_steps, 1):
        raise ValueError(
            f"optim.warmup_steps={optim.warmup_steps} must be 0 or more and below total_steps={total_steps}."
        )
    if optim.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0 if optim.warmup_steps else optim.lr,
            peak_value=optim.lr,
            warmup_steps=optim.warmup_steps,
            decay_steps=total_steps,
        )
    if optim.warmup_steps:
        return optax.linear_schedule(0.0, optim.lr, optim.warmup_steps)
    return optax.constant_schedule(optim.lr)


def make_optimizer(optim: ConfigDict, total_steps: int) -> optax.GradientTransformation:
    """Adam with its usual constants; optional clipping by the global norm, decoupled weight decay.

    Args:
      optim: section `optim` of a config: lr, schedule, warmup_steps, clip_norm (0 = off),
        weight_decay (0 = off, as the paper).
      total_steps: steps of the run.

    Raises:
      ValueError: see `make_schedule`; also a negative clip_norm or weight_decay.
    """
    for name in ("clip_norm", "weight_decay"):
        if optim[name] < 0:
            raise ValueError(f"optim.{name}={optim[name]} must be 0 (off) or more.")
    schedule = make_schedule(optim, total_steps)
    parts = []
    if optim.clip_norm:
        parts.append(optax.clip_by_global_norm(optim.clip_norm))
    parts.append(optax.scale_by_adam())
    if optim.weight_decay:
        parts.append(optax.add_decayed_weights(optim.weight_decay))
    parts.append(optax.scale_by_learning_rate(schedule))
    return optax.chain(*parts)
