"""The model's own count of its matrix products, from the config alone (nothing is traced)."""

import itertools
import math
from collections.abc import Collection, Iterator

from ipad_jax.nn.attention import Size3, clip_window
from ipad_jax.performance.roofline import Product
from ipad_jax.video.ipad.model import VideoModelConfig
from ipad_jax.video.ipad.period_head import POOLED_CHANNELS, POOLED_GRID, POOLED_HIDDEN

PARTS = ("encoder", "period_head", "memory", "decoder")  # in the order in which a clip passes them


def forward_products(
    cfg: VideoModelConfig, *, padded: bool = False, adapter_rank: int = 0
) -> list[Product]:
    """The matrix products and convolutions of one clip's forward pass, with nothing wasted.

    Left out is what no matrix unit does: norms, softmax, activations.

    Args:
      cfg: the model.
      padded: with the tokens that fill up windows, where the window does not divide the map.
      adapter_rank: of low-rank adapters on q and v; 0 is none.
    """
    return [product for product, _ in _forward(cfg, padded, adapter_rank)]


def _forward(cfg: VideoModelConfig, padded: bool, adapter_rank: int) -> list[tuple[Product, bool]]:
    """The products of a forward pass, and whether adapters leave the weights of each as they are."""
    products = [*_decoder(cfg)]
    t, h, w = cfg.feature_size
    channels, tokens = cfg.encoder.num_features, t * h * w
    if cfg.use_memory:
        slots = cfg.memory.num_slots
        products.append(Product("memory", 1, tokens, channels, slots))
        products.append(Product("memory", 1, tokens, slots, channels))
    if cfg.period_head == "pooled":
        flat = t * min(h, POOLED_GRID) * min(w, POOLED_GRID) * POOLED_CHANNELS
        products.append(Product("period_head", 1, tokens, channels, POOLED_CHANNELS))
        sizes = (flat, POOLED_HIDDEN, cfg.num_phases)
    elif cfg.period_head == "published":
        pairs = _conv_pairs(t, 1) * _conv_pairs(h, 2) * _conv_pairs(w, 2)
        products.append(Product("period_head", 1, pairs, channels, channels))
        sizes = (t * -(-h // 2) * -(-w // 2) * channels, 4096, 2048, cfg.num_phases)
    else:
        sizes = ()
    products += [Product("period_head", 1, 1, k, n) for k, n in itertools.pairwise(sizes)]
    return [*_encoder(cfg, padded, adapter_rank), *((product, False) for product in products)]


def train_products(
    cfg: VideoModelConfig,
    freeze: Collection[str] = (),
    *,
    padded: bool = False,
    adapter_rank: int = 0,
) -> list[Product]:
    """The products of one clip's training step: forward, and the two gradients of each where needed.

    The video itself needs no gradient, weights of a frozen part need none nor those that adapters leave as
    they are, and what no trained part feeds needs neither. Nothing is counted twice for `remat`: that is
    no need.

    Args:
      cfg: the model.
      freeze: parts left as they are, names of PARTS.
      padded: see `forward_products`.
      adapter_rank: the same.
    """
    before = {
        "encoder": (),
        "period_head": ("encoder",),
        "memory": ("encoder",),
        "decoder": ("encoder", *(("memory",) if cfg.use_memory else ())),
    }
    found: list[Product] = []
    for product, is_kept in _forward(cfg, padded, adapter_rank):
        part = product.part
        first = not any(other.part == part for other in found)
        found.append(product)
        trained, fed = part not in freeze, not set(before[part]) <= set(freeze)
        if fed or (trained and not first):
            found.append(product.gradient("m"))
        if (trained and not is_kept) or (fed and not product.weights):
            found.append(product.gradient("n"))
    return found


def flops_by_part(products: list[Product]) -> dict[str, int]:
    """FLOPs of each part, in the order of PARTS; parts that a config leaves out are not named."""
    sums = {part: sum(p.flops for p in products if p.part == part) for part in PARTS}
    return {part: count for part, count in sums.items() if count}


def _encoder(
    cfg: VideoModelConfig, padded: bool, adapter_rank: int
) -> Iterator[tuple[Product, bool]]:
    """Patch embedding, then blocks and mergings stage by stage; as `_forward`."""
    e, adapted = cfg.encoder, adapter_rank > 0
    pt, ph, pw = e.patch_size
    size: Size3 = (cfg.clip_len // pt, cfg.image_size[0] // ph, cfg.image_size[1] // pw)
    yield Product("encoder", 1, math.prod(size), 3 * pt * ph * pw, e.embed_dim), False
    for stage, (depth, heads) in enumerate(zip(e.depths, e.num_heads)):
        dim, tokens = e.embed_dim << stage, math.prod(size)
        hidden = int(dim * e.mlp_ratio)
        window = clip_window(size, e.window_size, (0, 0, 0))[0]
        n = math.prod(window)
        windows = math.prod(-(-s // w) for s, w in zip(size, window))
        # every token looks at a window of n; in whole windows, those that fill up are there too
        count, m = (heads * windows, n) if padded else (heads, tokens)
        for _ in range(depth):
            yield Product("encoder", 1, tokens, dim, 3 * dim), adapted
            if adapted:  # q and v
                yield Product("encoder", 2, tokens, dim, adapter_rank), False
                yield Product("encoder", 2, tokens, adapter_rank, dim), False
            yield Product("encoder", count, m, dim // heads, n, weights=False), False
            yield Product("encoder", count, m, n, dim // heads, weights=False), False
            yield Product("encoder", 1, tokens, dim, dim), adapted
            yield Product("encoder", 1, tokens, dim, hidden), adapted
            yield Product("encoder", 1, tokens, hidden, dim), adapted
        if stage < len(e.depths) - 1:
            size = (size[0], -(-size[1] // 2), -(-size[2] // 2))
            yield Product("encoder", 1, math.prod(size), 4 * dim, 2 * dim), False


def _decoder(cfg: VideoModelConfig) -> Iterator[Product]:
    """Transposed convolutions: pairs of an input and an output, on each axis, times channels."""
    size = cfg.feature_size
    channels = (cfg.encoder.num_features, *cfg.decoder.channels, 3)
    for cin, cout, strides in zip(channels, channels[1:], cfg.decoder.strides):
        # kernel 3, padding 1: both ends lose one tap, or one end where output padding gives it back
        pairs = math.prod(3 * n - (2 if s == 1 else 1) for n, s in zip(size, strides))
        yield Product("decoder", 1, pairs, cin, cout)
        size = tuple(n * s for n, s in zip(size, strides))


def _conv_pairs(size: int, stride: int) -> int:
    """Pairs of input and output joined by a kernel of 3 with padding 1, on one axis."""
    outputs = range(0, size, stride)
    return sum(0 <= o + tap < size for o in outputs for tap in (-1, 0, 1))
