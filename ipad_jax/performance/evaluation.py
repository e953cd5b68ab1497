"""What `evaluate` takes by its parts, in CPU seconds: start, scoring, numbers, page, videos.

One evaluation from the process's own start, as a person waits for it; its results go to eval/bench_parts.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ipad_jax.performance.step import describe_machine
from ipad_jax.performance.timing import cpu_seconds, number
from ipad_jax.run.progress import Report
from ipad_jax.run.table import Table
from ipad_jax.video.evaluation.judge_run import evaluate
from ipad_jax.video.evaluation.measure import Evaluation

NAME = "bench_parts"
SCORING = "scoring"  # the stage of `evaluate` that all else is compared with


class Parts:
    """Charges what passes between two marks to a part.

    Attributes:
      seconds: CPU seconds by part; the first is charged from the process's start on.
      between: part that is charged with what passes between two stages.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.between = "loading"
        self._last = 0.0

    def charge(self, part: str) -> None:
        """All since the mark before was `part`."""
        now = cpu_seconds()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """A stage of `evaluate`."""
        self.charge(self.between)
        yield lambda done, total: None
        self.charge(name)
        if name == SCORING:
            self.between = "numbers"

    def announce(self, evaluation: Evaluation) -> None:
        """The numbers are there; the page comes."""
        self.charge("numbers")
        self.between = "page"


def time_evaluation(*, workdir: str, videos: str) -> Table:
    """Evaluates a run by its config, with its report.

    Args:
      workdir: a trained run of the video family, with its test split.
      videos: side-by-side videos of the report: "few", "all" or "none".

    Raises:
      FileNotFoundError, ValueError: as of `evaluate`.
    """
    parts = Parts()
    parts.charge("imports")
    evaluation = evaluate(
        workdir, name=NAME, videos=videos, stages=parts.stage, announce=parts.announce
    )
    parts.charge("page")
    assert evaluation is not None  # one process
    spent, count = parts.seconds, evaluation.metrics["num_frames"]
    spent["all"] = sum(spent.values())
    rows = (
        (part, number(each), f"{each / spent[SCORING]:.2f}", number(1000 * each / count))
        for part, each in spent.items()
    )
    return Table(
        f"`ipad-jax evaluate --videos {videos}` ({workdir}, {describe_machine()})",
        ("part", "CPU s", "of scoring", "CPU ms a frame"),
        tuple(rows),
        (
            f"{count:,} judged frames; one evaluation, programs from the compilation cache if they are there",
        ),
    )
