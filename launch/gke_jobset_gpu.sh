#!/usr/bin/env bash
# Trains on GPU nodes of a GKE cluster, as a JobSet that Kueue may queue. See launch/README.md.
#
#   NAME=s01 IMAGE=REGION-docker.pkg.dev/PROJECT/ipad/jax:cuda QUEUE=research \
#   WORKDIR=gs://BUCKET/runs/S01 DATA_DIR=gs://BUCKET/tensorflow_datasets \
#     launch/gke_jobset_gpu.sh --config ipad:paper --config.data.name=S01 --config.batch_size=16 --config.model.dtype=bfloat16
set -euo pipefail

NAME=${NAME:?name of the JobSet}
IMAGE=${IMAGE:?built from launch/Dockerfile with EXTRA=cuda}
WORKDIR=${WORKDIR:?run folder that all nodes see, gs://...}
DATA_DIR=${DATA_DIR:?folder of prepared datasets, gs://...}
CACHE_DIR=${CACHE_DIR:-$WORKDIR/xla_cache}       # compiled programs: new nodes start with them
NAMESPACE=${NAMESPACE:-default}
SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-default}      # of Kubernetes; may read DATA_DIR and write WORKDIR
QUEUE=${QUEUE:-}                                 # Kueue's LocalQueue; empty: started at once
ACCELERATOR=${ACCELERATOR:-nvidia-h100-80gb}     # as in the label cloud.google.com/gke-accelerator
NODES=${NODES:-2}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}                # all of a node's: one process has them
PORT=${PORT:-8476}                               # where process 0 coordinates
MAX_RESTARTS=${MAX_RESTARTS:-10}                 # after failures; interruptions do not count
: "${1:?arguments of ipad-jax train, such as --config ipad:paper}"

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
spec:
  network:
    enableDNSHostnames: true # the coordinator is found by its name
  failurePolicy:
    maxRestarts: $MAX_RESTARTS
    restartStrategy: BlockingRecreate # never two generations of pods in one run folder
    rules:
      - name: Interrupted
        action: RestartJobSetAndIgnoreMaxRestarts
        onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
    - name: worker
      replicas: 1
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
                cloud.google.com/gke-accelerator: $ACCELERATOR
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
                    - name: IPAD_JAX_COORDINATOR # first pod: JobSet, job, index of the job, of the pod
                      value: $NAME-worker-0-0.$NAME:$PORT
                    - name: IPAD_JAX_NUM_PROCESSES
                      value: "$NODES"
                    - name: IPAD_JAX_PROCESS_ID
                      valueFrom:
                        fieldRef:
                          fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
                    - name: JAX_PLATFORMS # without a GPU it must fail, not train on the node's cores
                      value: cuda,cpu
                    - name: JAX_COMPILATION_CACHE_DIR
                      value: $CACHE_DIR
                    - name: JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES # XLA itself cannot write to gs://
                      value: none
                  ports:
                    - containerPort: $PORT
                  resources:
                    limits:
                      nvidia.com/gpu: $GPUS_PER_NODE
                  volumeMounts:
                    - name: shared-memory
                      mountPath: /dev/shm
              volumes:
                - name: shared-memory # NCCL needs more than a container's 64 MB
                  emptyDir:
                    medium: Memory
EOF_JOBSET
