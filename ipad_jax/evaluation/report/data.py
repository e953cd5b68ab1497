"""What the page is made from: plain arrays and dicts, so that it knows neither model nor scoring."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Curve:
    """Scores of one video over time.

    Attributes:
      name: the video's name.
      time_s: [n] seconds.
      score: [n] anomaly score, NaN where unscored.
      label: [n] 1 anomalous, 0 normal, -1 unknown; None = no labels.
      phase: [n] predicted phase in [0, 1), NaN unknown; None = no phase.
      true_phase: [n] the same where the source knows it; None = unknown.
      events: (start_s, stop_s) of each alarm.
      note: said beside the name, e.g. the fault's kind.
    """

    name: str
    time_s: np.ndarray
    score: np.ndarray
    label: np.ndarray | None = None
    phase: np.ndarray | None = None
    true_phase: np.ndarray | None = None
    events: Sequence[tuple[float, float]] = ()
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table of methods.

    Attributes:
      name: in plain words ("fused score", "frame difference, local").
      metrics: names as in metrics.json; the page shows auc_micro, auc_interval, auc_macro,
        average_precision, num_frames, and the auc of each entry of by_kind.
      is_main: the score that alarms are made from.
      is_untrained: needs no training at all.
    """

    name: str
    metrics: Mapping[str, Any]
    is_main: bool = False
    is_untrained: bool = False


@dataclass(frozen=True)
class Strip:
    """A moment in a few pictures.

    Attributes:
      title, caption: what it is, in plain words.
      frames: uint8 [k, h, w, 3].
      reconstructions: uint8 [k, h, w, 3].
      errors: float32 [k, h, w] the component's map (calibration.MAPPED), in its own unit.
      times: what stands above each picture, e.g. "3.2 s".
    """

    title: str
    caption: str
    frames: np.ndarray
    reconstructions: np.ndarray
    errors: np.ndarray
    times: Sequence[str] = ()


@dataclass(frozen=True)
class Clip:
    """A side-by-side video (`.webm`) that lies beside the page."""

    title: str
    path: str | os.PathLike[str]
    caption: str = ""


@dataclass(frozen=True)
class ReportData:
    """Everything on the page; a part that is empty is left out.

    Attributes:
      title, subtitle: e.g. "Press, factory footage" and "checkpoint 1200, strict protocol".
      metrics: the dict of metrics.json (metrics.summary.summarise).
      rows: table of methods, the main score first.
      curves: one a test video.
      roc: name -> (false-positive rate [n], true-positive rate [n]), the main score first.
      threshold: of the main score; None = uncalibrated.
      calibration: a sentence on what the threshold rests on.
      heat_range: (low, high) of these maps, where colour begins and is full, the same on all
        pictures.
      misses, false_alarms: worst moments, worst first.
      clips: videos.
      facts: run facts at the foot of the page (config, seed, machine, seconds...).
      warnings: what a reader must know before trusting a number (dropped components, few units).
    """

    title: str
    subtitle: str
    metrics: Mapping[str, Any]
    rows: Sequence[Row] = ()
    curves: Sequence[Curve] = ()
    roc: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    threshold: float | None = None
    calibration: str = ""
    heat_range: tuple[float, float] = (0.0, 0.3)
    misses: Sequence[Strip] = ()
    false_alarms: Sequence[Strip] = ()
    clips: Sequence[Clip] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
