"""DINOv2's transformer against plain NumPy, the interpolated table against loops, and stored outputs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ipad_jax.convert import ViTConfig, load_vit
from ipad_jax.nn.vit import ViT, interpolate_positions

SMALL = ViTConfig(patch_size=4, embed_dim=12, depth=2, num_heads=3, mlp_ratio=2)
apply = jax.jit(lambda model, images: model(images))


def drawn_state(cfg, side, *, registers=0, qkv_bias=True, layer_scale=True, seed=0):
    """Random weights under DINOv2's names, large enough that each one is seen in the output."""
    rng, c = np.random.default_rng(seed), cfg.embed_dim
    hidden = int(c * cfg.mlp_ratio)
    shapes = {
        "cls_token": (1, 1, c),
        "pos_embed": (1, 1 + side**2, c),
        "mask_token": (1, c),
        "patch_embed.proj.weight": (c, 3, cfg.patch_size, cfg.patch_size),
        "patch_embed.proj.bias": (c,),
        "norm.weight": (c,),
        "norm.bias": (c,),
    }
    if registers:
        shapes["register_tokens"] = (1, registers, c)
    for number in range(cfg.depth):
        block = {
            "norm1.weight": (c,),
            "norm1.bias": (c,),
            "attn.qkv.weight": (3 * c, c),
            "attn.proj.weight": (c, c),
            "attn.proj.bias": (c,),
            "norm2.weight": (c,),
            "norm2.bias": (c,),
            "mlp.fc1.weight": (hidden, c),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (c, hidden),
            "mlp.fc2.bias": (c,),
        }
        if qkv_bias:
            block["attn.qkv.bias"] = (3 * c,)
        if layer_scale:
            block |= {"ls1.gamma": (c,), "ls2.gamma": (c,)}
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    return {name: 0.5 * rng.standard_normal(shape) for name, shape in shapes.items()}


def slow_positions(table, size, registers):
    """The table at each place by PyTorch's bicubic sums, place by place; [side, side, c] -> [*size, c]."""
    side = len(table)
    out = np.zeros((*size, table.shape[-1]))
    for place in np.ndindex(*size):
        axes = []
        for at, n in zip(place, size):
            weights = np.zeros(side)
            if registers:  # antialias: cut at the border and divided by the sum
                scale = side / n
                for tap in range(side):
                    distance = abs(tap + 0.5 - scale * (at + 0.5)) / max(scale, 1)
                    weights[tap] = keys(distance, -0.5)
                weights /= weights.sum()
            else:  # the border's values go on outside
                centre = (at + 0.5) * side / (n + 0.1) - 0.5
                for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):
                    weights[min(max(tap, 0), side - 1)] += keys(abs(tap - centre), -0.75)
            axes.append(weights)
        out[place] = np.einsum("y,yxc,x->c", axes[0], table, axes[1])
    return out


def keys(x, a):
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def slow_vit(images, state, cfg, registers=0):
    p, heads = cfg.patch_size, cfg.num_heads

    def norm(x, name):
        spread = np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return (x - x.mean(-1, keepdims=True)) / spread * state[f"{name}.weight"] + state[
            f"{name}.bias"
        ]

    def dense(x, name):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)

    def attend(x, name):
        q, k, v = np.split(dense(x, f"{name}.qkv"), 3, -1)
        size, out = x.shape[-1] // heads, []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / np.sqrt(size)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
        return dense(np.concatenate(out, -1), f"{name}.proj")

    def gelu(x):
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))

    found = []
    for image in images.astype(np.float64):
        rows, columns = image.shape[0] // p, image.shape[1] // p
        kernel = state["patch_embed.proj.weight"]
        table = state["pos_embed"][0, 1:]
        side = math.isqrt(len(table))
        table = table.reshape(side, side, -1)
        if (rows, columns) != (side, side):
            table = slow_positions(table, (rows, columns), registers > 0)
        x = [state["cls_token"][0, 0] + state["pos_embed"][0, 0]]
        x += list(state["register_tokens"][0]) if registers else []
        for row, column in np.ndindex(rows, columns):
            patch = image[row * p : row * p + p, column * p : column * p + p]
            projected = np.einsum("yxi,oiyx->o", patch, kernel) + state["patch_embed.proj.bias"]
            x.append(projected + table[row, column])
        x = np.stack(x)
        for number in range(cfg.depth):
            at = f"blocks.{number}"
            x = x + state.get(f"{at}.ls1.gamma", 1) * attend(norm(x, f"{at}.norm1"), f"{at}.attn")
            inner = gelu(dense(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1"))
            x = x + state.get(f"{at}.ls2.gamma", 1) * dense(inner, f"{at}.mlp.fc2")
        x = norm(x, "norm")
        found.append(np.concatenate([x[:1], x[1 + registers :]]))
    return np.stack(found)


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        ((12, 12), {}),
        ((16, 8), {}),
        ((4, 4), {"qkv_bias": False}),
        ((12, 20), {"layer_scale": False}),
        ((12, 12), {"registers": 2}),
        ((8, 20), {"registers": 4}),
    ],
    ids=str,
)
def test_equals_numpy(size, parts, tmp_path):
    state = drawn_state(SMALL, 3, **parts)
    np.savez(tmp_path / "w.npz", **state)
    images = np.random.default_rng(1).standard_normal((2, *size, 3)).astype(np.float32)
    model = load_vit(tmp_path / "w.npz", SMALL)
    expected = slow_vit(images, state, SMALL, parts.get("registers", 0))
    found = apply(model, images)
    assert found.shape == (2, 1 + size[0] * size[1] // 16, 12)
    # float32 sums of a dozen products against float64, values of size 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    maps = jax.jit(lambda model, x: model.maps(x))(model, images)
    assert len(maps) == SMALL.depth
    np.testing.assert_allclose(maps[-1].reshape(2, -1, 12), found[:, 1:], rtol=0, atol=1e-6)


def test_an_image_alone_gives_the_same_as_among_others(tmp_path):
    np.savez(tmp_path / "w.npz", **drawn_state(SMALL, 3))
    model = load_vit(tmp_path / "w.npz", SMALL)
    images = np.random.default_rng(1).standard_normal((3, 8, 12, 3)).astype(np.float32)
    together, alone = apply(model, images), apply(model, images[1:2])
    np.testing.assert_allclose(together[1:2], alone, rtol=0, atol=1e-5)  # sums in another order


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("size", [(2, 3), (5, 5), (7, 11), (37, 20)])
def test_interpolation_against_loops(size, registers):
    table = np.random.default_rng(0).standard_normal((5, 5, 2))
    found = interpolate_positions(jnp.asarray(table, jnp.float32), size, registers=registers)
    np.testing.assert_allclose(found, slow_positions(table, size, registers), rtol=0, atol=1e-5)


@pytest.mark.parametrize("registers", [False, True])
def test_a_table_of_one_value_stays_it(registers):
    table = jnp.full((6, 6, 1), 3.0)
    found = interpolate_positions(table, (4, 9), registers=registers)
    np.testing.assert_allclose(found, 3.0, atol=1e-5)


def test_chunked_blocks_of_training_code_are_the_same(tmp_path):
    state = drawn_state(SMALL, 3)
    images = np.ones((1, 12, 12, 3), np.float32)
    np.savez(tmp_path / "a.npz", **state)
    chunked = {f"backbone.{n.replace('blocks.', 'blocks.0.')}": x for n, x in state.items()}
    np.savez(tmp_path / "b.npz", **chunked)
    found = [apply(load_vit(tmp_path / n, SMALL), images) for n in ("a.npz", "b.npz")]
    np.testing.assert_array_equal(*found)


def test_stored_tokens_of_a_published_network(real_data):
    path = real_data / "golden" / "vit_a.npz"
    stored = np.load(path)
    model = load_vit(path, ViTConfig(patch_size=14, embed_dim=96, depth=3, num_heads=3))
    theirs = stored["tokens"]
    # both float32 from the same float16 weights
    np.testing.assert_allclose(
        apply(model, stored["input"]), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max()
    )


@pytest.mark.parametrize(
    ("name", "millions"),
    [("small", 22.1), ("base", 86.6)],
)
def test_published_numbers_of_parameters(name, millions):
    # DINOv2's model card: 21 M and 86 M; by the shapes of its files with a table of 37 x 37
    shapes = nnx.eval_shape(lambda: ViT(getattr(ViTConfig, name)(), rngs=nnx.Rngs(0)))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(shapes)))
    assert round(count / 1e6, 1) == millions


def test_all_complaints_come_at_once(tmp_path):
    state = drawn_state(SMALL, 3)
    del state["blocks.1.attn.qkv.bias"]
    state["patch_embed.proj.weight"] = np.zeros((12, 3, 2, 2))
    state["pos_embed"] = np.zeros((1, 9, 12))  # no class token
    state["blocks.2.norm1.weight"] = np.zeros(12)
    np.savez(tmp_path / "w.npz", **state)
    with pytest.raises(ValueError, match="does not fit ViTConfig") as error:
        load_vit(tmp_path / "w.npz", SMALL)
    assert "missing (1): blocks.1.attn.qkv.bias" in str(error.value)
    assert "unexpected (1): blocks.2.norm1.weight" in str(error.value)
    assert "weight: got (12, 3, 2, 2), expected (12, 3, 4, 4)" in str(error.value)
    assert "pos_embed: got (1, 9, 12)" in str(error.value)


def test_sizes_that_cannot_be_built_and_images_that_do_not_fit():
    with pytest.raises(ValueError, match="multiple of num_heads=5"):
        ViTConfig(embed_dim=12, num_heads=5)
    with pytest.raises(ValueError, match="depth=0"):
        ViTConfig(depth=0)
    model = nnx.eval_shape(lambda: ViT(SMALL, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="multiples of the patch size 4"):
        model(np.zeros((1, 13, 12, 3)))
