"""Industrial anomaly detection in JAX: machines on video, objects seen from any side.

import ipad_jax

detector = ipad_jax.load_detector("runs/press")
for frame_score in detector.stream(frames):
    ...
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipad_jax.video.detector.detector import Detector, FrameScore, load_detector

__all__ = ["Detector", "FrameScore", "load_detector"]


def __getattr__(name: str) -> Any:
    """Loads what is asked for on first use: `import ipad_jax` alone stays fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("ipad_jax")
    if name not in __all__:
        raise AttributeError(f"module 'ipad_jax' has no attribute {name!r}")
    from ipad_jax.video.detector import detector

    return getattr(detector, name)
