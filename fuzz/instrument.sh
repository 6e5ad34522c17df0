#!/bin/sh
# Cargo calls this instead of rustc (RUSTC_WRAPPER). What is searched is compiled with libFuzzer's instrumentation; the
# libraries below it are not, so they come out as in every other build and are compiled once. Sancov needs no nightly: its
# flags are LLVM's, and stable rustc passes them on.
rustc=$1
shift
case " $* " in
*" --crate-name kegd "* | *" --crate-name kegd_fuzz "* | *" --edition=2024 "*"fuzz_targets/"*)
    set -- "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$rustc" "$@"
