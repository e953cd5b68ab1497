"""The methods of objects from any side by name, as `config.task="pose.<name>"` finds them."""

from ipad_jax.pose.paper import PaperTask
from ipad_jax.pose.task import OmniposeTask

METHODS = {"omnipose": OmniposeTask, "omnipose_paper": PaperTask}
