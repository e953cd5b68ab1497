"""The commands, one module each: only they parse arguments and print.

A command is three functions: `make_parser() -> argparse.ArgumentParser`, `run(args) -> int`, which returns
the exit status, and `main(argv)`, both in turn. JAX and all that is slow to import is imported inside
`run`, so that `--help` answers at once.
"""
