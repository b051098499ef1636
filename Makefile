# Two commands: `make serve` and `make test`. The rest is what they, CI and the hooks are made of.
PYTHON ?= python3
VENV := .venv
INSTALL := $(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt $(wildcard packaging/*)
PYTEST := $(VENV)/bin/python -m pytest
WIRE := .venv-wire
FUZZ := .venv-fuzz

export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
RECIPE ?= digits
SECONDS ?= 60
JOBS ?= 2

.PHONY: help serve train test coverage test-slow test-docker wire fuzz check format schema startup bench clean

help:  ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

serve: $(VENV)/.serve  ## Install the server if need be, and serve models/ on 127.0.0.1:8000
	@$(VENV)/bin/bonsai serve --log-format text

train: $(VENV)/.train  ## Train a recipe and publish it into models/: make train RECIPE=digits
	@$(VENV)/bin/bonsai-train run $(RECIPE)

test: check  ## Install everything if need be; lint, check types, run the tests
	@$(PYTEST) -q --numprocesses $(JOBS) --dist loadfile

coverage: $(VENV)/.test  ## The same tests, and which lines and branches they reach
	@$(PYTEST) -q --cov --cov-report=term

test-slow: $(VENV)/.test  ## The tests that take a minute or need a large download
	@$(PYTEST) -q -m slow --numprocesses $(JOBS) --dist loadfile

test-docker: $(VENV)/.test  ## The tests of the containers; they need a container engine
	@$(PYTEST) -q -m docker

wire: $(WIRE)/.wire  ## The tests with Triton's and KServe's own clients, in an environment of their own
	@$(WIRE)/bin/python -m pytest -q tests/wire

fuzz: $(FUZZ)/.fuzz  ## Throw damaged requests at the server's code, in an environment of its own: make fuzz SECONDS=600
	@$(FUZZ)/bin/python -P -m tests.fuzz run --seconds $(SECONDS)
	@$(FUZZ)/bin/python -P -m tests.fuzz coverage

check: $(VENV)/.test  ## Lint and check types
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy --no-error-summary

format: $(VENV)/.test  ## Format the code
	@$(VENV)/bin/ruff check --quiet --fix .
	@$(VENV)/bin/ruff format --quiet .

schema: $(VENV)/.serve  ## Write the JSON Schemas in docs/schema/
	@for name in manifest deployments; do $(VENV)/bin/bonsai schema $$name > docs/schema/$$name.schema.json; done

bench: $(VENV)/.train  ## Run the benchmarks (an hour; they need wrk): results in benchmarks/results/
	@for name in overhead compute mixed_lengths overload poison compile; do $(VENV)/bin/python -m benchmarks.$$name || exit 1; done

startup: $(VENV)/.serve  ## Measure start-up time and idle memory
	@$(VENV)/bin/python benchmarks/startup.py

clean:  ## Remove what the targets made
	@rm -rf $(VENV) .venv-* .cache .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Bonsai needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: $(INPUTS) | $(VENV)/bin/python
	@echo "installing the server"
	@$(INSTALL) --editable '.[cpu]'
	@touch $@

$(VENV)/.train: $(INPUTS) | $(VENV)/bin/python
	@echo "installing the server and training (PyTorch is large)"
	@$(INSTALL) --editable '.[cpu,train]'
	@touch $@ $(VENV)/.serve

$(VENV)/.test: $(INPUTS) | $(VENV)/bin/python
	@echo "installing the server, training and the tools (PyTorch is large)"
	@$(INSTALL) --editable '.[cpu,train,dev]'
	@touch $@ $(VENV)/.serve $(VENV)/.train

# The clients need an older protobuf than constraints.txt has, so the second step goes without it.
$(WIRE)/.wire: $(INPUTS)
	@echo "installing the server and the clients of other projects"
	@$(PYTHON) -m venv $(WIRE)
	@$(WIRE)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[cpu]'
	@$(WIRE)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --editable '.[cpu,wire]'
	@touch $@

$(FUZZ)/.fuzz: $(INPUTS)
	@echo "installing the server and the fuzzer"
	@$(PYTHON) -m venv $(FUZZ)
	@$(FUZZ)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --only-binary atheris --constraint constraints.txt --editable '.[cpu,fuzz]' || \
		{ echo "make fuzz needs a Python that atheris has a wheel for: https://pypi.org/project/atheris/#files" >&2; exit 1; }
	@touch $@
