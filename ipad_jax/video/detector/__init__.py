"""A trained run as a detector: `load` it, `calibrate` it."""

from ipad_jax.video.detector.detector import Detector, FrameScore, calibrate, load

__all__ = ["Detector", "FrameScore", "calibrate", "load"]
