#!/usr/bin/env bash
#SBATCH --job-name=ipad-jax
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --output=ipad-jax-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@180
#
# Trains on GPU nodes under Slurm, one process a node. Submit it in the clone, which all nodes see; options of
# sbatch go before the script, those of `ipad-jax train` after it. See launch/README.md.
#
#   WORKDIR=/shared/runs/S01 DATA_DIR=/shared/tensorflow_datasets \
#     sbatch --nodes=4 launch/slurm.sh --config ipad:paper --config.data.name=S01 --config.batch_size=32 --config.model.dtype=bfloat16
#
# --signal: three minutes before the time is up all processes get SIGTERM, save the same step and leave with
# 143; the job then queues again, as it does when a node dies or Slurm takes the nodes away (--requeue).
set -euo pipefail

WORKDIR=${WORKDIR:?run folder that all nodes see, a shared file system or gs://...}
DATA_DIR=${DATA_DIR:?folder of prepared datasets, a shared file system or gs://...}
CACHE_DIR=${CACHE_DIR:-$WORKDIR/xla_cache}       # compiled programs: the next start needs no compiling
CLONE=${CLONE:-${SLURM_SUBMIT_DIR:-$PWD}}        # has .venv, see launch/README.md
: "${1:?arguments of ipad-jax train, such as --config ipad:paper}"

cd "$CLONE"
[[ -x .venv/bin/ipad-jax ]] || { echo "no .venv/bin/ipad-jax in $CLONE: submit from the clone, after its set-up" >&2; exit 2; }
export JAX_PLATFORMS=cuda,cpu  # without a GPU it must fail, not train on the node's cores
export JAX_COMPILATION_CACHE_DIR=$CACHE_DIR

# IPAD_JAX_DISTRIBUTED stays unset: ipad_jax reads Slurm's variables itself and gives a node's one task all its
# GPUs, while `auto` (JAX's own detection) would give it one. Nobody is killed because another one has left
# first: process 0 may still be writing the digests of the checkpoint. srun does not take the cores from sbatch.
status=0
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=0 .venv/bin/ipad-jax train "$@" \
  --config.data.data_dir="$DATA_DIR" --workdir="$WORKDIR" || status=$?

case $status in
  130 | 143) scontrol requeue "$SLURM_JOB_ID" ;;  # interrupted and saved: start again
  *) exit "$status" ;;
esac
