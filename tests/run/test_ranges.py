"""Leaves outside their range are refused, by name, before a folder is made."""

import pytest
from toy import toy_config

from ipad_jax.main import main
from ipad_jax.run.config import CONFIGS, leaves, load_config
from ipad_jax.run.ranges import RULES, check_ranges
from ipad_jax.training.loop import train

CONFIG_FILES = sorted(path.stem for path in CONFIGS.glob("[!_]*.py"))


@pytest.mark.parametrize("name", CONFIG_FILES)
@pytest.mark.parametrize("suffix", ["", ":tiny"])
def test_every_config_lies_within(name, suffix):
    check_ranges(load_config(name + suffix))


def test_every_rule_is_of_a_leaf():
    assert RULES.keys() <= leaves(load_config("factory")).keys()


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        *((leaf, -1) for leaf in RULES),
        *((leaf, 0) for leaf in ("batch_size", "eval_batches", "fsdp", "checkpoint.keep")),
        *((leaf, 0) for leaf in ("data.clip_len", "data.holdout_min", "data.train_share")),
        *((leaf, float("nan")) for leaf in ("epochs", "max_seconds", "data.holdout_share")),
        *((leaf, float("inf")) for leaf in ("epochs", "max_seconds", "data.cache_mb")),
        ("seed", 2**32),
        ("data.holdout_share", 1.0),
        ("data.train_share", 1.5),
    ],
)
def test_a_leaf_out_of_range_is_named(leaf, value):
    config = load_config("factory")
    kind = type(leaves(config)[leaf])
    with config.unlocked():
        config.update_from_flattened_dict({leaf: kind(value)})
    with pytest.raises(ValueError, match=rf"^config\.{leaf}={kind(value)} must be [^;]*\.$"):
        check_ranges(config)


def test_describing_refuses_them_too(capsys):
    assert (
        main(["train", "--config", "factory:tiny", "--describe", "--config.data.clip_len=0"]) == 1
    )
    assert "config.data.clip_len=0 must be 1 or more" in capsys.readouterr().err


def test_all_of_them_are_named_at_once_and_nothing_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"config\.log_every=-1 .*; config\.total_steps=-5 "):
        train(toy_config(log_every=-1, total_steps=-5), tmp_path / "run")
    assert not (tmp_path / "run").exists()
