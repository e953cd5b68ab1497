"""What the demo and the Makefile name must exist: nobody reads them until they are run."""

import re
from pathlib import Path

import pytest

from ipad_jax.commands import demo, prepare
from ipad_jax.main import COMMANDS, main
from ipad_jax.prepare.build import load_builder_class
from ipad_jax.run.config import load_config

ROOT = Path(__file__).parents[2]


def test_the_demos_scene_is_one_the_factory_can_build():
    known = {config.scene for config in load_builder_class("factory").BUILDER_CONFIGS}
    assert demo.SCENE in known
    assert load_config("factory").data.name in known


def test_the_demo_sets_leaves_that_exist():
    overrides = demo.overrides(demo.SCENE, "data", 1.0)
    assert load_config("factory", overrides).data.name == demo.SCENE


def test_the_demo_says_where_it_is(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr(demo.time, "monotonic", lambda: now)
    stages = demo.Stages()
    for stage in ("rendering", "training"):
        stages.begin(stage)
        now += 61.6
    assert capsys.readouterr().out == "[1/4,   0 s] rendering\n[2/4,  62 s] training\n"
    assert round(stages.seconds) == 123


def test_commands_named_in_the_makefile_and_the_readme_exist():
    for name in ("Makefile", "README.md"):
        text = (ROOT / name).read_text()
        found = re.findall(r"(?:^|`|\(BIN\)/)ipad-jax +(\w+)", text, re.MULTILINE)
        assert found, name
        assert set(found) <= set(COMMANDS)


def test_prepare_commands_in_the_texts_parse():
    for path in [ROOT / "README.md", *(ROOT / "configs").glob("[!_]*.py")]:
        for line in re.findall(r"ipad-jax prepare +([^#\n]+)", path.read_text()):
            arguments = re.sub(r"\[[^]]*\]", "", line).split()
            prepare.make_parser().parse_args(arguments)


@pytest.mark.parametrize("more", [[], ["--image"], ["--object"]])
def test_a_scene_that_is_empty_is_refused_and_not_the_default(more, tmp_path, capsys):
    assert main(["demo", "--scene", "", "--workdir", str(tmp_path), *more]) == 2
    assert "has no scene ''" in capsys.readouterr().err
