"""Industrial anomaly detection in JAX: machines on video, objects seen from any side.

import ipad_jax

detector = ipad_jax.load_detector("runs/press")
for frame_score in detector.stream(frames):
    ...
"""

import os
from typing import Any


def load_detector(workdir: str | os.PathLike[str], **choices: Any) -> Any:
    """The detector of a trained run, of whatever family.

    Args:
      workdir: run folder, calibrated or with its dataset at hand.
      **choices: such as `step` and `threshold`; see the `load` of the family's detector.

    Returns:
      For video a `Detector` with `.stream(frames)`; all have `threshold`, `bound` and `made_with`.

    Raises:
      FileNotFoundError: no run there.
    """
    # Here: `import ipad_jax` alone stays fast.
    from ipad_jax.run.config import read_config
    from ipad_jax.training.task import family_module

    return family_module(read_config(workdir), "detector").load(workdir, **choices)


def __getattr__(name: str) -> Any:
    """The version, from the installed package's metadata."""
    if name == "__version__":
        from importlib.metadata import version

        return version("ipad_jax")
    raise AttributeError(f"module 'ipad_jax' has no attribute {name!r}")
