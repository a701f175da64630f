# Everything a fresh machine needs is Python 3.11 or later and make; the targets install the rest into .venv.

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2
SECONDS ?= 600
SYSTEM_FILES := test_guard_podman.py test_network_sources.py test_network_interfaces.py

.PHONY: help demo test lint types layers tests wheel bench verify soak mutants diagrams test-render test-system clean

help:            ## say what can be made
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | sort

demo: .venv/demo ## run the reference application, ironpost, on samples and on the connections of this machine
	$(BIN)/fsm-plugins check examples/ironpost/ironpost.toml
	$(BIN)/python -m ironpost.demo build/demo

test: lint types layers tests wheel ## check everything

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

layers: .venv/dev
	$(BIN)/lint-imports

tests: .venv/dev
	$(BIN)/python -m pytest -n $(JOBS) --doctest-modules fsm_plugins examples/ironpost/ironpost tests examples/ironpost/tests

wheel: .venv/dev ## build the wheel, and try it in an environment with nothing else
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --wheel --no-isolation
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/pip install --quiet dist/*.whl
	cd examples/words && ../../.venv-wheel/bin/python ../../tests/smoke.py
	rm -rf .venv-wheel

bench: .venv/dev ## measure the core against what it is compared with
	$(BIN)/python -m benchmarks

soak: .venv/dev  ## let 200 plugins crash at random for ten minutes (SECONDS=600), and see that nothing leaks
	$(BIN)/python -m benchmarks.soak --seconds $(SECONDS)

verify: .venv/dev ## verify the core in a small scope, and the example application
	$(BIN)/python -m tests.verify_core
	$(BIN)/fsm-plugins verify examples/words/words.toml

mutants: .venv/dev ## break the code in every listed way, and see the tests fail
	$(BIN)/python -m tests.mutants --jobs $(JOBS)

test-render: .venv/dev ## let the real parsers read the diagrams: Mermaid's (needs node), Graphviz, PlantUML
	if command -v npm >/dev/null; then cd tests/render && npm install --no-audit --no-fund --silent; fi
	$(BIN)/python -m pytest tests/render

test-system: .venv/dev ## test against a real container engine and a real interface (needs root; installs with apt)
	sh examples/ironpost/system-packages.sh
	$(BIN)/pip install --quiet --editable examples/ironpost
	SYSTEM_TESTS=1 $(BIN)/python -m pytest $(addprefix examples/ironpost/tests/,$(SYSTEM_FILES))

diagrams: .venv/dev ## write the pictures of the documentation anew
	$(BIN)/python docs/state-diagrams/make.py

clean:
	rm -rf .venv .venv-wheel dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/core: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/demo: .venv/core examples/ironpost/pyproject.toml
	$(BIN)/pip install --quiet --editable 'examples/ironpost[demo]'
	@touch $@

.venv/dev: .venv/core examples/ironpost/pyproject.toml
	$(BIN)/pip install --quiet --group dev --editable examples/ironpost
	@touch $@
