#!/usr/bin/env bash
# Trains on one TPU slice of a GKE cluster, as a JobSet that Kueue may queue. See launch/README.md.
#
#   NAME=s01 IMAGE=REGION-docker.pkg.dev/PROJECT/ipad/jax:tpu QUEUE=research \
#   WORKDIR=gs://BUCKET/runs/S01 DATA_DIR=gs://BUCKET/tensorflow_datasets \
#     launch/gke_jobset_tpu.sh --config ipad:paper --config.data.name=S01 --config.batch_size=16 --config.model.dtype=bfloat16
set -euo pipefail

NAME=${NAME:?name of the JobSet}
IMAGE=${IMAGE:?built from launch/Dockerfile with EXTRA=tpu}
WORKDIR=${WORKDIR:?run folder that all hosts see, gs://...}
DATA_DIR=${DATA_DIR:?folder of prepared datasets, gs://...}
CACHE_DIR=${CACHE_DIR:-$WORKDIR/xla_cache}       # compiled programs: new hosts start with them
NAMESPACE=${NAMESPACE:-default}
SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-default}      # of Kubernetes; may read DATA_DIR and write WORKDIR
QUEUE=${QUEUE:-}                                 # Kueue's LocalQueue; empty: started at once
ACCELERATOR=${ACCELERATOR:-tpu-v5-lite-podslice} # v5e; tpu-v5p-slice, tpu-v6e-slice
TOPOLOGY=${TOPOLOGY:-4x4}                        # of the slice, in chips
CHIPS_PER_NODE=${CHIPS_PER_NODE:-4}              # of the node pool's machines
MAX_RESTARTS=${MAX_RESTARTS:-10}                 # after failures; interruptions do not count
: "${1:?arguments of ipad-jax train, such as --config ipad:paper}"

NODES=$((${TOPOLOGY//x/ * } / CHIPS_PER_NODE))
args() { printf "                    - '%s'\n" "${@//\'/\'\'}"; }

kubectl create --filename=- << EOF_JOBSET
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $NAME
  namespace: $NAMESPACE
  labels:
    app.kubernetes.io/name: ipad-jax
    ${QUEUE:+kueue.x-k8s.io/queue-name: $QUEUE}
  annotations:
    # all of a slice's hosts, and no host of another slice of the same kind
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: $MAX_RESTARTS
    restartStrategy: BlockingRecreate # never two generations of pods in one run folder
    rules:
      - name: Interrupted
        action: RestartJobSetAndIgnoreMaxRestarts
        onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
    - name: worker
      replicas: 1 # one slice; the mesh does not know several
      template:
        spec:
          completionMode: Indexed
          parallelism: $NODES
          completions: $NODES
          backoffLimit: 0 # one process alone cannot start again: the JobSet does, as a whole
          podFailurePolicy: # these are interruptions, not failures
            rules:
              - action: FailJob
                onExitCodes:
                  containerName: train
                  operator: In
                  values: [130, 143] # saved and left: start again
              - action: FailJob
                onPodConditions:
                  - type: DisruptionTarget # drained, preempted, node gone
                    status: "True"
          template:
            spec:
              restartPolicy: Never
              terminationGracePeriodSeconds: 120 # time to save; Spot nodes give less
              serviceAccountName: $SERVICE_ACCOUNT
              nodeSelector:
                cloud.google.com/gke-tpu-accelerator: $ACCELERATOR
                cloud.google.com/gke-tpu-topology: $TOPOLOGY
              tolerations:
                - key: cloud.google.com/gke-spot
                  operator: Exists
                  effect: NoSchedule
              containers:
                - name: train
                  image: $IMAGE
                  args:
                    - train
$(args "$@" "--config.data.data_dir=$DATA_DIR" "--workdir=$WORKDIR")
                  env:
                    - name: IPAD_JAX_DISTRIBUTED # GKE tells each pod its slice's hosts; JAX reads that
                      value: auto
                    - name: JAX_PLATFORMS # without a TPU it must fail, not train on the node's cores
                      value: tpu,cpu
                    - name: JAX_COMPILATION_CACHE_DIR
                      value: $CACHE_DIR
                  resources:
                    limits:
                      google.com/tpu: $CHIPS_PER_NODE
EOF_JOBSET
