"""memAE: an autoencoder whose features are replaced by mixtures of a memory (Gong et al., ICCV 2019).

*Memorizing Normality to Detect Anomaly*, sec. 3 and 4.2; reference code donggong1/memae-anomaly-detection,
models/memae_3dconv.py and memory_module.py. The autoencoder is conAE's. Each of its feature vectors is
compared with every slot (inner product, softmax), weights up to a threshold become 0 (hard shrinkage,
eq. 7), the rest are divided by their sum, and the decoder gets that mixture alone. IPAD's periodic
memory is this one with the phase on top, so `memory.PeriodicMemory` serves here with its boost off.

Deviations: a tanh at the end, which IPAD's copy of these layers has and the reference code has not; three
colours, as IPAD, where the reference code trains on grey; the learned score (mean over pixels of the
error's norm) gives way to the squared error that all methods are scored by.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ipad_jax.video.baselines.conv_autoencoder import ConvAutoencoder, ConvAutoencoderConfig
from ipad_jax.video.ipad.losses import attention_entropy, reconstruction_loss
from ipad_jax.video.ipad.memory import MemoryConfig, PeriodicMemory


@dataclasses.dataclass(frozen=True)
class MemAutoencoderConfig(ConvAutoencoderConfig):
    """The autoencoder's sizes, and the memory's.

    Raises:
        ValueError: see ConvAutoencoderConfig and memory.MemoryConfig.
    """

    num_slots: int = 2000  # training_options.py, MemDim
    # In units of 1 / num_slots: 0.0025 at 2000 slots, ShrinkThres; the paper says 1 to 3.
    shrink: float = 5.0

    def __post_init__(self):
        super().__post_init__()
        _ = self.memory

    @property
    def memory(self) -> MemoryConfig:
        """As `memory.py` takes it."""
        return MemoryConfig(num_slots=self.num_slots, boost="none", shrink=self.shrink)

    @classmethod
    def debug(cls) -> "MemAutoencoderConfig":
        """A moment's work, for tests; so small a memory bears only a small threshold."""
        base = ConvAutoencoderConfig.debug()
        return cls(
            base.clip_len, base.image_size, base.channels, base.strides, num_slots=16, shrink=1.0
        )


class MemOutput(NamedTuple):
    """What the autoencoder makes of a batch of clips."""

    frames: jax.Array  # float32 [b, t, h, w, 3] in [-1, 1]
    attention: jax.Array  # float32 [b, n, M], weights of the slots for each of n feature vectors


class MemAutoencoder(ConvAutoencoder):
    """Call: clip [b, t, h, w, 3] float in [-1, 1] -> MemOutput."""

    def __init__(self, cfg: MemAutoencoderConfig, *, rngs: nnx.Rngs):
        super().__init__(cfg, rngs=rngs)
        self.memory = PeriodicMemory(
            cfg.memory, cfg.channels[-1], dtype=jnp.dtype(cfg.dtype), rngs=rngs
        )

    def __call__(self, clip: jax.Array, rngs: nnx.Rngs | None = None) -> MemOutput:
        features, attention = self.memory(self.encoder(clip), None)
        return MemOutput(self.decoder(features), attention)


def mem_loss(
    output: MemOutput, clip: jax.Array, *, entropy_weight: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean squared error and the entropy of the weights (eq. 9), and its terms.

    With them `empty`, no part of the loss: the share of feature vectors that no slot is left for. Where it
    stays near 1 the memory is dead, and a smaller `shrink` is due.
    """
    mse, entropy = reconstruction_loss(output.frames, clip), attention_entropy(output.attention)
    empty = jnp.mean(jnp.all(output.attention == 0, axis=-1))
    return mse + entropy_weight * entropy, {"mse": mse, "entropy": entropy, "empty": empty}
