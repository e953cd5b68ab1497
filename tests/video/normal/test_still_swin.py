"""A Video Swin gives maps of a frame that stands still, for `eval.features`."""

import dataclasses

import jax
import numpy as np
import pytest
from swin_reference import SIZES, encode, make_weights

from ipad_jax.convert import load_swin
from ipad_jax.video.ipad.swin import SwinConfig
from ipad_jax.video.normal import still_swin
from ipad_jax.video.normal.features import NETWORKS, load_extractor
from ipad_jax.video.normal.still_swin import SWINS, swin_stages


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Weights of the reference's small encoder, taken for those of swin3d_t."""
    monkeypatch.setitem(still_swin.SWINS, "swin3d_t", SwinConfig(**SIZES))
    np.savez(tmp_path / "swin.npz", **make_weights(**SIZES))  # type: ignore[arg-type]
    return str(tmp_path / "swin.npz")


def test_maps_are_those_of_a_clip_of_the_frame_alone(file):
    images = np.random.default_rng(0).random((2, 26, 17, 3), dtype=np.float32)
    names = [stage.name for stage in swin_stages("swin3d_t")]
    backbone = still_swin.swin_backbone("swin3d_t", file, names)
    maps = jax.jit(lambda network, x: network(x))(backbone, images)
    assert list(maps) == names
    sides = [(-(-26 // s.stride), -(-17 // s.stride), s.channels) for s in backbone.stages]
    assert [x.shape[1:] for x in maps.values()] == sides
    encoder, norm = load_swin(file, SwinConfig(**SIZES)), np.asarray(list(maps.values())[-1])
    for image, last in zip(images, norm):
        still = ((image - backbone.mean) / backbone.std)[None].repeat(2, axis=0)
        expected = encode(still.astype(np.float32), make_weights(**SIZES), **SIZES)
        # float32 against float64, outputs of size 1
        np.testing.assert_allclose(encoder.norm(last[None]), expected, rtol=0, atol=1e-4)


def test_it_serves_the_video_sides_features(file):
    extractor = load_extractor("swin3d_t", file)
    assert "SHA-256" in extractor.backbone.note
    frame = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    cells = extractor.cells(extractor.picture(frame))
    first = extractor.backbone.stages[0]
    assert cells.shape == (
        -(-85 // first.stride),  # 128 pixels wide, as the frame
        128 // first.stride,
        sum(stage.channels for stage in extractor.backbone.stages),
    )
    assert np.isfinite(cells).all()


def test_sizes_are_torchvisions():
    """video/swin_transformer.py: channels of the last stage, blocks; strides 8 and 16 are what is taken."""
    ends = {name: (swin_stages(name)[-1].channels, sum(c.depths)) for name, c in SWINS.items()}
    assert ends == {"swin3d_t": (768, 12), "swin3d_s": (768, 24), "swin3d_b": (1024, 24)}
    assert {dataclasses.astuple(c)[0] for c in SWINS.values()} == {(2, 4, 4)}
    assert set(SWINS) < set(NETWORKS)
