"""Random weights of networks of inverted bottlenecks under EfficientNet-PyTorch's names."""

import numpy as np

from ipad_jax.nn.efficientnet import LITE0, EfficientNetConfig


def drawn_state(num_blocks: int, cfg: EfficientNetConfig = LITE0) -> dict[str, np.ndarray]:
    """A state dict of random weights under the published names."""
    rng = np.random.default_rng(0)
    state = {}

    def add(name: str, norm: str, side: int, channels_in: int, channels_out: int) -> None:
        scale = 1 / np.sqrt(side * side * channels_in)
        state[f"{name}.weight"] = scale * rng.normal(size=(channels_out, channels_in, side, side))
        state[f"{norm}.weight"] = rng.uniform(0.5, 1.5, channels_out)
        state[f"{norm}.bias"] = rng.normal(size=channels_out)
        state[f"{norm}.running_mean"] = rng.normal(size=channels_out)
        state[f"{norm}.running_var"] = rng.uniform(0.1, 2, channels_out)

    add("_conv_stem", "_bn0", 3, 3, cfg.stem_channels)
    for number, shape in enumerate(cfg.shapes[:num_blocks]):
        at, inner = f"_blocks.{number}", shape.channels_in * shape.expansion
        if shape.expansion > 1:
            add(f"{at}._expand_conv", f"{at}._bn0", 1, shape.channels_in, inner)
        add(f"{at}._depthwise_conv", f"{at}._bn1", shape.kernel, 1, inner)
        if cfg.excite:
            squeezed = int(shape.channels_in * 0.25)
            for name, out, into in (("reduce", squeezed, inner), ("expand", inner, squeezed)):
                state[f"{at}._se_{name}.weight"] = rng.normal(size=(out, into, 1, 1)) / into**0.5
                state[f"{at}._se_{name}.bias"] = rng.normal(size=out)
        add(f"{at}._project_conv", f"{at}._bn2", 1, inner, shape.channels_out)
    return {name: array.astype(np.float32) for name, array in state.items()}
