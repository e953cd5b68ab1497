"""The image methods by name, as `config.task="image.<name>"` finds them."""

from ipad_jax.image.methods.bank import BankTask
from ipad_jax.image.methods.pca import PcaTask

METHODS = {"bank": BankTask, "pca": PcaTask}
