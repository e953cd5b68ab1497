"""The video methods by name: `config.task = "video.NAME"`."""

from collections.abc import Callable

from ml_collections import ConfigDict

from ipad_jax.training.task import Task
from ipad_jax.video.baselines.task import BASELINES, BaselineTask
from ipad_jax.video.ipad.task import VideoTask

METHODS: dict[str, Callable[[ConfigDict], Task]] = {
    "ipad": VideoTask,
    **dict.fromkeys(BASELINES, BaselineTask),
}
