"""The persistent compilation cache: the second start of the same command compiles nothing."""

import os
from pathlib import Path

import jax


def enable_compile_cache() -> str:
    """Turns the cache on for this process and says where it is.

    The folder is `JAX_COMPILATION_CACHE_DIR` (JAX's own variable; gs:// works), else
    `~/.cache/ipad_jax`. An empty variable turns the cache off. What compiles in under half a second is
    not kept, unless `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` says otherwise.

    Returns:
      The folder, or "" where it is off.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if folder is None:
        folder = str(Path.home() / ".cache" / "ipad_jax")
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder
