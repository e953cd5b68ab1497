"""How fast this machine is: each WHAT prints one table of ratios measured in one run.

What is compared is timed in turn and given as medians, so that a busy machine moves both sides alike;
still, run it on a quiet one. `ipad-jax bench WHAT --help` shows the options of each.
"""

import argparse
import importlib
import os
from typing import Any

from ipad_jax.commands.next_step import detection, print_next
from ipad_jax.commands.parsing import add_named, new_parser, positive

DTYPES = ("float32", "bfloat16")


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax bench`; the options of a benchmark are the arguments of its function."""
    parser = new_parser(
        "bench", __doc__, "WHAT [arguments]", "ipad-jax bench model --batch 1 --repeats 3"
    )
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    def add(name: str, function: str, text: str, example: str) -> argparse.ArgumentParser:
        example = f"ipad-jax bench {name} {example}"
        kind = add_named(kinds, "bench", name, text, "[OPTIONS]", example)
        kind.set_defaults(function=function)
        return kind

    one = add(
        "model", "step:compare_model", "forward and training step against PyTorch's", "--batch 1"
    )
    _option(one, "--config", str, "video_folder:full", "whose model")
    _option(one, "--size", positive, 256, "pixels")
    _option(one, "--batch", positive, [1, 2], "clips", dest="batches", nargs="+")
    _option(one, "--dtype", str, list(DTYPES), "compute", dest="dtypes", nargs="+", choices=DTYPES)
    one.add_argument("--torch-compile", action="store_true", help="also against `torch.compile`")
    _option(one, "--repeats", positive, 5, "counted rounds")

    one = add(
        "profile",
        "profile:profile_step",
        "a training step by part and kind of work",
        "--config factory --batch 8",
    )
    _option(one, "--config", str, "ipad", "whose step")
    _option(one, "--size", positive, None, "pixels (default: the config's)")
    _option(one, "--batch", positive, 1, "clips")
    _option(one, "--dtype", str, "float32", "compute", choices=DTYPES)
    _option(one, "--steps", positive, 5, "profiled")

    one = add(
        "input",
        "input:compare_input",
        "clips a second, prepared and from full-size JPEGs",
        "--clips 8",
    )
    _option(one, "--width", positive, 2492, "of the drawn frames, pixels")
    _option(one, "--height", positive, 988, "of the drawn frames, pixels")
    _option(one, "--frames", positive, 64, "drawn")
    _option(one, "--size", positive, 256, "of the dataset, pixels")
    _option(one, "--clip-len", positive, 16, "frames")
    _option(one, "--clips", positive, 4, "read a round")
    _option(one, "--repeats", positive, 5, "counted rounds")

    one = add(
        "prepare",
        "prepare:time_prepare",
        "frames a second that `prepare` decodes, reduces and stores",
        "--width 1920 --height 1080",
    )
    _option(one, "--width", positive, 3840, "of the drawn frames, pixels")
    _option(one, "--height", positive, 2160, "of the drawn frames, pixels")
    one.add_argument("--jpeg", action="store_true", help="frames are JPEGs (default: H.264 files)")
    _option(one, "--frames", positive, 256, "drawn")
    _option(one, "--size", positive, 256, "of the stored frames, pixels")
    _option(one, "--workers", positive, [1, 2], "processes", nargs="+")
    _option(one, "--repeats", positive, 3, "counted rounds")

    one = add(
        "detection",
        "detection:compare_strides",
        "frames a second by stride, and their AUC",
        "--workdir RUN --stride 4 8",
    )
    _option(one, "--workdir", str, None, "a trained run, with its test split (default: noise)")
    _option(one, "--config", str, "video_folder", "without a run")
    _option(one, "--stride", positive, [4, 8, 16], "frames", dest="strides", nargs="+")
    _option(one, "--batch", positive, 8, "clips at once")
    _option(one, "--frames", positive, 256, "timed at most")
    _option(one, "--repeats", positive, 3, "counted rounds")
    _option(one, "--short", float, 1.0, "length of a short fault at most, s", dest="short_s")

    one = add(
        "file",
        "file:time_file",
        "frames a second of a video file, from decoding to what `detect` writes",
        "--workdir RUN --video FILE",
    )
    one.add_argument("--workdir", required=True, metavar="DIR", help="a trained run")
    one.add_argument("--video", required=True, metavar="FILE", help="footage of its machine")
    _option(one, "--frames", positive, 500, "of it, at most")
    _option(one, "--batch", positive, 8, "clips at once")
    _option(one, "--repeats", positive, 3, "counted rounds")

    one = add(
        "evaluate",
        "evaluation:time_evaluation",
        "CPU seconds of `evaluate` by its parts, beside its scoring",
        "--workdir RUN",
    )
    one.add_argument(
        "--workdir", required=True, metavar="DIR", help="a trained run, with its test split"
    )
    choices = ("few", "all", "none")
    _option(one, "--videos", str, "few", "side by side", choices=choices)

    one = add(
        "reconstruction",
        "reconstruction:compare_checkpoints",
        "frame AUC of the reconstruction's error, at each kept checkpoint of a run",
        "--workdir RUN --steps 400 3700",
    )
    one.add_argument("--workdir", required=True, metavar="DIR", help="a run, with its test split")
    _option(one, "--steps", positive, None, "checkpoints (default: all kept)", nargs="+")
    one.add_argument("--plot", metavar="FILE", help="the curves, as .png, .svg or .webp")

    one = add(
        "learning",
        "learning:compare_learning",
        "losses and frame AUC of a run's model, trained anew in ours and in PyTorch",
        "--workdir RUN --steps 60 150",
    )
    one.add_argument("--workdir", required=True, metavar="DIR", help="a run, for its config")
    _option(one, "--steps", positive, [60, 150], "after which both are judged", nargs="+")

    one = add(
        "startup",
        "startup:time_starts",
        "seconds to the first step, cold and with the cache",
        "--warm 1",
    )
    _option(one, "--config", str, "video_folder", "to train")
    _option(one, "--size", positive, 128, "pixels")
    _option(one, "--warm", positive, 2, "starts with the cache")

    one = add(
        "page",
        "page:time_pages",
        "seconds to a page of `ipad-jax ui`, alone and in a crowd",
        "--clients 50",
    )
    _option(one, "--clients", positive, 50, "that read side by side")
    _option(one, "--seconds", float, 20.0, "of reading")
    _option(one, "--runs", positive, 20, "run folders")

    one = add(
        "cycle",
        "cycle:measure_cycles",
        "error of the cycle that `prepare` finds, in frames",
        "--about",
    )
    _option(one, "--device", str, None, "machines (default: five)", dest="devices", nargs="+")
    _option(one, "--look", str, ["synthetic"], "synthetic or real", dest="looks", nargs="+")
    _option(one, "--seed", int, 201, "of the scenes")
    _option(one, "--cycles", positive, 10, "of each video")
    one.add_argument(
        "--about", action="store_true", help="with the usual length as `--cycle auto:SECONDS` has"
    )
    real = os.environ.get("IPAD_JAX_REAL_DATA")
    _option(one, "--real-data", str, real, "folder with ped2/ and clips/ (default: none)")

    one = add(
        "pose",
        "pose:compare_searches",
        "an object's pose by the published search and by ours, on one field",
        "--workdir runs/cat --queries 3",
    )
    one.add_argument(
        "--workdir", required=True, metavar="DIR", help="a run of objects, with its test split"
    )
    _option(one, "--queries", positive, 3, "images")
    _option(one, "--steps", positive, 300, "of the published search")

    one = add(
        "growth",
        "growth:measure_growth",
        "how time and memory grow with clip, pixels, batch",
        "--only batch pixels",
    )
    _option(one, "--config", str, "video_folder", "whose model")
    _option(one, "--clip-len", positive, 16, "smallest, frames")
    _option(one, "--size", positive, 128, "smallest, pixels")
    _option(one, "--doublings", positive, 2, "of each axis")
    _option(one, "--repeats", positive, 5, "counted rounds")
    axes = ["clip_len", "pixels", "batch"]
    _option(one, "--only", str, axes, "axes", dest="axes", nargs="+", choices=axes)
    return parser


def _option(
    parser: argparse.ArgumentParser, name: str, kind: Any, default: Any, text: str, **more: Any
) -> None:
    """An option with its default in its help."""
    if "choices" in more:
        text = f"{text}: {', '.join(more['choices'])}"
    if default is not None and "default" not in text:
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        text = f"{text} (default: {shown})"
    metavar = {int: "N", positive: "N", float: "S"}.get(kind, "NAME")
    parser.add_argument(name, type=kind, default=default, help=text, metavar=metavar, **more)


def run(args: argparse.Namespace) -> int:
    """Measures and prints the table."""
    from ipad_jax.run.compile_cache import enable_compile_cache

    enable_compile_cache()
    module, function = args.function.split(":")
    options = {k: v for k, v in vars(args).items() if k not in ("what", "function")}
    print(getattr(importlib.import_module(f"ipad_jax.performance.{module}"), function)(**options))
    if workdir := options.get("workdir"):
        print_next(*detection(workdir, "pose" if args.what == "pose" else "video"))
    else:
        print_next("train", "--config", options.get("config", "factory"), "--workdir", "runs/first")
    return 0


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax bench --help`."""
    return run(make_parser().parse_args(argv))
