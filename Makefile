# The project's commands: `make help` lists them.

PYTHON := python3
VENV := .venv
MODEL := resnet50
WEIGHTS :=
LABELS :=
NAME = $(MODEL)
HOST := 127.0.0.1
PORT := 8000
ARGS :=
TORCH_PIP_ARGS :=
UPGRADE :=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH = $(shell sed -nE 's/^ *"(torch==[^"]+)".*/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # two of these at once would install into one environment
.PHONY: help serve test check lint fuzz bench soak lock clients clean

help: ## list the commands
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16
	@echo 'PYTHON=python3.12 chooses the interpreter, once: it makes $(VENV).'
	@echo 'TORCH_PIP_ARGS="--index-url URL" chooses where the build of torch comes from.'

# Nothing is exported twice. Where the official weights cannot be had (exit code 3) and none were asked for by name,
# untrained ones are served, under a name of their own: once the network is back, the next run has the trained ones.
EXPORT = $(BIN)/resnet-export $(MODEL) $(if $(LABELS),--labels '$(LABELS)') --if-missing

serve: $(VENV)/.export ## export a network once and serve it [MODEL=resnet18 WEIGHTS=path LABELS=path NAME= HOST= PORT= ARGS=]
	@name=$(NAME); $(EXPORT) --name $$name $(if $(WEIGHTS),--weights '$(WEIGHTS)') || { \
		code=$$?; [ $$code = 3 ] && [ -z '$(WEIGHTS)' ] || exit $$code; \
		echo 'Going on with UNTRAINED weights: the answers will mean nothing. Run this again to get the trained ones.' >&2; \
		name=$(NAME)-untrained; $(EXPORT) --name $$name --weights untrained || exit; }; \
	exec $(BIN)/resnet-serve --model $$name --host $(HOST) --port $(PORT) $(ARGS)

test: $(VENV)/.dev ## run the tests [ARGS=]
	$(BIN)/python -m pytest $(ARGS)

check: lint test ## everything that must hold before a commit lands: lint and test

lint: $(VENV)/.dev ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fuzz: $(VENV)/.dev ## feed the image decoder what nobody thought of, a minute [ARGS="--seconds 3600 --corpus path"]
	$(BIN)/python tests/fuzz/fuzz_image.py $(ARGS)

bench: $(VENV)/.dev ## measure the service beside the bound of its own parts, five minutes [ARGS=--help]
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.dev ## serve mixed clients while one fault after the other strikes, ten minutes [ARGS="--seconds 60"]
	$(BIN)/python -m tests.soak $(ARGS)

# One resolution for all, so that what is tested is what is shipped: the others are cut out of dev.lock.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' --excludes requirements/unlocked.txt
FROM_DEV = $(LOCK) --constraints requirements/dev.lock

lock: $(VENV)/.dev ## resolve the dependencies again [UPGRADE=--upgrade]
	$(LOCK) $(UPGRADE) --extra cpu --extra otel --extra export --extra plot --extra test \
		--extra fuzz --extra dev --group build --group torch pyproject.toml --output-file requirements/dev.lock
	$(FROM_DEV) --extra cpu --extra export --group build --group torch \
		pyproject.toml --output-file requirements/export.lock
	$(FROM_DEV) --extra cpu pyproject.toml --output-file requirements/cpu.lock
	$(FROM_DEV) --extra otel pyproject.toml --output-file requirements/otel.lock
	$(FROM_DEV) --group build --output-file requirements/build.lock
	$(FROM_DEV) $(UPGRADE) --extra gpu pyproject.toml --output-file requirements/gpu.lock
	$(LOCK) $(UPGRADE) --group pyproject.toml:clients --output-file requirements/clients.lock

clients: build/clients/.installed ## install the Open Inference Protocol's own clients, which tests drive

build/clients/.installed: requirements/clients.lock | $(BIN)/python
	$(BIN)/python -m venv --clear build/clients
	build/clients/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement $<
	@touch $@

clean: ## remove the environment, caches and builds; artefacts stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

# An environment is as new as the files it was installed from; the stamp says when. torch alone comes unhashed
# (requirements/unlocked.txt says why): what it requires, and what builds the project, is in the lock.
$(VENV)/.%: requirements/%.lock pyproject.toml hatch_build.py $(wildcard service/*.c) | $(BIN)/python
	$(PIP) install --require-hashes --requirement $<
	$(PIP) install $(TORCH_PIP_ARGS) $(TORCH)
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Python 3.11 or newer is needed; "$(PYTHON)" is not. Name one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
