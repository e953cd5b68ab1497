"""The detector of objects from any side; its doors are those of images, with the task's own scorer behind."""

from ipad_jax.image.detector import calibrate, load

__all__ = ["calibrate", "load"]
