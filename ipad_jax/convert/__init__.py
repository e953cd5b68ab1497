"""Published weights into our models."""

from ipad_jax.convert.swin import load_swin

__all__ = ["load_swin"]
