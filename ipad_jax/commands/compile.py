"""`ipad-jax compile`."""

import json
import sys

import jax
from absl import flags

from ipad_jax.performance import compile_ahead
from ipad_jax.performance.compile_ahead import DOES_NOT_FIT, cpu_devices, report_slice, tpu_devices
from ipad_jax.performance.compile_report import format_report
from ipad_jax.run.config import take_config
from ipad_jax.run.files import write_atomic


def main(argv: list[str]) -> int:
    """`ipad-jax compile`: see the module's text for arguments and exit statuses."""
    if {"--help", "-h"} & set(argv):
        print(compile_ahead.__doc__)
        return 0
    flag_values = flags.FlagValues()
    rest = take_config(flag_values, argv)
    flags.DEFINE_string("topology", "", "TPU slice", flag_values=flag_values)
    flags.DEFINE_integer("devices", 0, "devices of this CPU", flag_values=flag_values)
    flags.DEFINE_enum("only", "", ["", "train", "predict"], "one step", flag_values=flag_values)
    flags.DEFINE_boolean("largest-batch", False, "compile two sizes", flag_values=flag_values)
    flags.DEFINE_string("json", "", "file to write", flag_values=flag_values)
    try:
        if extra := flag_values(["ipad-jax compile", *rest])[1:]:
            raise flags.Error(f"unexpected argument {extra[0]!r}")
        if bool(flag_values.topology) == bool(flag_values.devices):
            raise flags.Error("give one of --topology NAME and --devices N")
        if flag_values["largest-batch"].value and not flag_values.topology:
            raise flags.Error("--largest-batch needs --topology: a CPU has no limit to fill")
    except (flags.Error, AttributeError, KeyError) as error:
        print(f"ipad-jax compile: {error}", file=sys.stderr)
        return 2
    jax.config.update("jax_platforms", "cpu")  # libtpu compiles and must not look for a chip
    name = flag_values.topology or f"cpu:{flag_values.devices}"
    devices = tpu_devices(name) if flag_values.topology else cpu_devices(flag_values.devices)
    largest = bool(flag_values["largest-batch"].value)
    report = report_slice(
        flag_values.config, devices, name, only=flag_values.only or "", largest=largest
    )
    print(format_report(report))
    if flag_values.json:
        text = json.dumps(report.to_dict(), indent=1) + "\n"
        write_atomic(flag_values.json, text.encode())
    return 0 if report.fits else DOES_NOT_FIT
