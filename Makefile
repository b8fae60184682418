# Two commands. Each sets up its own .venv here and nothing outside; a second run starts at once.
#   make demo    the whole loop in small: search with the embedded model, a dataset, a page of search trees
#   make test    everything that is checked: style, types, the whole suite, Docker included where it can be had
# PYTHON=python3.12 chooses the interpreter, TORCH_INDEX=URL an index of CPU builds of PyTorch, OUT=folder where the demo writes, PYTEST="-k maths -x" narrows the tests.

PYTHON ?= python3
OUT ?= demo
export PYTHON

.PHONY: demo test test-interop test-packaging dist check docs clean help

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
