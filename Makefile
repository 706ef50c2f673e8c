# Each target does its own set-up; what it needs is in tools/. `make help` lists them.
SHELL := /bin/bash
BIN := .venv/bin

# What the demo may use of the chip, and why: README, "The demo".
DEMO_LIMITS := --max-ram 4K --max-flash 96K --max-latency 640ms
# Half of a hop of 240 ms at 160 MHz, told at the 40 MHz that the bare image sets: docs/keywords.md.
KEYWORDS_LIMITS := --max-ram 8K --max-flash 28K --max-latency 480ms
SMOKE_BUDGET := --max-ram 2K --max-flash 24K --max-latency 300ms --max-drop 2 --steps 300

.PHONY: help setup demo smoke demo-keywords demo-controls test lint unit rest clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

setup: ## install what is missing (apt and pip); a second when nothing is
	@tools/setup.sh

demo: setup ## fit the smartwatch network to an ESP32, prove it in an emulator
	$(BIN)/secateur compile zoo:watch-resnet --target esp32 --data zoo:watch $(DEMO_LIMITS) --max-drop 1 -o build/demo

smoke: setup ## the same in a minute, on scikit-learn's digits
	$(BIN)/secateur compile zoo:digits-net --target esp32 --data zoo:digits $(SMOKE_BUDGET) -o build/smoke

demo-keywords: setup ## keywords from audio (synthetic speech), for an ESP32 and a Cortex-M4
	$(BIN)/secateur compile zoo:keywords-dscnn --target esp32 --data zoo:keywords $(KEYWORDS_LIMITS) --max-drop 2 -o build/demo-keywords
	$(BIN)/secateur compile build/demo-keywords/model.tflite --target qemu-cortex-m4 --data zoo:keywords -o build/demo-keywords-cortex-m4

demo-controls: setup ## the demo's result beside its controls (random, L1, from scratch, ...)
	$(BIN)/secateur bench pruning zoo:watch-resnet --target esp32 --data zoo:watch $(DEMO_LIMITS) -o build/demo-controls

test: setup ## lint, then the unit tests, then emulators and the slow ones
	@tools/lint.sh
	@tools/test.sh unit
	@tools/test.sh rest

lint: setup ## ruff, mypy --strict, the floors
	@tools/lint.sh

unit: setup ## the tests that need no toolchain: seconds
	@tools/test.sh unit

rest: setup ## the tests that need a cross compiler, an emulator or time
	@tools/test.sh rest

clean: ## remove what was built; .venv stays
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
