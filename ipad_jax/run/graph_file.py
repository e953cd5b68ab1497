"""A jitted function as bytes that run without this package: StableHLO (by JAX) or ONNX (by onnxruntime).

Nothing here imports JAX before it is used: an ONNX file runs where JAX is not installed.
"""

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np
from etils import epath

from ipad_jax.run.files import write_atomic

FORMATS = {"stablehlo": "model.stablehlo", "onnx": "model.onnx"}
FORMAT = 1  # of the JSON file beside a graph

PathT = TypeVar("PathT", bound=PurePath)
Outputs = tuple[np.ndarray, ...]
Graph = Callable[[np.ndarray], Outputs]  # one array in, arrays out


def to_stablehlo(function: Any, shape: Any) -> bytes:
    """A jitted function of one array as `jax.export` serialises it, for this platform and the CPU.

    Args:
      function: gives a tuple of arrays.
      shape: `jax.ShapeDtypeStruct` of its argument.
    """
    import jax
    from jax import export

    of_extra("flatbuffers")  # which JAX serialises by
    platforms = tuple(dict.fromkeys([jax.default_backend(), "cpu"]))
    return bytes(export.export(function, platforms=platforms)(shape).serialize())


def to_onnx(function: Any, shape: Any) -> bytes:
    """The same as ONNX."""
    jax2onnx = of_extra("jax2onnx")
    of_extra("onnxruntime")  # which it is checked by
    return jax2onnx.to_onnx(function, [shape]).SerializeToString()


def run_stablehlo(data: bytes) -> Graph:
    """What `to_stablehlo` gave, by JAX."""
    import jax
    from jax import export

    call = jax.jit(export.deserialize(bytearray(data)).call)
    return lambda array: tuple(np.asarray(found) for found in call(array))


def run_onnx(data: bytes) -> Graph:
    """What `to_onnx` gave, by onnxruntime on the CPU."""
    onnxruntime = of_extra("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of each constant that it drops
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: tuple(session.run(None, {name: array}))


MAKERS = {"stablehlo": to_stablehlo, "onnx": to_onnx}
RUNNERS = {"stablehlo": run_stablehlo, "onnx": run_onnx}


def description_of(path: PathT) -> PathT:
    """The JSON file beside a graph."""
    return path.with_name(path.name + ".json")


def write_graph(
    folder: str | os.PathLike[str], kind: str, data: bytes, facts: Mapping[str, Any]
) -> epath.Path:
    """Writes a graph and what it is as JSON beside it; gives the graph's path."""
    path = epath.Path(folder) / FORMATS[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    described = {
        "format": FORMAT,
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        **facts,
    }
    write_atomic(description_of(path), (json.dumps(described, indent=2) + "\n").encode())
    return path


def check_format(kind: str) -> None:
    """Raises ValueError unless `kind` is one of `FORMATS`."""
    if kind not in FORMATS:
        raise ValueError(f"--format {kind} is not one of {', '.join(FORMATS)}.")


def of_extra(package: str) -> Any:
    """A package of the extra `export`.

    Raises:
      ModuleNotFoundError: it is not installed; says how to.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        # not in the extra: it asks for an older orbax-checkpoint, which it does not use here
        alone = " && pip install --no-deps 'jax2onnx>=0.17'" if package == "jax2onnx" else ""
        raise ModuleNotFoundError(
            f"an exported file needs {package}: pip install 'ipad_jax[export]'{alone}"
        ) from error
