#!/usr/bin/env bash
# Evaluate on several devices of one or more machines.
# usage: tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options of tools/test.py]
set -euo pipefail
config=${1:?usage: tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options]}
checkpoint=${2:?usage: tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options]}
processes=${3:?usage: tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options]}
exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
