# What a bare machine needs: Python 3.11, make, gcc. `make help` lists the targets.

PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV := .venv
BIN := $(VENV)/bin
# Named in the same command as what needs it: left alone, pip may take another build of gigabytes.
TORCH := $(shell grep '^torch==' constraints.txt)
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH)
# Photographs of hands to look at, where they are beside the checkout; or PHOTOGRAPHS=DIR.
PHOTOGRAPHS ?= $(wildcard ../shared/real_hands)
APK := build/android/hand$(if $(AARS),,-no-runtime).apk
DESCRIPTION := setup.cfg pyproject.toml constraints.txt
# Two workers for two cores; the tests hold every library to one thread. A file's tests stay with
# one worker, because they share what is slow to make.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile

.PHONY: help export test test-slow lint check bench ablation photographs asset viewer clean
.PHONY: apk android-packages android-test bundle
.DELETE_ON_ERROR:

help:
	@echo 'make export     set up .venv, export the bundled model to build/sd865 (options: ARGS=...)'
	@echo 'make test       set up .venv, run the tests'
	@echo 'make test-slow  the tests that take longer'
	@echo 'make lint       lint, formatting and types'
	@echo 'make check      make lint and make test'
	@echo 'make bench      figures against peers, in one run each (minutes)'
	@echo 'make apk        put build/sd865 into the Android app and build it (AARS=DIR: with a runtime)'
	@echo 'make android-test  what of the app can be tested without a phone'
	@echo 'make android-packages  install what both need, with apt-get, as root'
	@echo 'make photographs  what the bundled model sees in pictures of your own (PHOTOGRAPHS=DIR, ARGS=...)'
	@echo 'make ablation   what each part of network and training is worth (most of an hour)'
	@echo 'make asset      build the bundled hand again'
	@echo 'make viewer     build the script that turns meshes in report.html again'
	@echo 'make clean      remove what was built, all but .venv'

# --force: like any other target, this one replaces what it built before.
export: $(VENV)/installed-run
	$(BIN)/i2uv-edge export --force $(ARGS)

test: $(VENV)/installed-dev
	$(PYTEST)

# One after the other: some have a limit on their time.
test-slow: $(VENV)/installed-dev
	$(PYTEST) -n 0 -m slow

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

bench: $(VENV)/installed-peers
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/peers.py

# Goes on where it was stopped; tables go to build/ablation.
ablation: $(VENV)/installed-charts
	$(BIN)/python benchmarks/ablation.py --charts docs $(ARGS)

# Needs Node.js 18 or later; what it writes is in the repository.
viewer:
	cd i2uv_edge/report/assets && npm ci --no-audit --no-fund && node build.mjs
	rm -r i2uv_edge/report/assets/node_modules

asset: $(VENV)/installed-asset
	$(BIN)/python -m i2uv_edge.hand.build -o i2uv_edge/hand/assets/hand.npz

photographs: $(VENV)/installed-run
	@test -n '$(PHOTOGRAPHS)' || { \
		echo 'there are no photographs here: make photographs PHOTOGRAPHS=DIR, of right hands' >&2; \
		exit 2; }
	$(BIN)/python benchmarks/photographs.py '$(PHOTOGRAPHS)' $(ARGS)

# See android_demo/README.md. Without AARS the app has no runtime and says so.
apk: bundle
	$(BIN)/python android_demo/tools/place_bundle.py build/sd865
	$(BIN)/python android_demo/tools/build_apk.py -o $(APK) $(if $(AARS),--aars '$(AARS)')
	$(BIN)/python android_demo/tools/check_apk.py $(APK)

# The first line, so that nothing is skipped here for want of a package.
android-test: bundle
	$(BIN)/python android_demo/tools/toolchain.py
	$(BIN)/python -m pytest -q -n 0 -m android tests/test_android_*.py
	$(BIN)/python android_demo/tools/host.py preview build/sd865 build/android/preview.png

android-packages: $(VENV)/installed-dev
	apt-get update
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
		$$($(BIN)/python android_demo/tools/toolchain.py --packages)

# Whatever bundle is there is taken; a new one is made where there is none.
bundle: $(VENV)/installed-dev
	test -f build/sd865/report.json || $(BIN)/i2uv-edge export

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	rm -rf android_demo/app/src/placed android_demo/app/build android_demo/.gradle
	find . -name $(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(VENV)/installed-run: $(DESCRIPTION)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[qnn]'
	touch $@

$(VENV)/installed-dev: $(DESCRIPTION)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[dev]'
	touch $@

$(VENV)/installed-peers: $(DESCRIPTION)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[peers]'
	touch $@

$(VENV)/installed-charts: $(DESCRIPTION)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[charts]'
	touch $@

$(VENV)/installed-asset: $(DESCRIPTION)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[asset]'
	touch $@
