# Everything sets itself up in .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/quickstart
MODEL := models/qwen2.5-coder-0.5b-instruct
LARGER := models/qwen2.5-coder-1.5b-instruct
PYTEST_ARGS ?= -n logical --maxprocesses=4 --dist=loadfile
EVOHPC := HF_HUB_OFFLINE=1 $(VENV)/bin/evohpc
INSTALLED := $(VENV)/.installed
SBOM ?= build/sbom
ELSEWHERE := clrs.py llama_batch.py  # benchmarks that need libraries which are not in .venv
LOCKS := driver.lock $(wildcard containers/*.lock)

.PHONY: quickstart test gpu lint docs parity experiment reliability lock sbom

quickstart: $(MODEL)/SHA256SUMS  ## a search on MNIST-1D with a real language model; goes on if it was interrupted
	$(EVOHPC) run $(RUN) configs/quickstart.yaml

test: $(INSTALLED)  ## the quick tests, on up to 4 cores; PYTEST_ARGS="-m slow" runs slow ones, "-m slurm" those on a real Slurm
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

gpu: $(MODEL)/SHA256SUMS  ## all that a search does on a GPU, tried on this host's: a table, and build/gpu.json; ten minutes
	mkdir -p build
	$(EVOHPC) doctor --gpu --lm $(MODEL) --results build/gpu.json

docs: $(INSTALLED)  ## these pages as a site, build/site/index.html; a link that leads nowhere is an error
	$(VENV)/bin/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky -c docs -d build/doctrees . build/site

experiment: $(MODEL)/SHA256SUMS $(LARGER)/SHA256SUMS  ## all arms of the comparison on MNIST-1D that have no results yet; hours for each
	HF_HUB_OFFLINE=1 $(VENV)/bin/python configs/experiments/run.py configs/experiments/mnist1d --results docs/results/mnist1d

reliability: $(INSTALLED)  ## an hour or two, or with LONG=no less: kills, damaged files, hostile candidates, fuzzed parsers; keeps the figures in docs/results
	mkdir -p docs/results
	EVOHPC_TALLY=docs/results/reliability.json $(VENV)/bin/python -m pytest -m 'not gpu and not jax and not slurm$(if $(filter no,$(LONG)), and not long)' \
	  tests/test_reliability.py tests/test_fuzz.py tests/test_kill.py tests/test_hostile.py tests/driver tests/jobs/test_crash_points.py tests/lm/test_generate.py tests/search/test_damaged_database.py

parity: $(INSTALLED) $(VENV)-jax/.installed  ## CLRS-30 against dm-clrs itself, under JAX; installs 3 GB
	EVOHPC_JAX_PYTHON=$(VENV)-jax/bin/python $(VENV)/bin/python -m pytest -m jax

lock: $(VENV)-lock/.installed  ## driver.lock anew: what a driver needs, by hash, from pyproject.toml and constraints.txt
	$(VENV)-lock/bin/uv pip compile --quiet --universal --upgrade --generate-hashes --no-annotate \
	  --custom-compile-command 'make lock' --constraints constraints.txt --output-file driver.lock pyproject.toml

sbom: $(VENV)-lock/.installed  ## what the driver and each image are made of, in the folder SBOM: CycloneDX, from the lock files
	mkdir -p $(SBOM)
	for lock in $(LOCKS); do $(VENV)-lock/bin/cyclonedx-py requirements --output-reproducible --of JSON \
	  -o $(SBOM)/$$(basename $$lock .lock).cdx.json $$lock || exit 1; done

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	cd benchmarks && MYPYPATH=..:../tests $(abspath $(VENV))/bin/mypy --config-file ../pyproject.toml --allow-untyped-calls \
	  --no-warn-unused-ignores $(filter-out $(ELSEWHERE),$(notdir $(wildcard benchmarks/*.py)))

models/%/SHA256SUMS: $(INSTALLED)
	$(EVOHPC) fetch-lm models/$* --model $*

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "evohpc needs Python 3.11 or later; this is `$(PYTHON) --version`. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "installing into $(VENV); this takes some minutes once"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet "$$(grep ^torch== constraints.txt)"
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[train,lm,convert,clrs,report,tensorboard,wandb,docs,dev]'
	$(VENV)/bin/pip install --quiet --no-deps "$$(grep ^dm-clrs== constraints.txt)"
	@touch $@

$(VENV)-lock/.installed: constraints.txt
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet "$$(grep ^uv== constraints.txt)" "$$(grep ^cyclonedx-bom== constraints.txt)"
	@touch $@

$(VENV)-jax/.installed: constraints.txt
	$(PYTHON) -m venv $(VENV)-jax
	$(VENV)-jax/bin/pip install --quiet "$$(grep ^dm-clrs== constraints.txt)" safetensors
	@touch $@
