"""A run judged on its test split: `evaluate` it, or `rescore` saved scores."""

from ipad_jax.video.evaluation.judge_run import evaluate, rescore
from ipad_jax.video.evaluation.measure import Evaluation

__all__ = ["Evaluation", "evaluate", "rescore"]
