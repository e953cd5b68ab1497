"""Table 3 as data: its numbers, and the runs that each row takes."""

import numpy as np
import pytest

from ipad_jax.run.config import leaves, load_config
from ipad_jax.video.ipad.transfer import COMPONENTS, FEW_SHOT, IPAD, ROWS, factory, plan

ROW = {row.name: row for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_printed_mean_is_that_of_the_printed_scenes(row):
    scenes = [auc for scene, auc in row.paper_auc.items() if scene != "mean"]
    # one figure behind the point, of five numbers rounded so: at most 0.1 apart
    np.testing.assert_allclose(np.mean(scenes), row.paper_auc["mean"], atol=0.1 + 1e-9)


def test_eight_rows_of_which_three_pretrain_on_the_twin_and_three_have_adapters():
    assert len(ROW) == 8
    assert [row.pretrain for row in ROWS] == ["", "", "", *["twin"] * 3, "twins", "all"]
    assert [row.rank > 0 for row in ROWS] == [False] * 5 + [True] * 3
    assert [row.share for row in ROWS] == [1.0] * 4 + [FEW_SHOT] * 4


def test_runs_of_the_rows():
    found = plan(ROW["few_shot_adapters_twins"], IPAD, "R02")
    assert found.pretraining is not None
    assert found.pretraining.scenes == ("S01", "S02", "S03", "S04")
    assert (found.run.scenes, found.run.init_from) == (("R02",), found.pretraining.name)
    assert found.run.overrides("runs/base") == {
        "data.name": "R02",
        "data.train_share": FEW_SHOT,
        "adapters.rank": 16,
        "init_from": "runs/base",
    }
    everything = plan(ROW["few_shot_adapters_all"], IPAD, "R02").pretraining
    assert everything is not None
    assert everything.scenes == tuple(f"S{i:02d}" for i in range(1, 13))
    assert plan(ROW["mixed"], IPAD, "R03").run.scenes == ("R03", "S03")


def test_what_is_trained_alike_has_one_name_and_nothing_else_has():
    plans = [plan(row, IPAD, real) for row in ROWS for real in IPAD.twins]
    runs = {p.run for p in plans} | {p.pretraining for p in plans if p.pretraining}
    names = {run.name for run in runs}
    assert len(names) == len(runs)
    # 8 rows x 4 scenes, the synthetic row being the pretraining on the twin; twins and all once each
    assert len(runs) == 8 * 4 + 2
    assert plan(ROW["synthetic"], IPAD, "R01").run == plan(ROW["full"], IPAD, "R01").pretraining


def test_factory_devices_pair_by_name():
    pairs = factory(("arm", "lift"), ("drill",))
    found = plan(ROW["few_shot_adapters_all"], pairs, "lift_real")
    assert found.pretraining is not None
    assert found.pretraining.scenes == ("arm_synthetic", "lift_synthetic", "drill_synthetic")
    with pytest.raises(ValueError, match="no real scene; there are arm_real, lift_real"):
        plan(ROW["real"], pairs, "lift_synthetic")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_is_a_config(row):
    found = plan(row, IPAD, "R03")
    config = load_config(f"ipad_adapter:{row.name},R03")
    wanted = found.run.overrides()
    assert {name: leaves(config)[name] for name in wanted} == wanted
    assert config.eval.components.to_dict() == COMPONENTS


@pytest.mark.parametrize(("name", "footage"), [("twin", "S03"), ("twins", "S01+S02+S03+S04")])
def test_so_is_each_pretraining(name, footage):
    config = load_config(f"ipad_adapter:pretrain_{name},R03,paper")
    assert config.data.name == footage
    assert (config.adapters.rank, config.data.train_share) == (0, 1.0)
    assert config.eval.protocol == "paper"


def test_rows_and_scenes_are_taken_one_at_a_time():
    with pytest.raises(ValueError, match="one row and one scene; got full, mixed"):
        load_config("ipad_adapter:full,mixed")
    with pytest.raises(ValueError, match="factory has no rows"):
        load_config("ipad_adapter:factory,R01")
    rendered = load_config("ipad_adapter:factory")
    assert (rendered.data.builder, rendered.adapters.rank) == ("factory", 16)
