# `make demo` shows what kegd does, `make test` checks it. Both fetch what they need on the first run.

.DEFAULT_GOAL := help
.PHONY: help setup build demo test fuzz audit browser cases serve clean

PYTHON ?= python3

# rustup looks for its toolchains below $HOME. Where HOME is not the account's own, they are still found.
ifndef RUSTUP_HOME
ifeq ($(wildcard $(HOME)/.rustup/toolchains),)
ACCOUNT_HOME := $(shell getent passwd "$$(id -u)" | cut -d: -f6)
ifneq ($(wildcard $(ACCOUNT_HOME)/.rustup/toolchains),)
export RUSTUP_HOME := $(ACCOUNT_HOME)/.rustup
endif
endif
endif

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## fetch libtorch to .libtorch/ (GPU=1: the CUDA build)
	@scripts/setup.sh

build: setup ## leave target/release/kegd, which runs without further environment
	cargo build --release --locked

demo: build ## a real classifier in, a smaller one out, without its data: some minutes
	$(PYTHON) demo/demo.py

serve: build ## start the service and its page on http://127.0.0.1:8080
	target/release/kegd serve

test: setup browser cases ## formatting, lints, and every test, the page in a real browser among them
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	OMP_NUM_THREADS=1 cargo test --locked --all-targets

fuzz: setup ## search for inputs that break what reads uploads (SECONDS=600 for each target)
	fuzz/run.sh $(or $(SECONDS),600)

audit: ## what dependencies bring with them: cargo-deny, and the advisories if they can be fetched
	@command -v cargo-deny >/dev/null || { echo 'cargo-deny is not there: cargo install --locked cargo-deny'; exit 1; }
	cargo deny --locked --offline check bans licenses sources
	@cargo deny --locked fetch || { echo 'The advisory database cannot be reached: advisories were NOT checked.'; exit 1; }
	cargo deny --locked check advisories

browser:
	@scripts/browser.sh

cases:
	@$(PYTHON) scripts/onnx_cases.py

clean: ## remove what building and the demo made; .libtorch/ stays
	rm -rf target out
