"""What a compiled program sends between devices and moves in memory, read from the text of its HLO."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "c64": 8, "c128": 16, "token": 0}
_SHAPE = re.compile(r"\b(pred|token|bf16|[usfc]\d+)(?:e\d\w*)?\[([\d,<=]*)\]")
# `%name = SHAPE kind(`, SHAPE one array or a tuple; `-start` opens an asynchronous one, whose `-done` says
# nothing new.
_LINE = re.compile(rf"^\s*(?:ROOT )?%?[\w.\-]+ = (.*?) ({'|'.join(KINDS)})(-start)?\(")


class Operation(NamedTuple):
    """One instruction of a program.

    Attributes:
      name: as profilers call it.
      kind: its opcode, such as "fusion" or "dot".
      source: the operation of the model's code that it comes from, scopes included; "" if unknown.
    """

    name: str
    kind: str
    source: str


class Collective(NamedTuple):
    """One collective operation of a program.

    Attributes:
      kind: one of KINDS.
      payload: bytes of the whole array: the result of an all-reduce or all-gather, and the operand of
        the others (of a reduce-scatter, `group` times its result).
      group: devices that take part; 0 if all of them do.
      shapes: of the result.
      source: the operation of the model's code that it comes from; "" if unknown.
    """

    kind: str
    payload: float
    group: int
    shapes: tuple[str, ...]
    source: str


def collectives(text: str) -> list[Collective]:
    """Every collective operation in the text of an HLO module, loops counted once.

    Args:
      text: as `compiled.as_text()` gives it.
    """
    found = []
    for line in text.splitlines():
        if not (match := _LINE.match(line)):
            continue
        result, kind, start = match.groups()
        shapes = [shape.group(0) for shape in _SHAPE.finditer(result)]
        # an asynchronous gather or permute returns (operands, results, contexts)
        if start and kind != "all-reduce" and len(shapes) > 1:
            arrays = [s for s in shapes if not s.startswith("u32[]")]
            shapes = arrays[len(arrays) // 2 :]
        group = _group(line)
        payload = sum(_num_bytes(shape) for shape in shapes)
        if kind == "reduce-scatter":
            payload *= max(group, 1)
        found.append(Collective(kind, payload, group, tuple(shapes), _source(line)))
    return found


def operations(text: str) -> Iterator[Operation]:
    """Every instruction in the text of an HLO module, those of fusions, loops and calls included.

    Args:
      text: as `compiled.as_text()` gives it.
    """
    for line in text.splitlines():
        if match := _INSTRUCTION.match(line):
            yield Operation(match.group(1), match.group(3), _source(line))


def _source(line: str) -> str:
    found = re.search(r'op_name="([^"]*)"', line)
    return found.group(1) if found else ""


def _num_bytes(shape: str) -> float:
    """Bytes of `f32[2,3]`, without the padding of its layout."""
    match = _SHAPE.match(shape)
    if not match:
        raise ValueError(f"no shape of an array: {shape!r}")
    dtype, sizes = match.groups()
    count = math.prod(int(size.lstrip("<=")) for size in sizes.split(",") if size)
    return count * _width(dtype)


def _width(dtype: str) -> float:
    """Bytes of one number."""
    return _BYTES.get(dtype, int(re.sub(r"\D", "", dtype) or 8) / 8)


def _group(line: str) -> int:
    """Devices of a line's first group; 0 unknown.

    The forms: `{{0,1},{2,3}}`, `[2,8]<=[16]` (groups, devices of each), `mesh['a'=4,'b'=2] {'a'}`.
    """
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]", line):
        return int(match.group(2))
    if match := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
        return match.group(1).count(",") + 1
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line):
        sizes = dict(re.findall(r"'([^']*)'=(\d+)", match.group(1)))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'([^']*)'", match.group(2)))
    if re.search(r"source_target_pairs=", line):
        return 2  # each sends to one other
    return 0


# An array with its layout: order of the axes, tile, and S(n) where it lies in another memory than HBM.
_ARRAY = re.compile(rf"{_SHAPE.pattern}(?:\{{([\d,]*)(?::T\((\d[\d,]*)\))?([^}}]*)\}})?")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*?)\)(?:, |$)")
_FREE = (
    "parameter",
    "constant",
    "bitcast",
    "tuple",
    "get-tuple-element",
    "partition-id",
    "after-all",
)
_SLICES = ("slice", "dynamic-slice")  # read what they give, not all that they are given


def hbm_bytes(text: str) -> float:
    """Bytes that a TPU program reads from and writes to its main memory, padding of tiles included.

    Our own count from the final program: each instruction reads its operands and writes its results,
    those that lie in on-chip memory cost nothing. XLA's own "bytes accessed" counts those too. A fusion
    that reads a part of an operand is counted with all of it; loops are counted once.

    Args:
      text: of the scheduled HLO module; only its entry computation is looked at.
    """
    arrays: dict[str, list[tuple[float, bool]]] = {}
    total = 0.0
    for line in text[text.find("ENTRY ") :].splitlines():
        if not (match := _INSTRUCTION.match(line)):
            continue
        name, result, kind, arguments = match.groups()
        arrays[name] = [_stored(found) for found in _ARRAY.finditer(result)]
        if kind in _FREE or kind.endswith("-done") or "ConcatBitcast" in line:
            continue
        operands = [
            a for used in re.findall(r"%([\w.\-]+)", arguments) for a in arrays.get(used, [])
        ]
        if kind in ("copy-start", "slice-start"):  # (to, from, context) or ((from), to, context)
            operands, results = [], arrays[name][:2]
            moved = min((count for count, _ in results), default=0.0)
            results = [(moved, in_hbm) for _, in_hbm in results]
        else:
            results = arrays[name]
            if kind in _SLICES and operands:
                operands = [(results[0][0], operands[0][1])]
        total += sum(count for count, in_hbm in (*operands, *results) if in_hbm)
    return total


def _stored(match: re.Match[str]) -> tuple[float, bool]:
    """Bytes that an array takes in its layout, and whether it lies in main memory."""
    dtype, sizes, order, tile, rest = match.groups()
    sides = [int(size.lstrip("<=")) for size in sizes.split(",") if size]
    if order and tile:  # the fastest axes are filled up to whole tiles
        axes = [int(axis) for axis in order.split(",")]
        for axis, side in zip(axes, reversed(tile.split(","))):
            sides[axis] = -(-sides[axis] // int(side)) * int(side)
    return math.prod(sides) * _width(dtype), "S(" not in (rest or "")
