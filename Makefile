# Two commands. Each sets up its own .venv here and nothing outside; a second run starts at once.
#   make demo    the whole loop in small: search with the embedded model, a dataset, a page of search trees
#   make test    everything that is checked: style, types, the whole suite, Docker included where it can be had
# PYTHON=python3.12 chooses the interpreter, TORCH_INDEX=URL an index of CPU builds of PyTorch, OUT=folder where the demo writes, PYTEST="-k maths -x" narrows the tests.

PYTHON ?= python3
OUT ?= demo
export PYTHON

.PHONY: demo test test-interop test-packaging dist bench mutants coverage flaky check docs clean help

help:
	@sed -n '2,5s/^# \{0,1\}//p' Makefile

demo: .venv/stamp-run
	@.venv/bin/stepgym demo --out $(OUT)

test: .venv/stamp-test
	@scripts/test $(PYTEST)

test-interop:
	@scripts/test-interop $(PEERS)

# sdist and wheel outside the checkout: PYTHONS="python3.11 python3.13", FULL=0 without torch
test-packaging: .venv/stamp-run
	@scripts/test-packaging

# dist/: sdist, wheel, constraints.txt, sbom.cdx.json
dist: .venv/stamp-run
	@scripts/dist

# benchmarks/RESULTS.md's table: BENCH=verify,search runs some, QUICK=1 takes minutes, MISSING=1 continues an interrupted run
bench: .venv/stamp-test
	@.venv/bin/python benchmarks/suite.py $(BENCH) $(if $(QUICK),--quick) $(if $(MISSING),--missing)

# mutation testing of one room on a copy: ROOM=maths, search, records or exports
mutants: .venv/stamp-test
	@[ -e .venv-peers/mutants/ready ] || { $(PYTHON) -m venv .venv-peers/mutants && .venv-peers/mutants/bin/pip install -q "cosmic-ray>=8.7" && touch .venv-peers/mutants/ready; }
	@.venv-peers/mutants/bin/python scripts/mutants $(ROOM) --num $(or $(NUM),60) --seed $(or $(SEED),0)

# lines run by the tests, by room: TESTS="tests/records tests/agents"
coverage: .venv/stamp-test
	@scripts/coverage $(TESTS)

# tests whose result varies in NUM runs
flaky: .venv/stamp-test
	@scripts/flaky $(or $(NUM),20) $(TESTS)

check: .venv/stamp-test
	@scripts/check

# The documentation as a site in site/, which needs no network to be built or read.
docs: .venv/stamp-docs
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo "To read it: python3 -m http.server --directory site, then open http://127.0.0.1:8000"

.venv/stamp-run .venv/stamp-test .venv/stamp-docs: .venv/stamp-%: pyproject.toml scripts/install
	@scripts/install $*
	@touch $@

clean:
	rm -rf .venv .venv-peers demo runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis
