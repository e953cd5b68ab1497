"""The command line with the toy: `python toy_command.py OVERRIDES COMMAND ARGUMENTS`, OVERRIDES in JSON."""

import json
import sys

from toy import toy_config

import ipad_jax.run.config
from ipad_jax.main import main

if __name__ == "__main__":
    overrides = json.loads(sys.argv[1])
    ipad_jax.run.config.load_config = lambda spec: toy_config(**overrides)
    ipad_jax.run.config.config_path = lambda spec: spec
    sys.exit(main(sys.argv[2:]))
