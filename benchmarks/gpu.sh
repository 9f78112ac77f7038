#!/usr/bin/env bash
# What an unknown GPU can tell in a quarter of an hour: whether the contracts hold there, how long the hot paths take, and
# a cell at the paper's scale. Each part has a share of the time and is ended after it. Lines are added to
# results/contracts.jsonl, gpu_times.jsonl and encoder_steps.jsonl; cells go to results/gpu, and go on there when called
# again.
#
#     DD_DEBIAS_DATA=.data benchmarks/gpu.sh
#     DD_DEBIAS_DATA=.data DEVICE=cpu BUDGET=90 benchmarks/gpu.sh    # the same without a GPU, to see that it works
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD
device=${DEVICE:-cuda} budget=${BUDGET:-840}
end=$((SECONDS+budget))

part() { # seconds it may take, command
    echo "== ${*:2}" >&2
    timeout -k 5 "$@" || echo "ended with $?: ${*:2}" >&2
}

python3 -c "import torch; torch.zeros(1, device='$device')" || { echo "no $device here" >&2; exit 1; }
part $((budget/10)) python3 benchmarks/contracts.py --device "$device"
part $((budget/8)) python3 benchmarks/encoder_steps.py cmnist .01
[ "$device" = cuda ] && part $((budget/6)) python3 benchmarks/gpu_times.py
left=$((end-SECONDS-20)) # the rest, to begin and to end in
part $((left+20)) python3 -m dd_debias sweep --recipe paper --part table1 --set cmnist --conflict 0.05 --ipc 10 \
    --method DM+KDE --threads 1 --device "$device" --budget "${left}s" --out results/gpu
