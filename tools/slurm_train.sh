#!/usr/bin/env bash
# Train under Slurm, one task a GPU.
# usage: GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options]
set -euo pipefail
usage='usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options]'
partition=${1:?$usage}
job=${2:?$usage}
config=${3:?$usage}
work_dir=${4:?$usage}
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
# SRUN_ARGS holds further options of srun, split at spaces on purpose.
# shellcheck disable=SC2086
exec srun -p "$partition" --job-name="$job" --gres="gpu:$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/train.py" "$config" --work-dir "$work_dir" --launcher slurm "${@:5}"
