"""From the fields of a form to the words of an `ipad-jax` command, each checked. No shell ever reads them."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipad_jax.run.files import check_name
from ipad_jax.web.jobs import Job
from ipad_jax.web.runs import MARKS, Run


@dataclass(frozen=True)
class Purpose:
    """What a person wants to train, and the config for it; `builders` are those of its datasets."""

    key: str
    text: str
    config: str
    builders: tuple[str, ...]


PURPOSES = (
    Purpose(
        "cycle", "a machine on video that repeats a cycle", "video_folder:cycle", ("video_folder",)
    ),
    Purpose(
        "video", "a machine on video, without a known cycle", "video_folder", ("video_folder",)
    ),
    Purpose(
        "convlstm",
        "a machine on video, a ConvLSTM autoencoder to compare with",
        "convlstm:video_folder",
        ("video_folder",),
    ),
    Purpose("rendered", "a rendered machine, to try things out", "factory", ("factory",)),
    Purpose(
        "images",
        "photographs of a part, compared with good ones (needs the extra `features`)",
        "bank",
        ("image_folder", "parts"),
    ),
    Purpose(
        "pca", "photographs of a part, fitted within seconds", "pca", ("image_folder", "parts")
    ),
    Purpose(
        "autoencoder",
        "photographs of a part, an autoencoder that is trained",
        "autoencoder",
        ("image_folder", "parts"),
    ),
    Purpose("object", "an object from any side", "omnipose", ("object_folder", "toys")),
)
WITH_LOSS, LOSSES = "autoencoder", ("mse", "ssim", "both")
FOLDERS = {
    "video_folder": "videos of a machine",
    "image_folder": "photographs of a part",
    "object_folder": "photographs of an object from all around, with their camera poses",
}
IMAGES = ("image_folder", "parts", "object_folder", "toys")  # stored under their own name
_PREPARED = re.compile(r"(?P<name>.+)_(?P<w>\d+)x(?P<h>\d+)_q(?P<q>\d+)(?:_(?P<variant>.+))?")


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset: its builder and the name of its folder."""

    builder: str
    folder: str

    @property
    def leaves(self) -> dict[str, str]:
        """Leaves of `config.data` that name it."""
        if self.builder in IMAGES:
            return {"builder": self.builder, "name": self.folder}
        found = _PREPARED.fullmatch(self.folder)
        if found is None:
            return {"name": self.folder}
        leaves = {"name": found["name"], "size": found["w"], "quality": found["q"]}
        return leaves | ({"variant": found["variant"]} if found["variant"] else {})


def datasets(data_dir: Path) -> list[Dataset]:
    """Prepared datasets that a purpose can train on."""
    known = {builder for purpose in PURPOSES for builder in purpose.builders}
    found = []
    for builder in sorted(known):
        folder = data_dir / builder
        inner = sorted(folder.iterdir()) if folder.is_dir() else []
        # A version folder with its description: a build that was not finished has none.
        found += [
            Dataset(builder, path.name)
            for path in inner
            if not path.name.startswith(".") and any(path.glob("*/dataset_info.json"))
        ]
    return found


def amount(text: str, what: str, least: float, most: float) -> str:
    """A number of a form, as it goes into a command; "" where the field is empty.

    Raises:
      ValueError: no number, or out of range.
    """
    if not text:
        return ""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise ValueError(f"{what}: {text!r} is no number from {least:g} to {most:g}.")
    return f"{value:.10g}"


def one_of(text: str, what: str, choices: Sequence[str]) -> str:
    """A field that must be one of some choices; raises ValueError else."""
    if text not in choices:
        raise ValueError(f"{what}: {text!r} is none of {', '.join(choices)}.")
    return text


def validate_words(builder: str, folder: Path, fps: str) -> list[str]:
    """`ipad-jax validate`."""
    words = ["validate", one_of(builder, "kind", list(FOLDERS)), "--source", str(folder)]
    return words + _option("--fps", amount(fps, "frames a second", 0.01, 1000), builder)


def prepare_words(
    builder: str, folder: Path, name: str, size: str, cycle: str, fps: str, data_dir: Path
) -> list[str]:
    """`ipad-jax prepare`."""
    words = ["prepare", one_of(builder, "kind", list(FOLDERS)), "--source", str(folder)]
    words += ["--name", check_name(name, "name"), "--data-dir", str(data_dir)]
    words += _option("--size", amount(size, "size", 16, 1024), builder)
    words += _option("--fps", amount(fps, "frames a second", 0.01, 1000), builder)
    if cycle and not re.fullmatch(r"auto(:\d+(\.\d+)?)?|\d+(\.\d+)?", cycle):
        raise ValueError(f"cycle: {cycle!r} is neither seconds nor auto nor auto:SECONDS.")
    return words + _option("--cycle", cycle, builder)


def _option(name: str, value: str, builder: str) -> list[str]:
    """An option that videos alone have."""
    return [name, value] if value and builder == "video_folder" else []


def train_words(
    purpose: str,
    dataset: Dataset,
    data_dir: Path,
    workdir: Path,
    minutes: str = "",
    steps: str = "",
    *,
    batch_size: str = "",
    rate: str = "",
    loss: str = "",
) -> list[str]:
    """`ipad-jax train`; what is "" stays as the config says."""
    chosen = next((p for p in PURPOSES if p.key == purpose), None)
    if chosen is None:
        raise ValueError(f"purpose: {purpose!r} is none of {', '.join(p.key for p in PURPOSES)}.")
    if dataset.builder not in chosen.builders:
        raise ValueError(
            f"{dataset.folder} is of the kind {dataset.builder}, but this trains on "
            f"{' or '.join(chosen.builders)}: choose another dataset or purpose."
        )
    words = ["train", "--config", chosen.config, "--workdir", str(workdir)]
    leaves = dataset.leaves | {"data_dir": str(data_dir)}
    words += [f"--config.data.{leaf}={value}" for leaf, value in leaves.items()]
    if minutes := amount(minutes, "minutes", 0.05, 100_000):
        words.append(f"--config.max_seconds={60 * float(minutes):g}")
    if steps := amount(steps, "steps", 1, 10_000_000):
        words.append(f"--config.total_steps={int(float(steps))}")
    if batch_size := amount(batch_size, "batch size", 1, 100_000):
        words.append(f"--config.batch_size={int(float(batch_size))}")
    if rate := amount(rate, "learning rate", 1e-9, 10):
        words.append(f"--config.optim.lr={rate}")
    if loss:
        if purpose != WITH_LOSS:
            raise ValueError("only the autoencoder of photographs has losses to choose from.")
        words.append(f"--config.model.loss={one_of(loss, 'loss', LOSSES)}")
    return words


def resume_words(jobs: Sequence[Job], run: Run, minutes: str = "") -> list[str]:
    """`ipad-jax train` as this page last started it for a run; [] where it was started elsewhere.

    `minutes`: in the loop, all starts together; as before where it is "".
    """
    started = (job for job in jobs if job.kind == "train" and job.run == str(run.folder))
    words = next((list(job.words) for job in started), [])
    if words and (minutes := amount(minutes, "minutes", 0.05, 100_000)):
        words = [word for word in words if not word.startswith("--config.max_seconds=")]
        words.append(f"--config.max_seconds={60 * float(minutes):g}")
    return words


def mark_words(run: Run, events: Path, marks: dict[int, str]) -> list[str]:
    """`ipad-jax review --mark`."""
    if not marks:
        raise ValueError("nothing has a new mark: choose normal, fault or unsure first.")
    words = ["review", "--workdir", str(run.folder), "--events", str(events), "--mark"]
    return words + [f"{number}={one_of(mark, 'mark', MARKS)}" for number, mark in marks.items()]


def shown(words: Sequence[str]) -> str:
    """A command as a person would type it."""
    return shlex.join(["ipad-jax", *words])


def next_step(log: str) -> str:
    """The last command that a log recommends; "" without."""
    found = re.findall(r"^next: (ipad-jax .+)$", log, re.M)
    return found[-1] if found else ""
