"""Convolution, pooling and BatchNorm in plain NumPy, float64, channels first, as PyTorch defines them."""

import numpy as np


def conv(x: np.ndarray, kernel: np.ndarray, stride: int = 1, pad: int = 0, groups: int = 1):
    """[b, cin, h, w] by [cout, cin / groups, k, k]: a product for each tap of the kernel."""
    side = kernel.shape[-1]
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    height, width = ((n - side) // stride + 1 for n in x.shape[2:])
    inputs, outputs = np.split(x, groups, 1), np.split(kernel, groups)
    out = np.zeros((len(x), len(kernel), height, width))
    for row in range(side):
        for column in range(side):
            rows = slice(row, row + (height - 1) * stride + 1, stride)
            columns = slice(column, column + (width - 1) * stride + 1, stride)
            out += np.concatenate(
                [
                    np.einsum("bchw,oc->bohw", part[:, :, rows, columns], k[:, :, row, column])
                    for part, k in zip(inputs, outputs)
                ],
                axis=1,
            )
    return out


def max_pool(x: np.ndarray, side: int, stride: int, pad: int) -> np.ndarray:
    """Largest of side x side places, sides rounded down."""
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(2, 3))
    return windows[:, :, ::stride, ::stride].max((-1, -2))


def batch_norm(x: np.ndarray, state: dict[str, np.ndarray], name: str, eps: float = 1e-5):
    """With the running statistics."""
    gain, bias, mean, var = (
        state[f"{name}.{leaf}"].reshape(1, -1, 1, 1)
        for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + eps) * gain + bias


class Drawn:
    """Random weights under names, drawn as they are asked for."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.state: dict[str, np.ndarray] = {}

    def kernel(self, name: str, *shape: int) -> None:
        """Of a size that keeps numbers near 1."""
        scale = np.prod(shape[1:]) ** -0.5
        self.state[f"{name}.weight"] = scale * self.rng.standard_normal(shape)

    def norm(self, name: str, channels: int) -> None:
        self.state[f"{name}.weight"] = self.rng.uniform(0.5, 1.5, channels)
        self.state[f"{name}.bias"] = self.rng.standard_normal(channels)
        self.state[f"{name}.running_mean"] = self.rng.standard_normal(channels)
        self.state[f"{name}.running_var"] = self.rng.uniform(0.1, 2, channels)
        self.state[f"{name}.num_batches_tracked"] = np.array(7)
