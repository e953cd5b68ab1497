"""A run judged on its test images: `evaluate` it, or `rescore` saved scores."""

from ipad_jax.image.evaluation.judge_run import evaluate, rescore
from ipad_jax.image.evaluation.result import Evaluation

__all__ = ["Evaluation", "evaluate", "rescore"]
