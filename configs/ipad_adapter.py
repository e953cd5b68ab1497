"""From synthetic footage to a real machine, with low-rank adapters: Table 3 of the paper (sec. 4.4, 5.4).

    ipad-jax prepare ipad --manual-dir IPAD_dataset --scene R01 S01
    ipad-jax train --config ipad_adapter:pretrain_twin,R01 --workdir runs/S01
    ipad-jax train --config ipad_adapter:few_shot_adapters,R01 --config.init_from=runs/S01 --workdir runs/R01
    ipad-jax evaluate --workdir runs/R01

Trained are 10.25M of the 35.9M in encoder and decoder (`--describe`; the paper's 10.3M), and the checkpoints
of such a run hold only those: keep the folder it started from, or `ipad-jax merge` both into one.

Each row of Table 3 has its name here (see ARGS), and so have the pretrainings it may start from; a real scene
chooses which. Rows `synthetic` and `pretrain_*` have not seen the real scene: judge them on it with `ipad-jax
evaluate --config.data.name=R01`. Rendered machines take the same leaves on the small model:

    ipad-jax train --config ipad_adapter:factory --config.data.name=arm_real --config.init_from=runs/arm

The paper needs 17 minutes with all of a scene's real videos and 2.3 with a fifth of them and adapters, on a
GPU it does not name, for a mean AUC of 70.0 and 67.2. Here: not yet run, the archive was not at hand.
"""

from ml_collections import ConfigDict

from ipad_jax.configs import factory, ipad
from ipad_jax.configs._base import make_tiny, parse_arg
from ipad_jax.video.ipad.transfer import COMPONENTS, FEW_SHOT, IPAD, RANK, ROWS

PRETRAININGS = {"pretrain_twin": "twin", "pretrain_twins": "twins", "pretrain_all": "all"}
ROW = {row.name: row for row in ROWS}
ARGS = {
    **{name: f"Table 3: {row.text}" for name, row in ROW.items()},
    "pretrain_twin": "what full, few_shot_full and few_shot_adapters start from",
    "pretrain_twins": "one model of S01-S04, what few_shot_adapters_twins starts from",
    "pretrain_all": "one model of S01-S12, what few_shot_adapters_all starts from",
    **{
        scene: f"the real scene, whose twin is {twin}; R01 by default"
        for scene, twin in IPAD.twins.items()
    },
    "factory": "rendered machines on the small model, by leaves alone; adapters unless they say otherwise",
    "paper": "the paper's set-up, see configs/ipad.py",
    "tiny": "a CPU minute on a dataset prepared with --size 32",
}


def get_config(arg: str | None = None) -> ConfigDict:
    """The config; see the module's text and ARGS. Without a row: few_shot_adapters."""
    options = parse_arg(arg, ARGS)
    rows, scenes = options & (ROW.keys() | PRETRAININGS.keys()), options & IPAD.twins.keys()
    if len(rows) > 1 or len(scenes) > 1:
        raise ValueError(f"take one row and one scene; got {', '.join(sorted(rows | scenes))}.")
    if "factory" in options and (rows | scenes | options & {"paper"}):
        raise ValueError(
            "factory has no rows, scenes or paper: set data.name and the other leaves."
        )
    if "factory" in options:
        config = factory.get_config()
    else:
        config = ipad.get_config("paper" if "paper" in options else None)
    real = next(iter(scenes), "R01")
    name = next(iter(rows), "few_shot_adapters")
    if name in PRETRAININGS:
        config.data.name = "+".join(IPAD.scenes(PRETRAININGS[name], real))  # paper Table 3
    elif "factory" not in options:
        row = ROW[name]
        config.data.name = "+".join(IPAD.scenes(row.train, real))  # paper Table 3
        config.data.train_share = row.share  # of the videos; paper sec. 5.4
        config.adapters.rank = row.rank  # what 10.3M trainable parameters imply
    else:
        config.data.train_share = FEW_SHOT  # of the videos; paper sec. 5.4
        config.adapters.rank = RANK  # as the paper's rows
    if "paper" not in options:
        config.eval.components = ConfigDict(COMPONENTS)  # the network's own, see ipad/transfer.py
    if "tiny" in options:
        make_tiny(config)
    return config
