"""Weights from files: every format, every complaint at once, and the numbers that come out."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from swin_reference import SIZES, encode, make_weights

from ipad_jax.convert import load_swin
from ipad_jax.video.ipad.swin import SwinConfig
from ipad_jax.video.ipad.swin_weights import guess_window, read_weights, resize_table


@pytest.fixture(scope="module")
def weights():
    return make_weights(**SIZES)


@pytest.fixture(scope="module")
def video():
    # nothing divides: 3 -> 2 patches of 2, 26 -> 7 of 4, 17 -> 5; windows of 3 pad both, merging too
    return np.random.default_rng(1).standard_normal((3, 26, 17, 3)).astype(np.float32)


def features(path, video, **sizes):
    encoder = load_swin(path, SwinConfig(**sizes))
    return np.asarray(jax.jit(lambda x: encoder(x))(video[None])[0])


def save(path, weights, prefix=""):
    np.savez(path, **{prefix + name: array for name, array in weights.items()})
    return path


@pytest.mark.slow
def test_bare_names_with_test_vectors_and_buffers(tmp_path, weights, video):
    extra = {
        "head.weight": np.zeros((5, 16)),
        "head.bias": np.zeros(5),
        "input": video,
        "features": video,
        "logits": np.zeros(5),
        "features.0.0.attn.relative_position_index": np.zeros((18, 18)),
    }
    path = save(tmp_path / "w.npz", {**weights, **extra})
    # float32 against float64 over four blocks, outputs of size 1
    np.testing.assert_allclose(
        features(path, video, **SIZES), encode(video, weights, **SIZES), rtol=0, atol=1e-4
    )


def test_published_names_and_safetensors_are_the_same_weights(tmp_path, weights):
    published = {}
    for name, array in weights.items():
        parts = name.split(".")
        if parts[0] == "features":
            kind = "blocks" if int(parts[1]) % 2 == 0 else "downsample"
            parts[:2] = ["layers", str(int(parts[1]) // 2), kind]
        renamed = ".".join(parts).replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
        published[f"backbone.{renamed}"] = array
    save_file(published, tmp_path / "w.safetensors")
    assert "backbone.layers.0.blocks.1.mlp.fc1.weight" in published
    read = read_weights(tmp_path / "w.safetensors")
    assert read.keys() == weights.keys()
    for name in weights:
        np.testing.assert_array_equal(read[name], weights[name])


def test_all_complaints_come_at_once(tmp_path, weights):
    wrong = dict(weights)
    del wrong["norm.bias"], wrong["features.1.reduction.weight"]
    wrong["features.0.0.extra.weight"] = np.zeros(3)
    wrong["features.0.1.mlp.0.weight"] = np.zeros((8, 8), np.float32)
    wrong["patch_embed.proj.weight"] = np.zeros((8, 3, 4, 4, 4), np.float32)
    path = save(tmp_path / "w.npz", wrong, "param/")
    with pytest.raises(ValueError, match="does not fit") as error:
        load_swin(path, SwinConfig(**SIZES))
    message = str(error.value)
    assert "missing (2): features.1.reduction.weight; norm.bias" in message
    assert "unexpected (1): features.0.0.extra.weight" in message
    assert "misshaped (2)" in message
    assert "features.0.1.mlp.0.weight: got (8, 8), expected (32, 8)" in message
    assert "patch_embed.proj.weight: got (8, 3, 4, 4, 4), expected (8, 3, 2, 4, 4)" in message


def test_files_that_cannot_be_read(tmp_path, weights):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        load_swin(tmp_path / "absent.npz", SwinConfig(**SIZES))
    (tmp_path / "w.h5").touch()
    with pytest.raises(ValueError, match=r"suffix '.h5'.*\.safetensors"):
        load_swin(tmp_path / "w.h5", SwinConfig(**SIZES))
    np.savez(tmp_path / "objects.npz", norm=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_swin(tmp_path / "objects.npz", SwinConfig(**SIZES))


def test_another_window_resizes_the_tables(tmp_path, weights):
    path = save(tmp_path / "w.npz", weights)
    encoder = load_swin(path, SwinConfig(**{**SIZES, "window_size": (2, 4, 4)}))
    name = "features.0.1.attn.relative_position_bias_table"
    expected = resize_table(weights[name], (2, 3, 3), (2, 4, 4))
    np.testing.assert_array_equal(
        encoder.features[0][1].attn.relative_position_bias_table[...], expected
    )


def test_resizing_keeps_the_same_size_constants_and_mirrors():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((3 * 5 * 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(resize_table(table, (2, 3, 3), (2, 3, 3)), table)
    ones = resize_table(np.ones((75, 1), np.float32), (2, 3, 3), (4, 5, 2))
    np.testing.assert_allclose(ones, np.ones((7 * 9 * 3, 1)), atol=1e-6)
    # the opposite offsets of both queries are the table backwards
    resized = resize_table(table, (2, 3, 3), (4, 5, 2))
    np.testing.assert_allclose(
        resize_table(table[::-1], (2, 3, 3), (4, 5, 2)), resized[::-1], atol=1e-6
    )


def test_resizing_equals_bicubic_by_hand():
    """PyTorch's bicubic at one place: position (2.5 * 5 / 7) - 0.5, weights of Keys' a = -0.75."""
    row = np.array([0.0, 0.0, 1.0, 0.0, 0.0])
    table = np.tile(row, 5).reshape(-1, 1)
    resized = resize_table(table, (1, 3, 3), (1, 3, 4)).reshape(5, 7)
    distance = abs((2 + 0.5) * 5 / 7 - 0.5 - 2)
    weight = 1.25 * distance**3 - 2.25 * distance**2 + 1
    np.testing.assert_allclose(resized[0, 2], weight, rtol=1e-6)


def test_window_of_a_table():
    assert guess_window(3 * 13 * 13, (2, 8, 8)) == (2, 7, 7)
    assert guess_window(15 * 13 * 13, (2, 7, 7)) == (8, 7, 7)
    with pytest.raises(ValueError, match="source_window"):
        guess_window(14, (2, 7, 7))


@pytest.mark.slow
def test_golden_file(real_data):
    path = real_data / "golden" / "video_swin_a.npz"
    cfg = SwinConfig(
        patch_size=(4, 4, 4),
        embed_dim=12,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 4, 8),
        window_size=(2, 7, 7),
        patch_norm=True,
    )
    with np.load(path) as golden:
        clip, expected = np.moveaxis(golden["input"], 1, -1), golden["features"]
    out = jax.jit(load_swin(path, cfg))(clip)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4)  # the bound
