"""Evaluation of objects from any side; its doors are those of images, with the task's own scorer behind."""

from ipad_jax.image.evaluation import evaluate, rescore

__all__ = ["evaluate", "rescore"]
