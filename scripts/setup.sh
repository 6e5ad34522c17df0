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

if [ "$(uname -s)" != Linux ]; then
    say "this is $(uname -s), and kegd runs on Linux alone: use a virtual machine, or the container of docker/"
    exit 1
fi
if [ "$(uname -m)" != x86_64 ]; then
    say "this is $(uname -m); libtorch is fetched for x86_64 only, and children are confined without seccomp elsewhere"
    say "install libtorch 2.11.0 yourself and set LIBTORCH to its directory"
    [ -n "${LIBTORCH:-}" ] || exit 1
fi

need cc gcc
need c++ g++
need python3 python3
# What Cargo.toml asks for: an older cargo, such as a distribution's, cannot even read that file. Images are built from
# scripts/ alone up to here, with a cargo of their own choice: then nothing is asked for.
wanted=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml 2>/dev/null || true)
remedy="Install Rust${wanted:+ $wanted or later} as https://rustup.rs says."
if ! command -v cargo >/dev/null 2>&1; then
    say "missing: cargo. $remedy"
    missing=1
elif ! version=$(cargo --version 2>&1); then
    say "cargo is there but does not run:"
    printf '%s\n' "$version" | sed -n '1,2s/^/    /p'
    say "rustup keeps its toolchains in \$RUSTUP_HOME (default \$HOME/.rustup):"
    say "set it, or run: rustup toolchain install stable"
    missing=1
else
    # rustup may say more than the version.
    found=$(printf '%s\n' "$version" | sed -n 's/^cargo \([0-9][0-9.]*\).*/\1/p')
    if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        say "too old: $(command -v cargo) is version ${found:-unknown}. $remedy"
        say "where rustup is already: rustup update stable, with its cargo first in PATH"
        missing=1
    fi
fi
if [ -n "$packages" ]; then
    say "on Debian or Ubuntu: sudo apt-get install$packages"
fi
[ "$missing" = 0 ] || exit 1

exec python3 scripts/libtorch.py
