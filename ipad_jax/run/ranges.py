"""Ranges of the leaves that every config has, checked before a run folder is claimed."""

import math
from collections.abc import Callable

from ml_collections import ConfigDict

from ipad_jax.run.config import leaves

Rule = tuple[Callable[[float], bool], str]  # whether a value is in range, and the range in words


def _at_least(least: int) -> Rule:
    return lambda value: least <= value < math.inf, f"{least} or more"


# Leaves of eval are checked by the task, which knows what can be scored; those of optim by make_optimizer.
RULES: dict[str, Rule] = {
    "seed": (lambda value: 0 <= value < 2**32, "in 0..4294967295"),  # grain takes 32 bits
    "batch_size": _at_least(1),
    "total_steps": _at_least(0),
    "epochs": _at_least(0),
    "max_seconds": _at_least(0),
    "log_every": _at_least(0),
    "checkpoint_every": _at_least(0),
    "eval_every": _at_least(0),
    "eval_batches": _at_least(1),
    "num_workers": _at_least(0),
    "num_devices": _at_least(0),
    "fsdp": _at_least(1),
    "fsdp_min_bytes": _at_least(0),
    "adapters.rank": _at_least(0),
    "checkpoint.keep": _at_least(1),
    "data.clip_len": _at_least(1),
    "data.cache_mb": _at_least(0),
    "data.holdout_share": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
    "data.holdout_min": _at_least(1),
    "data.holdout_blocks": _at_least(0),
    "data.train_share": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
}


def check_ranges(config: ConfigDict) -> None:
    """Raises ValueError for leaves outside their range, naming each with what it must be."""
    wrong = [
        f"config.{name}={value} must be {RULES[name][1]}"
        for name, value in leaves(config).items()
        if name in RULES and not RULES[name][0](value)
    ]
    if wrong:
        raise ValueError("; ".join(wrong) + ".")
