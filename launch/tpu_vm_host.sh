#!/usr/bin/env bash
# What tpu_vm.sh runs on each host: sets up once, trains as a systemd unit, shows its log. The unit outlives
# this connection, so a closed laptop stops nothing, and its name is taken while it runs, so nothing runs twice.
set -euo pipefail

WORKDIR=${WORKDIR:?run folder}
DATA_DIR=${DATA_DIR:?folder of prepared datasets}
CACHE_DIR=${CACHE_DIR:-$WORKDIR/xla_cache}
UNIT=ipad-jax
LOG=$HOME/$UNIT.log

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ ! -e .installed ]]; then
  # uv brings Python 3.11: Ubuntu 22.04, which most TPU images are, has 3.10
  version=$(sed -n 's/^UV_VERSION := //p' Makefile)
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user "uv==$version"
  python3 -m uv venv --quiet --allow-existing --python 3.11 .venv
  python3 -m uv pip install --quiet --compile-bytecode --python .venv/bin/python -c requirements.lock -e '.[tpu,gcs]'
  touch .installed
fi

running() { [[ $(systemctl is-active "$UNIT") =~ ^(active|activating|deactivating)$ ]]; }
if running; then
  echo "$(hostname): already running; this is its log (stop it with: sudo systemctl stop $UNIT)"
else
  sudo systemctl reset-failed "$UNIT" 2> /dev/null || true  # a failed unit keeps its name
  unit=(
    --unit="$UNIT" --uid="$(id -u)" --gid="$(id -g)" --working-directory="$PWD"
    # 143 and 130 mean "start again", and a host that died takes the others with it: all come back together.
    # 2 is a wrong command line. What fails 20 times a day needs a person.
    --property=Restart=on-failure --property=RestartSec=10 --property=RestartPreventExitStatus=2
    --property=StartLimitIntervalSec=1d --property=StartLimitBurst=20
    # time to save when the host is told to leave; the processes that decode stay until then
    --property=TimeoutStopSec=120 --property=KillMode=mixed
    --property=StandardOutput="append:$LOG"
    --setenv=HOME="$HOME"
    --setenv=IPAD_JAX_DISTRIBUTED=auto  # JAX asks the slice's metadata for the other hosts
    --setenv=JAX_PLATFORMS="tpu,cpu"  # without a TPU it must fail, not train on the host's cores
    --setenv=JAX_COMPILATION_CACHE_DIR="$CACHE_DIR"
  )
  sudo systemd-run "${unit[@]}" "$PWD/.venv/bin/ipad-jax" train "$@" \
    --config.data.data_dir="$DATA_DIR" --workdir="$WORKDIR"
fi

touch "$LOG"
tail --follow=name --lines=20 "$LOG" &
while running; do sleep 5; done
kill %1 2> /dev/null || true
[[ $(systemctl is-active "$UNIT") != failed ]]
