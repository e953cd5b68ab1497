"""IPAD's model with one block and two layers of the decoder, which compile in a fraction of tiny's time."""

from ml_collections import ConfigDict

from ipad_jax.configs import ipad


def get_config(arg: str | None = None) -> ConfigDict:
    """Every part of the model is there; `arg` is not used."""
    config = ipad.get_config("tiny")
    config.model.encoder.depths = config.model.encoder.num_heads = (1,)
    config.model.decoder.channels = (8,)
    config.model.decoder.strides = ((2, 2, 2), (1, 2, 2))  # back from patches of 2x4x4
    return config
