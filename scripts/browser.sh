#!/bin/sh
# The page's test drives a real browser: makes sure that Chromium and its driver are there.
set -eu

say() { printf 'browser: %s\n' "$*"; }
found() { command -v "$1" >/dev/null 2>&1; }
complete() { found chromedriver && { found chromium || found chromium-browser || found google-chrome; }; }

complete && exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif found sudo && sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    as_root="none"
fi

install="apt-get install -y --no-install-recommends chromium chromium-driver"
if [ "$as_root" != none ] && found apt-get; then
    say "installing Chromium for the page's test"
    # shellcheck disable=SC2086 # both words are meant to split
    if $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive $install && complete; then
        exit 0
    fi
fi

say "missing: Chromium and chromedriver, which the page's test needs"
say "on Debian: sudo $install"
say "on Ubuntu: sudo snap install chromium, and link its chromium.chromedriver as chromedriver on your PATH"
exit 1
