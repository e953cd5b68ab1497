"""The figures of a compiled step and the table that `ipad-jax compile` prints."""

import dataclasses
from typing import Any

from ipad_jax.performance.hlo import KINDS, Collective
from ipad_jax.performance.roofline import GIB, Chip, Roofline, roofline, sent_bytes
from ipad_jax.run.table import Table


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What a compiled step needs of ONE of its devices.

    Attributes:
      name: train, predict or render.
      devices: that take part in it.
      clips: examples of one device: clips, or of another `unit`.
      flops_needed: in matrix products, by our count of the traced step (`products.traced_products`).
      flops_tiled: the same in whole tiles of a matrix unit, by the tile's side: our estimate.
      compile_s: seconds that compiling took.
      memory: bytes by kind, "aliased" negative; empty if the compiler refused.
      flops_compiled: all of the program's, by XLA's count.
      bytes_accessed: by XLA's count, which takes on-chip memory for memory too.
      bytes_moved: to and from the chip's main memory, by our count (`hlo.hbm_bytes`).
      collectives: what it sends.
      refused_bytes: what the compiler said would be needed, if it refused the step for its size; its
        arguments may not be in that.
      limit_bytes: what the compiler had to offer then.
      unit: what an example is, in the plural.
    """

    name: str
    devices: int
    clips: float
    flops_needed: float
    flops_tiled: dict[int, float]
    compile_s: float = 0.0
    memory: dict[str, int] = dataclasses.field(default_factory=dict)
    flops_compiled: float = 0.0
    bytes_accessed: float = 0.0
    bytes_moved: float = 0.0
    collectives: tuple[Collective, ...] = ()
    refused_bytes: float = 0.0
    limit_bytes: float = 0.0
    unit: str = "clips"

    @property
    def fits(self) -> bool:
        """The compiler knows the chip's memory and refuses what is larger."""
        return not self.refused_bytes

    @property
    def used_bytes(self) -> float:
        """Of memory, at the most that is held at once."""
        return self.refused_bytes or float(sum(self.memory.values()))

    @property
    def link_bytes(self) -> float:
        """Bytes that a device sends to others."""
        return sum(sent_bytes(c.kind, c.payload, c.group or self.devices) for c in self.collectives)

    def payload(self, kind: str) -> tuple[int, float]:
        """How many collectives of a kind there are, and the bytes of their arrays."""
        those = [c.payload for c in self.collectives if c.kind == kind]
        return len(those), sum(those)

    def roofline(self, chip: Chip) -> Roofline:
        """The least time on a chip: XLA's FLOPs or our whole tiles, whichever is more."""
        flops = max(self.flops_compiled, self.flops_tiled[chip.tile])
        return roofline(chip, flops, self.bytes_moved, self.link_bytes)


@dataclasses.dataclass(frozen=True)
class SliceReport:
    """The steps of a config on a slice; `largest_batch` is 0 where none fits, None if not asked for.

    `note` says what was not compiled.
    """

    name: str
    chip: Chip | None
    devices: int
    mesh: dict[str, int]
    batch_size: int
    settings: dict[str, Any]
    steps: tuple[StepReport, ...]
    largest_batch: int | None = None
    largest_from: tuple[tuple[int, float], ...] = ()
    note: str = ""

    @property
    def fits(self) -> bool:
        """Whether every step does."""
        return all(step.fits for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Everything, with what is worked out from it, as JSON holds it."""
        tree = dataclasses.asdict(self)
        tree["fits"], tree["chip"] = self.fits, self.chip and self.chip._asdict()
        for step, found in zip(self.steps, tree["steps"]):
            found["flops_tiled"] = {str(side): n for side, n in step.flops_tiled.items()}
            found["collectives"] = [c._asdict() for c in step.collectives]
            found |= {"fits": step.fits, "used_bytes": step.used_bytes}
            found["link_bytes"] = step.link_bytes
            if self.chip and step.fits:
                bound = step.roofline(self.chip)
                found["roofline"] = {**bound._asdict(), "bound_by": bound.bound_by}
        return tree


def format_report(report: SliceReport) -> str:
    """The plain table, one column a step."""
    settings = ", ".join(f"{name}={value}" for name, value in report.settings.items())
    mesh = " x ".join(f"{name} {size}" for name, size in report.mesh.items())
    title = [
        f"{report.name}: {report.devices} devices ({mesh}), global batch {report.batch_size}; {settings}",
        "compiled, never run: all figures are of ONE device and the compiler's unless they say otherwise",
    ]
    columns = [_column(step, report.chip) for step in report.steps]
    rows = [(name, *(column.get(name, "-") for column in columns)) for name in _names(columns)]
    heads = ("one device", *(step.name for step in report.steps))
    return str(Table("\n".join(title), heads, tuple(rows), tuple(_verdict(report))))


def _names(columns: list[dict[str, str]]) -> list[str]:
    """Row names of all columns, in the order of the fullest."""
    names = list(max(columns, key=len))
    return names + [name for column in columns for name in column if name not in names]


def _column(step: StepReport, chip: Chip | None) -> dict[str, str]:
    """A step's figures by row."""
    rows = {step.unit: f"{step.clips:g}", "devices it runs on": str(step.devices)}
    rows["memory: in all"] = _bytes(step.used_bytes)
    rows |= {f"  {kind}": _bytes(count) for kind, count in step.memory.items()}
    if chip:
        rows["  of the chip's"] = _bytes(step.limit_bytes or chip.hbm_gib * GIB)
    rows["FLOPs needed (own count)"] = _flops(step.flops_needed)
    if chip:
        tiled = step.flops_tiled[chip.tile]
        rows[f"  whole tiles of {chip.tile} (estimate)"] = _share(tiled, step.flops_needed)
    if step.fits:
        rows["FLOPs compiled (XLA's count)"] = _flops(step.flops_compiled)
        rows["  of those needed"] = _share(step.flops_compiled, step.flops_needed)
        rows["bytes accessed (XLA's count)"] = _bytes(step.bytes_accessed)
    if step.fits and chip:
        bound = step.roofline(chip)
        rows["  of those in main memory (own count)"] = _bytes(step.bytes_moved)
        rows["FLOPs a byte of main memory"] = f"{step.flops_compiled / step.bytes_moved:.0f}"
        rows["  where both take equally long"] = f"{chip.peak_flops / chip.hbm_bytes_per_s:.0f}"
        rows |= _collectives(step)
        rows["least time (estimate)"] = f"{1e3 * bound.seconds:.1f} ms"
        rows["  compute"] = f"{1e3 * bound.compute_s:.1f} ms"
        rows["  memory"] = f"{1e3 * bound.memory_s:.1f} ms"
        rows["  collectives"] = f"{1e3 * bound.links_s:.1f} ms"
        rows["  bound by"] = bound.bound_by
        rows[f"most {step.unit}/s, all devices (estimate)"] = (
            f"{step.clips * step.devices / bound.seconds:,.0f}"
        )
    elif step.fits:
        rows |= _collectives(step)
    rows["seconds to compile"] = f"{step.compile_s:.0f}"
    return rows


def _collectives(step: StepReport) -> dict[str, str]:
    """Bytes and number of each kind."""
    rows = {}
    for kind in KINDS:
        number, payload = step.payload(kind)
        rows[f"{kind} (operations)"] = f"{_bytes(payload)} ({number})" if number else "none"
    return rows


def _verdict(report: SliceReport) -> list[str]:
    """Whether it fits, what would, and what the estimates are worth."""
    lines = [report.note] if report.note else []
    unit = report.steps[0].unit
    if report.chip:
        lines.append(
            "Estimates: published peaks, everything overlapped; a real step takes longer, and none was timed."
        )
    if report.largest_batch is not None:
        points = " and ".join(f"{clips} ({_bytes(used)})" for clips, used in report.largest_from)
        why = (
            f"not even one of the {unit} fits a device",
            f"two {unit} a device do not fit",
            f"by the line through {points} {unit} a device, not compiled itself",
        )[len(report.largest_from)]
        each = report.largest_batch // report.devices
        lines.append(f"Largest global batch: {report.largest_batch} ({each} a device); {why}.")
    refused = [step.name for step in report.steps if not step.fits]
    if refused:
        lines.append(
            f"DOES NOT FIT: {', '.join(refused)}. Take a smaller batch, bfloat16 or remat."
        )
    elif report.chip:
        lines.append("Fits.")
    else:
        lines.append("Compiles; the CPU has no limit to compare with and no peaks.")
    return lines


def _bytes(count: float) -> str:
    """In GiB, small ones in MiB."""
    return f"{count / GIB:.2f} GiB" if abs(count) >= GIB / 10 else f"{count / 2**20:.2f} MiB"


def _flops(count: float) -> str:
    """In units of 10^12, small ones of 10^6."""
    return f"{count / 1e12:.3f} TFLOP" if count >= 1e11 else f"{count / 1e6:.1f} MFLOP"


def _share(count: float, of: float) -> str:
    """In per cent."""
    return f"{100 * count / of:.1f} %"
