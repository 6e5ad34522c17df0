#!/bin/sh
# fuzz/run.sh SECONDS [TARGET…]: builds the targets, and lets each run for so long. A target that finds something ends early
# and leaves it in fuzz/artifacts/TARGET/. FUZZ_TARGET_DIR chooses where the build lies.
set -e
cd "$(dirname "$0")"
seconds=${1:?seconds for each target}
shift
all="onnx_structure onnx_bytes npz protocol config http sniff weights archive module_code"
targets=${*:-$all}
export RUSTC_WRAPPER="$PWD/instrument.sh"
export CARGO_TARGET_DIR="${FUZZ_TARGET_DIR:-$PWD/target}"
export OMP_NUM_THREADS=1
cargo build --locked --bins
python3 seeds.py
found=0
for target in $targets; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "== $target"
    # Memory and time are part of what is searched: an upload must not take more of either.
    "$CARGO_TARGET_DIR/debug/$target" "corpus/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=1024 \
        -timeout=10 -max_len=32768 -len_control=10 -print_final_stats=1 "-artifact_prefix=artifacts/$target/" || found=1
done
exit $found
