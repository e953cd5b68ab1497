"""What trains when a model is adapted, counted as the paper counts it."""

import jax
import numpy as np
import pytest
from drawn_model import drawn
from flax import nnx

from ipad_jax.commands.train import main
from ipad_jax.run.config import load_config
from ipad_jax.training.state import inference_view
from ipad_jax.training.task import make_task
from ipad_jax.video.ipad.adapters import add_adapters
from ipad_jax.video.ipad.model import VideoModel, VideoModelConfig


@pytest.mark.slow
def test_describe_shows_10_25_million_at_the_papers_size(capsys):
    told = ["--config", "ipad_adapter", "--describe", "--config.data.data_dir=/nowhere"]
    assert main(told) == 0
    text = capsys.readouterr().out
    table = text[text.index("what trains") :]
    rows = {line[:36].strip(): line[36:].split() for line in table.splitlines()[1:] if line[36:]}
    width, depths, heads = 96, (2, 2, 6, 2), (3, 6, 12, 24)
    dims = [width << stage for stage in range(4)]
    blocks = [dim for dim, depth in zip(dims, depths) for _ in range(depth)]
    merged = [dims[0], dims[1], dims[2]]
    expected = {
        "encoder: low-rank adapters of q, v": sum(2 * 2 * 16 * dim for dim in blocks),
        "encoder: patch embedding": (3 * 4 * 4 * 4 + 1) * width,
        "encoder: norms": sum(4 * dim for dim in blocks)
        + sum(2 * 4 * dim for dim in merged)
        + 2 * dims[-1],
        "encoder: patch merging": sum(4 * dim * 2 * dim for dim in merged),
        "encoder: relative position bias": 3 * 13 * 13 * sum(h * d for h, d in zip(heads, depths)),
        "decoder": 8_304_387,  # 8.30M, as the published code's
    }
    found = {name: int(rows[name][0].replace(",", "")) for name in expected}
    assert found == expected
    assert rows["encoder + decoder"][:2] == [f"{sum(expected.values()):,}", "10.25M"]
    assert "paper, Table 3: 10.3M" in table
    # qkv, the projection after it and the MLP, with their biases
    kept = sum(3 * dim * (dim + 1) + dim * (dim + 1) + 8 * dim * dim + 5 * dim for dim in blocks)
    assert rows["encoder: qkv, projections, MLPs"] == ["0", "0.00M", f"{kept:,}"]


@pytest.mark.slow
def test_an_adapted_model_is_the_base_bit_by_bit():
    cfg = VideoModelConfig.debug()
    base, adapted = (drawn(lambda: VideoModel(cfg, rngs=nnx.Rngs(3)), seed=3) for _ in range(2))
    add_adapters(adapted, 2, jax.random.key(9))
    clip = np.random.default_rng(0).uniform(-1, 1, (2, 4, 16, 16, 3)).astype(np.float32)
    run = nnx.jit(lambda model, clip: model(clip))
    for one, other in zip(*(run(inference_view(m), clip) for m in (base, adapted))):
        np.testing.assert_array_equal(one, other)
    # 3 attentions with 2 matrices of 2 factors
    assert len(jax.tree.leaves(nnx.state(adapted, nnx.LoRAParam))) == 3 * 2 * 2


def test_a_method_without_attention_is_refused():
    with pytest.raises(ValueError, match=r"adapters\.rank=4: this method has no attention"):
        make_task(load_config("conae:factory,tiny", {"adapters.rank": 4}))
