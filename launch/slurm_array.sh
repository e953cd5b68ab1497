#!/usr/bin/env bash
#SBATCH --job-name=ipad-jax-table
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=ipad-jax-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@180
#
# A table of many classes or scenes under Slurm, a share of it a job: with as many shares as classes each job
# has one class. Submit it in the clone, which all nodes see; options of sbatch go before the script, those of
# `ipad-jax reproduce` after it. See launch/README.md.
#
#   SHARES=20 WORKDIR=/shared/tables DATA_DIR=/shared/tensorflow_datasets \
#     sbatch --array=0-19 launch/slurm_array.sh --table mad --data mad
#
# A job that is interrupted queues again and goes on; one that failed is submitted alone, such as --array=7.
set -euo pipefail

WORKDIR=${WORKDIR:?folder of all tables that all nodes see, on a shared file system}
DATA_DIR=${DATA_DIR:?folder of prepared datasets, the same}
SHARES=${SHARES:?number of shares, one more than the last of --array}
CACHE_DIR=${CACHE_DIR:-$WORKDIR/xla_cache}       # compiled programs: most jobs need those of the first
CLONE=${CLONE:-${SLURM_SUBMIT_DIR:-$PWD}}        # has .venv, see launch/README.md
: "${1:?arguments of ipad-jax reproduce, such as --table mad --data mad}"
: "${SLURM_ARRAY_TASK_ID:?submit it with sbatch --array=0-$((SHARES - 1))}"

cd "$CLONE"
[[ -x .venv/bin/ipad-jax ]] || { echo "no .venv/bin/ipad-jax in $CLONE: submit from the clone, after its set-up" >&2; exit 2; }
export JAX_PLATFORMS=cuda,cpu  # without a GPU it must fail, not train on the node's cores
export JAX_COMPILATION_CACHE_DIR=$CACHE_DIR

status=0
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" .venv/bin/ipad-jax reproduce "$@" --data-dir="$DATA_DIR" \
  --workdir="$WORKDIR" --index="$SLURM_ARRAY_TASK_ID" --of="$SHARES" || status=$?

case $status in
  130 | 143) scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" ;;  # interrupted and saved
  *) exit "$status" ;;
esac
