"""The image methods by name, as `config.task="image.<name>"` finds them."""

from ipad_jax.image.methods.autoencoder import AutoencoderTask
from ipad_jax.image.methods.bank import BankTask
from ipad_jax.image.methods.cfa import CfaTask
from ipad_jax.image.methods.cflow import CflowTask
from ipad_jax.image.methods.cutpaste import CutPasteTask
from ipad_jax.image.methods.draem import DraemTask
from ipad_jax.image.methods.fastflow import FastFlowTask
from ipad_jax.image.methods.favae import FavaeTask
from ipad_jax.image.methods.ocrgan import OcrGanTask
from ipad_jax.image.methods.pca import PcaTask
from ipad_jax.image.methods.stfpm import StfpmTask
from ipad_jax.image.methods.uniad import UniadTask

METHODS = {
    "autoencoder": AutoencoderTask,
    "bank": BankTask,
    "cfa": CfaTask,
    "cflow": CflowTask,
    "cutpaste": CutPasteTask,
    "draem": DraemTask,
    "fastflow": FastFlowTask,
    "favae": FavaeTask,
    "ocrgan": OcrGanTask,
    "pca": PcaTask,
    "stfpm": StfpmTask,
    "uniad": UniadTask,
}
