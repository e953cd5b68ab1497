"""ipad-jax bench WHAT [OPTIONS]: how fast this machine is, in ratios measured in one run; and `cycle`.

Each WHAT prints one table. What is compared is timed in turn and given as medians, so that a busy
machine moves both sides alike; still, run it on a quiet one.
"""

import argparse
import importlib
from types import ModuleType

BENCHES = {
    "model": "forward and training step against the same model in PyTorch (extra `bench`)",
    "profile": "where a training step's time goes: by part of the model and kind of work",
    "input": "clips a second from a prepared dataset against full-size JPEGs read for each clip",
    "detection": "frames a second of a long video by stride and batch, and what that costs in AUC",
    "startup": "seconds from the command to the first step, cold and with the compilation cache",
    "cycle": "error of the cycle that `prepare video_folder --cycle auto` finds, in frames",
    "growth": "how time and memory grow with clip length, resolution and batch",
}


def module_of(name: str) -> ModuleType:
    """The file of a benchmark."""
    return importlib.import_module(f"ipad_jax.performance.{'step' if name == 'model' else name}")


def main(argv: list[str]) -> int:
    """`ipad-jax bench`."""
    parser = argparse.ArgumentParser("ipad-jax bench", description=__doc__)
    choices = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, text in BENCHES.items():
        module = module_of(name)
        module.add_arguments(choices.add_parser(name, help=text, description=module.__doc__))
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said what is wrong, or printed the help
        return stop.code if isinstance(stop.code, int) else 2
    from ipad_jax.run.compile_cache import enable_compile_cache

    enable_compile_cache()
    print(module_of(args.what).run(args))
    return 0
