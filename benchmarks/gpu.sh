#!/usr/bin/env bash
# What an unknown GPU can tell in nine minutes: whether the contracts hold there, how fast the hot paths are beside plain
# code, and the headline cells at the paper's scale. Each part has a share of the time and is ended after it. Lines are
# added to results/contracts.jsonl and results/speed.jsonl; cells go to results/gpu, and go on there when called again.
#
#     benchmarks/gpu.sh
#     DEVICE=cpu BUDGET=90 benchmarks/gpu.sh    # the same without a GPU, to see that it works
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD
device=${DEVICE:-cuda} budget=${BUDGET:-540}
end=$((SECONDS+budget))

part() { # seconds it may take, command
    echo "== ${*:2}" >&2
    timeout -k 5 "$@" || echo "ended with $?: ${*:2}" >&2
}

python3 -c "import torch; torch.zeros(1, device='$device')" || { echo "no $device here" >&2; exit 1; }
part $((budget/5)) python3 benchmarks/contracts.py --device "$device"
part $((budget/3)) python3 benchmarks/speed.py dm dsa mtt evaluate encoder kde --device "$device"
left=$((end-SECONDS-20)) # the rest, to begin and to end in
part $((left+20)) python3 -m dd_debias sweep --recipe paper --part table1 --set cmnist corrupted_cifar10 --conflict 0.05 \
    --ipc 10 --device "$device" --budget "${left}s" --out results/gpu
