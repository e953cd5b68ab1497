"""A page in the browser: runs, training, threshold, events, live watching. Nothing leaves this machine.

It sees the folders given with --root and starts `ipad-jax` commands, which go on when it ends. On another
address than this machine's own it asks every browser for the token that it prints.
"""

import argparse
import socket
from pathlib import Path

from ipad_jax.commands.parsing import DEFAULT_DATA_DIR, UsageError, new_parser

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def make_parser() -> argparse.ArgumentParser:
    """Parser of `ipad-jax ui`."""
    parser = new_parser(
        "ui",
        __doc__,
        "[--root DIR ...] [--port N] [options]",
        "ipad-jax ui --root factory",
    )
    parser.add_argument(
        "--root",
        type=Path,
        nargs="+",
        default=[Path()],
        metavar="DIR",
        help="folders with footage and runs, which the page may read and write (default: this one)",
    )
    parser.add_argument(
        "--port", type=port, default=7860, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine alone)",
    )
    parser.add_argument(
        "--allow-host",
        nargs="+",
        default=[],
        metavar="NAME",
        help="other names by which browsers call this machine",
    )
    parser.add_argument(
        "--camera",
        nargs="+",
        default=[],
        metavar="ADDRESS",
        help="cameras that may be watched: number or device, rtsp:// or http:// address",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(DEFAULT_DATA_DIR),
        metavar="DIR",
        help="of prepared datasets (default: %(default)s)",
    )
    return parser


def port(text: str) -> int:
    """'7860' -> 7860; 1 to 65535."""
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"port {text!r}: give a number from 1 to 65535")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C."""
    try:
        from ipad_jax.web.server import serve, with_access
        from ipad_jax.web.settings import Settings
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the page needs {error.name}, of the extra `web`: pip install 'ipad_jax[web]'."
        ) from error
    for root in args.root:
        if not root.is_dir():
            raise UsageError(f"--root {root} is no folder.")
    with socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((args.host, args.port))
        except OSError as error:
            raise UsageError(
                f"--host {args.host} --port {args.port} cannot be used ({error.strerror}): is the page "
                "running already? Else choose another --port."
            ) from error
    hosts = (*LOOPBACK, *args.allow_host)
    settings = Settings(tuple(args.root), args.data_dir, tuple(args.camera), hosts)
    settings = with_access(settings, args.host)
    shown = f"[{args.host}]" if ":" in args.host else args.host
    query = f"/?token={settings.token}" if settings.token else ""
    print(f"open http://{shown}:{args.port}{query}", flush=True)
    print("Ctrl-C ends the page; trainings and watches that it started go on", flush=True)
    serve(settings, args.host, args.port)
    return 0


def main(argv: list[str]) -> int:
    """The command; see `ipad-jax ui --help`."""
    return run(make_parser().parse_args(argv))
