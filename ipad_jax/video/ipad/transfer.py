"""Table 3 of the IPAD paper as plain data: eight ways from synthetic footage to a real machine (sec. 5.4).

A row says what is pretrained on, what is then trained on and how; `plan` turns a row and a real scene
into the runs that it takes, pretraining first. Rows that pretrain on the same scenes share that run: it
has one name. `configs/ipad_adapter.py` and `ipad-jax reproduce --table 3` both read this.

Every row is judged on the real scene's test videos: `ipad-jax evaluate --config.data.name=R01`. The score
must be the network's own: the component `nearest` compares with the real training frames and would lend
them to a row that never saw any, so COMPONENTS leaves it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Footage = Literal["", "real", "twin", "real+twin", "twins", "all"]

RANK = 16  # of the adapters: what the paper's 10.3M trainable parameters imply (see adapters.py)
FEW_SHOT = 0.2  # share of the real training videos; paper sec. 5.4: "only 1/5 of the real data"
COMPONENTS = {"pooled_mean": 1.0, "period_error": 0.3}  # eval.components of every row; our choice


@dataclass(frozen=True)
class Row:
    """One row of Table 3.

    Attributes:
      name: as an argument of configs/ipad_adapter.py.
      text: what a table prints.
      pretrain: scenes of the pretrained model: "" (none), "twin" (the synthetic scene of the same
        device), "twins" (the synthetic scenes of all real devices), "all" (every synthetic scene).
      train: scenes of the run that is judged: "real", "twin" or "real+twin".
      share: of that run's training videos.
      rank: of its adapters; 0 trains the whole model.
      paper_auc: frame AUC in percent by scene, and "mean", as printed.
      paper_minutes: finetuning time as printed; the paper does not name its GPU.
      paper_parameters: trainable parameters in millions, as printed.
    """

    name: str
    text: str
    pretrain: Footage
    train: Footage
    share: float
    rank: int
    paper_auc: Mapping[str, float]
    paper_minutes: float
    paper_parameters: float


def _paper(*auc: float) -> dict[str, float]:
    return dict(zip(("R01", "R02", "R03", "R04", "mean"), auc, strict=True))


ROWS = (
    Row(
        "real", "real only", "", "real", 1.0, 0,
        _paper(84.4, 75.4, 43.5, 76.7, 70.0), 17.0, 35.9,
    ),
    Row(
        "synthetic", "synthetic only", "", "twin", 1.0, 0,
        _paper(30.5, 62.1, 40.5, 66.8, 49.9), 37.0, 35.9,
    ),
    Row(
        "mixed", "real and synthetic, one stage", "", "real+twin", 1.0, 0,
        _paper(83.7, 75.1, 43.8, 75.4, 69.5), 53.0, 35.9,
    ),
    Row(
        "full", "pretrained on the twin, full fine-tuning", "twin", "real", 1.0, 0,
        _paper(87.9, 75.9, 44.1, 77.1, 71.3), 17.0, 35.9,
    ),
    Row(
        "few_shot_full", "the same, 1/5 of the real videos", "twin", "real", FEW_SHOT, 0,
        _paper(85.1, 72.6, 42.8, 72.2, 68.2), 4.0, 35.9,
    ),
    Row(
        "few_shot_adapters", "the same, adapters", "twin", "real", FEW_SHOT, RANK,
        _paper(86.3, 69.4, 42.6, 70.4, 67.2), 2.3, 10.3,
    ),
    Row(
        "few_shot_adapters_twins", "adapters, one model of all twins", "twins", "real", FEW_SHOT, RANK,
        _paper(85.4, 69.9, 44.5, 70.6, 67.6), 2.3, 10.3,
    ),
    Row(
        "few_shot_adapters_all", "adapters, one model of all devices", "all", "real", FEW_SHOT, RANK,
        _paper(85.7, 70.7, 46.0, 71.1, 68.4), 2.3, 10.3,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """Which synthetic scene belongs to which real one.

    Attributes:
      twins: real scene -> its synthetic twin.
      others: synthetic scenes without a real counterpart.
    """

    twins: Mapping[str, str]
    others: tuple[str, ...] = ()

    def scenes(self, footage: Footage, real: str) -> tuple[str, ...]:
        """The scenes that a row's word stands for, seen from one real scene.

        Raises:
          ValueError: no such real scene; names those there are.
        """
        if real not in self.twins:
            raise ValueError(f"{real!r} is no real scene; there are {', '.join(self.twins)}.")
        every = tuple(self.twins.values())
        found: dict[str, tuple[str, ...]] = {
            "": (),
            "real": (real,),
            "twin": (self.twins[real],),
            "real+twin": (real, self.twins[real]),
            "twins": every,
            "all": every + self.others,
        }
        return found[footage]


IPAD = Pairs(  # paper sec. 3: R01-R04 are the real counterparts of S01-S04
    {f"R{i:02d}": f"S{i:02d}" for i in range(1, 5)},
    tuple(f"S{i:02d}" for i in range(5, 13)),
)


def factory(devices: tuple[str, ...], others: tuple[str, ...] = ()) -> Pairs:
    """The same of rendered machines: `devices` have both looks, of `others` the synthetic one is used."""
    return Pairs(
        {f"{name}_real": f"{name}_synthetic" for name in devices},
        tuple(f"{name}_synthetic" for name in others),
    )


@dataclass(frozen=True)
class Run:
    """One training of a plan.

    Attributes:
      name: the same for the same training, so that rows can share it; good for a folder.
      scenes: trained on together.
      share: of their training videos.
      rank: of the adapters; 0 trains the whole model.
      init_from: name of the run it starts from; "" for none.
    """

    name: str
    scenes: tuple[str, ...]
    share: float = 1.0
    rank: int = 0
    init_from: str = ""

    def overrides(self, init_from: str = "") -> dict[str, Any]:
        """Leaves of a config that make it this run.

        Args:
          init_from: where the run it starts from lies.
        """
        return {
            "data.name": "+".join(self.scenes),
            "data.train_share": self.share,
            "adapters.rank": self.rank,
            "init_from": init_from,
        }


@dataclass(frozen=True)
class Plan:
    """What one row takes for one real scene.

    Attributes:
      row: the row.
      pretraining: the run to start from; None for none.
      run: the run that is judged.
    """

    row: Row
    pretraining: Run | None
    run: Run


def plan(row: Row, pairs: Pairs, real: str) -> Plan:
    """The runs of one row for one real scene.

    Raises:
      ValueError: see `Pairs.scenes`.
    """
    before = pairs.scenes(row.pretrain, real)
    pretraining = Run("pretrained_" + "+".join(before), before) if before else None
    scenes = pairs.scenes(row.train, real)
    name = "+".join(scenes)
    if row.share < 1:
        name += f"_share{row.share:g}"
    if row.rank:
        name += f"_rank{row.rank}"
    if pretraining:
        name += f"_from_{'+'.join(before)}"
    start = pretraining.name if pretraining else ""
    run = Run(name, scenes, row.share, row.rank, start)
    # Row `synthetic` is the pretraining itself, judged on the real scene: trained once for both.
    if not pretraining and scenes == pairs.scenes("twin", real) and row.share == 1 and not row.rank:
        run = Run("pretrained_" + name, scenes)
    return Plan(row, pretraining, run)
