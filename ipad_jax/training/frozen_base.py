"""The base of an adapted run: the frozen weights that its checkpoints leave out (paper, sec. 4.4).

A checkpoint of such a run holds what trains, and in its metadata where the rest lies, of which step, and
the SHA-256 over exactly the frozen arrays. Loading takes them from that run and compares, so a base that
was retrained, or another one of the same shapes, is refused and never mixed in.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from ipad_jax.run.files import absolute


@dataclasses.dataclass(frozen=True)
class Base:
    """Where frozen weights are, and which they are.

    Attributes:
      folder: run folder, an absolute path or gs://.
      step: of its checkpoint.
      sha256: of the frozen arrays, see `digest_of`.
      names: of these arrays.
    """

    folder: str
    step: int
    sha256: str
    names: tuple[str, ...]

    @classmethod
    def of(
        cls, folder: str, step: int, arrays: Mapping[str, Any], frozen: Mapping[str, Any]
    ) -> "Base":
        """The base that a run starts on.

        Args:
          folder: run folder; "" where the weights came from no run.
          step: of its checkpoint.
          arrays: what was loaded from it, by name.
          frozen: names of the arrays that will not train.

        Raises:
          ValueError: no run folder, or it lacks some of them.
        """
        if not folder or (missing := sorted(frozen.keys() - arrays.keys())):
            raise ValueError(
                "adapters keep only what trains, so the rest must lie in a run folder: pass "
                "--config.init_from=RUN_FOLDER"
                + (f"; {folder} lacks {', '.join(missing[:3])}." if folder else ".")
            )
        digest = digest_of({name: arrays[name] for name in frozen})
        return cls(str(absolute(folder)), step, digest, tuple(sorted(frozen)))

    def find(self, run: epath.Path, given: str | os.PathLike[str] = "") -> epath.Path:
        """The folder to load from: the given one, the recorded one, or one of its name beside the run.

        The last is for runs that were copied elsewhere together; in a table's folder, where all runs are
        called seed<N>, the name has two parts.

        Raises:
          FileNotFoundError: none of them is there.
        """
        recorded = epath.Path(self.folder)
        beside = (
            run.parent / recorded.name,
            run.parent.parent / recorded.parent.name / recorded.name,
        )
        places = [epath.Path(given)] if given else [recorded, *beside]
        places = [place for place in places if absolute(place) != absolute(run)]  # is no base
        for place in places:
            if (place / "config.json").exists():
                return place
        raise FileNotFoundError(
            f"{run} holds only what it trained; the rest is its base, which is not in "
            f"{' nor in '.join(map(str, places)) or 'the run itself'}. Copy it there, or name it: "
            f"`ipad-jax merge --workdir {run} --base FOLDER --out FOLDER` makes a run that needs none."
        )

    def take(self, arrays: Mapping[str, Any], found: epath.Path, run: epath.Path) -> dict[str, Any]:
        """The frozen arrays, from all of those in a folder.

        Raises:
          ValueError: they are not the ones that the run was trained on.
        """
        frozen = {name: arrays[name] for name in self.names if name in arrays}
        if (digest := digest_of(frozen)) != self.sha256:
            raise ValueError(
                f"{run} was trained on the frozen weights of {self.folder}, step {self.step} (SHA-256 "
                f"{self.sha256[:12]}...); those in {found} are others ({digest[:12]}...). Give it the "
                "base that it was trained on."
            )
        return frozen


def has_base(config: ConfigDict) -> bool:
    """Whether a config trains adapters, so that its checkpoints leave the frozen weights to a base."""
    return config.get("adapters", {}).get("rank", 0) > 0


def digest_of(arrays: Mapping[str, Any]) -> str:
    """SHA-256 over names, shapes, types and bytes of arrays, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.shape} {array.dtype.str};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
