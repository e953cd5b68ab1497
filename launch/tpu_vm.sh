#!/usr/bin/env bash
# Trains on every host of a Cloud TPU slice that exists. The same line again shows the log of a run that goes
# on, or takes up one that stopped; see launch/README.md.
#
#   TPU_NAME=ipad ZONE=us-west4-a WORKDIR=gs://BUCKET/runs/S01 DATA_DIR=gs://BUCKET/tensorflow_datasets \
#     launch/tpu_vm.sh --config ipad:paper --config.data.name=S01 --config.batch_size=16 --config.model.dtype=bfloat16
set -euo pipefail

TPU_NAME=${TPU_NAME:?name of the slice}
ZONE=${ZONE:?zone of the slice}
PROJECT=${PROJECT:-}                             # empty: that of gcloud
WORKDIR=${WORKDIR:?run folder that all hosts see, gs://...}
DATA_DIR=${DATA_DIR:?folder of prepared datasets, gs://...}
CACHE_DIR=${CACHE_DIR:-$WORKDIR/xla_cache}       # compiled programs: new hosts start with them
: "${1:?arguments of ipad-jax train, such as --config ipad:paper}"

# The last commit is what runs; every commit has a folder of its own on the hosts.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source=ipad_jax-$(git rev-parse --short HEAD)
git diff --quiet HEAD -- || echo "uncommitted changes are not sent: commit them to run them" >&2
git archive --format=tar.gz --prefix="$source/" --output="${TMPDIR:-/tmp}/$source.tar.gz" HEAD

slice=("$TPU_NAME" --zone="$ZONE" ${PROJECT:+--project="$PROJECT"} --worker=all)
train=$(printf '%q ' env WORKDIR="$WORKDIR" DATA_DIR="$DATA_DIR" CACHE_DIR="$CACHE_DIR" \
  bash "$source/launch/tpu_vm_host.sh" "$@")

gcloud compute tpus tpu-vm scp "${TMPDIR:-/tmp}/$source.tar.gz" "$TPU_NAME:" "${slice[@]:1}"
gcloud compute tpus tpu-vm ssh "${slice[@]}" --command="tar -xzf $source.tar.gz && $train"
