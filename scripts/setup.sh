#!/bin/sh
# Prepares a machine to build kegd: checks the tools, then puts libtorch at .libtorch/ (CPU; with GPU=1 the CUDA build).
# Safe to run again: it does nothing when everything is in place.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
packages=""
missing=0

# need COMMAND PACKAGE
need() {
    if ! command -v "$1" >/dev/null 2>&1; then
        say "missing: $1"
        packages="$packages $2"
        missing=1
    fi
}

if [ "$(uname -s)" != Linux ] || [ "$(uname -m)" != x86_64 ]; then
    say "this is $(uname -s) on $(uname -m); libtorch is fetched for Linux on x86_64 only"
    say "elsewhere, install libtorch 2.11.0 yourself and set LIBTORCH to its directory"
    [ -n "${LIBTORCH:-}" ] || exit 1
fi

need cc gcc
need c++ g++
need python3 python3
if ! command -v cargo >/dev/null 2>&1; then
    say "missing: cargo. Install Rust 1.95 or later as https://rustup.rs says."
    missing=1
elif ! version=$(cargo --version 2>&1); then
    say "cargo is there but does not run:"
    printf '%s\n' "$version" | sed -n '1,2s/^/    /p'
    say "rustup keeps its toolchains in \$RUSTUP_HOME (default \$HOME/.rustup):"
    say "set it, or run: rustup toolchain install stable"
    missing=1
fi
if [ -n "$packages" ]; then
    say "on Debian or Ubuntu: sudo apt-get install$packages"
fi
[ "$missing" = 0 ] || exit 1

exec python3 scripts/libtorch.py
