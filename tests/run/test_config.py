"""Configs: found, overridden, kept, compared; every leaf explained."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from ml_collections import ConfigDict

from ipad_jax.data_builders.factory.devices import DEVICES
from ipad_jax.data_builders.factory.scene import LOOKS
from ipad_jax.run.config import (
    CONFIGS,
    FREE_LEAVES,
    check_workdir,
    claim_workdir,
    config_hash,
    config_path,
    differing_leaves,
    leaves,
    load_config,
    read_config,
    save_config,
)
from ipad_jax.training.state import training_view
from ipad_jax.video.ipad.model import VideoModelConfig
from ipad_jax.video.ipad.task import VideoTask

NAMES = ("factory", "ipad", "video_folder")
WEIGHTS = [f"eval.components.{name}" for name in ("nearest", "period_error", "motion")]
VARIANTS = [
    f"{name}:{arg}"
    for name in NAMES
    for arg in import_module(f"ipad_jax.configs.{name}").ARGS
    if arg != "tiny"
]


@pytest.mark.parametrize("spec", ["factory", "factory.py", "configs/factory.py", "factory:tiny"])
def test_a_config_is_found_by_name_or_path(spec, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # not from the clone's own folder
    path, _, arg = config_path(spec).partition(".py:")
    assert path.removesuffix(".py") == str(CONFIGS / "factory")
    assert arg == ("tiny" if ":" in spec else "")


def test_an_unknown_config_names_those_there_are():
    with pytest.raises(FileNotFoundError, match=r"there are: .*factory, .*ipad, .*video_folder"):
        config_path("factroy")


def test_an_own_file_works(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from ipad_jax.configs.factory import get_config as base\n"
        "def get_config(arg=None):\n"
        "    config = base(arg)\n"
        "    config.optim.lr = 0.5\n"
        "    return config\n"
    )
    assert load_config(f"{tmp_path / 'mine.py'}:tiny").optim.lr == 0.5
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="no get_config"):
        load_config(str(tmp_path / "empty.py"))


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_argument_says_the_choices(name):
    with pytest.raises(
        ValueError, match=r"unknown config argument tinny; there are:\n(.*\n)*  tiny"
    ):
        load_config(f"{name}:tinny")


def test_ipad_arguments():
    config = load_config("ipad")
    assert (config.batch_size, config.epochs, config.optim.lr) == (8, 50.0, 1e-4)  # paper sec. 5.2
    assert config.optim.weight_decay == config.optim.clip_norm == 0
    paper = load_config("ipad:paper")
    assert (paper.eval.protocol, paper.eval.stride, paper.data.holdout_share) == ("paper", 1, 0)
    assert VideoTask(paper).model_config == VideoModelConfig.paper()
    assert VideoTask(load_config("ipad:as_published")).model_config == (
        VideoModelConfig.as_published()
    )
    with pytest.raises(ValueError, match="exclude each other"):
        load_config("ipad:paper,as_published")


def test_options_combine():
    assert load_config("video_folder").model.period_head == "none"
    config = load_config("video_folder:full,cycle")
    assert config.model.period_head == "pooled"
    assert config.model.encoder.embed_dim == 96
    assert "period_error" in config.eval.components


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*(f"{name}:" for name in NAMES), *VARIANTS])
def test_every_variant_and_its_tiny_one_give_a_loss(spec):
    large, tiny = VideoTask(load_config(spec)), VideoTask(load_config(f"{spec},tiny"))
    was, now = large.model_config, tiny.model_config
    assert now.memory.num_slots < was.memory.num_slots
    for switch in ("boost", "shrink", "softmax_over"):
        assert getattr(now.memory, switch) == getattr(was.memory, switch)
    assert (now.period_head, now.encoder.patch_norm) == (was.period_head, was.encoder.patch_norm)
    assert loss_shape(tiny) == ()


def loss_shape(task):
    """Traces a training step's loss: every shape is checked, nothing is compiled or allocated."""
    cfg, key = task.model_config, jax.random.key(0)
    model = training_view(nnx.eval_shape(lambda: task.init_model(key)), task.trainable)
    graphdef, state = nnx.split(model)
    batch = {
        "clip": jax.ShapeDtypeStruct((2, cfg.clip_len, *cfg.image_size, 3), jnp.uint8),
        "phase": jax.ShapeDtypeStruct((2,), jnp.float32),
    }

    def loss(state, batch):
        return task.loss_fn(nnx.merge(graphdef, state, copy=True), batch, key)[0]

    return jax.eval_shape(loss, state, batch).shape


@pytest.mark.slow
def test_kinetics_has_the_published_shape():
    task = VideoTask(load_config("ipad:kinetics"))
    assert loss_shape(task) == ()
    config = task.model_config.encoder
    # mmaction's swin_tiny_patch244_window877_kinetics400_1k
    assert (config.patch_size, config.window_size) == ((2, 4, 4), (8, 7, 7))
    assert config.patch_norm
    assert (config.embed_dim, config.depths) == (96, (2, 2, 6, 2))


def test_the_factory_renders_the_default_scene():
    device, _, look = load_config("factory").data.name.rpartition("_")
    assert device in DEVICES
    assert look in LOOKS


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"eval.stride": 5}, r"config\.eval: eval.stride=5 must lie in 1\.\.data.clip_len=4"),
        ({"eval.spacing": 3}, r"spacing=3 frames must be a multiple of eval.stride=2"),
        ({"eval.window": 4}, r"window=4 must be odd"),
        ({"eval.false_alarms_per_hour": 0.0}, r"eval\.false_alarms_per_hour=0\.0 must be above"),
        (
            {"eval.features": "resnet19"},
            r"eval\.features='resnet19'; take one of resnet18, .*dinov2",
        ),
        ({"eval.features": "resnet18"}, r"resnet18 needs a file .* as eval\.features_weights"),
        ({"eval.protocol": "strikt"}, r"eval\.protocol='strikt'; one of paper, strict"),
        (dict.fromkeys(WEIGHTS, 0.0), "other than 0"),
    ],
)
def test_what_scoring_would_refuse_is_refused_before_training(override, message):
    with pytest.raises(ValueError, match=message):
        VideoTask(load_config("factory:tiny", override))


def test_an_unknown_component_is_refused_before_training():
    config = load_config("factory:tiny")
    with config.unlocked():
        config.eval.components = ConfigDict({"pooled": 1.0})
    with pytest.raises(ValueError, match=r"No component \['pooled'\].*pooled_mean"):
        VideoTask(config)


@pytest.mark.parametrize("path", [*sorted(CONFIGS.glob("[!_]*.py")), CONFIGS / "_base.py"])
def test_every_line_ends_with_its_unit_or_source(path):
    lines = path.read_text().splitlines()
    setting = re.compile(r"\s+(config|data|loss|optim|checkpoint|evaluation)\.[\w.]+ = (?!\w+ = )")
    sections = re.compile(r"= (data|loss|optim|checkpoint|evaluation) = ConfigDict\(\)$")
    bare = [
        line
        for line in lines
        if setting.match(line)
        and not sections.search(line)
        and "#" not in line
        and "model_section" not in line
    ]
    assert not bare


def test_overrides_check_name_and_type():
    config = load_config("factory", {"optim.lr": 0.25, "data.name": "conveyor_real"})
    assert (config.optim.lr, config.data.name) == (0.25, "conveyor_real")
    with pytest.raises(ValueError, match=r"no leaf 'optim\.rate'; it has .*optim\.lr"):
        load_config("factory", {"optim.rate": 1.0})
    with pytest.raises(ValueError, match=r"total_steps='many'"):
        load_config("factory", {"total_steps": "many"})
    with pytest.raises(AttributeError):
        config.optm = 1  # locked


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_config_comes_back_the_same(name, tmp_path):
    config = load_config(name)
    save_config(tmp_path, config)
    again = read_config(tmp_path)
    assert leaves(again) == leaves(config)
    assert differing_leaves(config, again) == {}
    assert config_hash(again) == config_hash(config)
    assert VideoTask(again).model_config == VideoTask(config).model_config


def test_a_folder_belongs_to_its_config(tmp_path):
    claim_workdir(tmp_path, load_config("factory"))
    claim_workdir(tmp_path, load_config("factory", {"total_steps": 9, "num_workers": 3}))
    assert read_config(tmp_path).total_steps == 9
    other = load_config("factory", {"optim.lr": 0.5, "data.name": "x"})
    with pytest.raises(ValueError, match=r"data\.name: 'arm.*\n  optim\.lr: 0\.001 there, 0\.5"):
        claim_workdir(tmp_path, other)
    assert read_config(tmp_path).optim.lr == 0.001


def test_a_run_folder_is_read_from_anywhere(tmp_path, monkeypatch):
    """Its config.json holds data_dir from the root on; a bucket stays one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    stored = {"": "", "data": f"{tmp_path}/data", "~/data": f"{tmp_path}/home/data"}
    for given, kept in {**stored, "gs://bucket/data": "gs://bucket/data"}.items():
        config = load_config("factory", {"data.data_dir": given})
        claim_workdir("run", config)
        assert read_config("run").data.data_dir == kept
        assert config.data.data_dir == given


def test_checking_a_folder_writes_nothing(tmp_path):
    check_workdir(tmp_path / "run", load_config("factory"))
    assert not (tmp_path / "run").exists()
    claim_workdir(tmp_path, load_config("factory"))
    with pytest.raises(ValueError, match=r"seed: 0 there, 1 here"):
        check_workdir(tmp_path, load_config("factory", {"seed": 1}))


@pytest.mark.slow
def test_a_project_with_a_configs_folder_of_its_own_works(tmp_path):
    """`configs` of the folder that the command is started in, or of PYTHONPATH, is not ours."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("")
    (tmp_path / "configs" / "_base.py").write_text("raise ImportError('the project\\'s own')\n")
    code = "from ipad_jax.run.config import load_config; print(load_config('dmad:tiny').task)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (0, "video.dmad\n"), run.stderr


def test_a_leaf_that_came_after_the_run_is_named_with_what_to_do(tmp_path):
    now = load_config("factory")
    before = ConfigDict(now.to_dict())
    del (
        before.adapters,
        before.data.train_share,
        before.eval.motion_px,
    )  # of eval any leaf may change
    save_config(tmp_path, before)
    with pytest.raises(
        ValueError,
        match=r"adapters\.rank: '\(none\)' there, 0 here\n  data\.train_share.*\n"
        r"Leaves with \(none\).*--config\.init_from=",
    ):
        claim_workdir(tmp_path, now)


def test_a_run_of_before_blocks_goes_on_only_with_its_tail(tmp_path):
    before = ConfigDict(load_config("factory").to_dict())
    del before.data.holdout_blocks
    save_config(tmp_path, before)
    with pytest.raises(
        ValueError, match=r"data\.holdout_blocks: 0 there, 4 here\n.*the same values"
    ):
        check_workdir(tmp_path, load_config("factory"))
    check_workdir(tmp_path, load_config("factory", {"data.holdout_blocks": 0}))
    assert differing_leaves(before, before) == {}


def test_the_length_counts_where_the_schedule_depends_on_it():
    cosine = {"optim.schedule": "cosine"}
    old, new = (load_config("factory", {**cosine, "total_steps": n}) for n in (5, 6))
    assert differing_leaves(old, new) == {"total_steps": (5, 6)}


def test_the_hash_tells_experiments_apart_but_not_places():
    config = load_config("factory")
    for free in FREE_LEAVES:
        value = leaves(config)[free]
        other = {"": "x", True: False, False: True}.get(value, value and value + 1)
        assert config_hash(load_config("factory", {free: other or 1})) == config_hash(config), free
    assert config_hash(load_config("factory", {"seed": 1})) != config_hash(config)
    assert config_hash(load_config("factory", {"eval.stride": 2})) != config_hash(config)


def test_no_run_and_a_broken_one_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ValueError, match="is not JSON"):
        read_config(tmp_path)


def test_a_run_folder_of_the_old_names_is_read_with_the_new_ones(tmp_path):
    config = load_config("dmad:factory,tiny").to_dict()
    config["task"] = "dmad"
    config["data"]["scene"] = config["data"].pop("name")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path) == ConfigDict(
        json.loads(json.dumps(load_config("dmad:factory,tiny").to_dict()))
    )


@pytest.mark.parametrize("per_hour", [None, 0.0, 20.0])
def test_a_run_of_before_renews_normal_frames_as_new_ones_do(tmp_path, per_hour):
    config = load_config("factory").to_dict()
    del config["eval"]["renew_minutes"]
    if per_hour is not None:
        config["eval"]["drift_per_hour"] = per_hour
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path).eval.to_dict() == load_config("factory").eval.to_dict()


def test_the_old_name_of_a_leaf_is_refused_with_the_new_one():
    with pytest.raises(ValueError, match=r"data.scene is called data.name now"):
        load_config("factory", {"data.scene": "arm_real"})
