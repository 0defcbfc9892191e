# Two commands are enough: `make train` and `make test`. Both make the environment when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help train train-baseline what-next test lint format lock wheel bench bench-serving clean

help:
	@echo "make train   environment, dataset, baseline and transformer compared, the champion (some 20 minutes)"
	@echo "make train-baseline   the same with the baseline alone (a minute)"
	@echo "make test    the whole test suite"
	@echo "make lint    ruff and mypy; make format: ruff format"
	@echo "make lock    pin requirements.txt anew from pyproject.toml"
	@echo "make wheel   dist/findings-*.whl"
	@echo "make bench   ours beside its peers, from a tenth of the training documents, and training's speed (an hour and more)"
	@echo "             make bench SETTINGS='data.train_share=1': from all of them, many hours; see benchmarks/README.md"
	@echo "make bench-serving   speed of answers"

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11.5 or later is needed; run: make PYTHON=python3.12 ...") if sys.version_info < (3, 11, 5) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# The baseline, the transformer, the two compared, and the champion by the rule of promotion.
train: $(READY)
	$(BIN)/findings data check
	$(BIN)/findings train
	$(BIN)/findings train model=minilm
	$(BIN)/findings compare champion latest
	$(BIN)/findings promote latest || test $$? -eq 3 # refused by the rule: the champion stays
	@$(MAKE) --no-print-directory what-next

train-baseline: $(READY)
	$(BIN)/findings data check
	$(BIN)/findings train promote=true
	@$(MAKE) --no-print-directory what-next

what-next:
	@echo
	@echo "What next (after: . $(BIN)/activate)"
	@echo "  findings read data/README.md --out readings        # label a document; open readings/README.html"
	@echo "  findings serve                                     # the champion on http://127.0.0.1:5001/"
	@echo "  mlflow ui --backend-store-uri sqlite:///$(CURDIR)/mlruns/mlflow.db   # runs, plots, models"

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

lock: $(READY)
	$(BIN)/pip-compile --quiet --extra dev --extra transformer --extra spark --extra server --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--allow-unsafe --output-file requirements.txt pyproject.toml
	$(BIN)/python -c "import pathlib; f = pathlib.Path('requirements.txt'); f.write_text(f.read_text().replace('+cpu', ''))"

wheel: $(READY)
	$(BIN)/python -m build --wheel --no-isolation

bench: $(READY)
	$(BIN)/python benchmarks/peers.py $(or $(SETTINGS),data.train_share=0.1)
	$(BIN)/python benchmarks/training_throughput.py $(SETTINGS)

bench-serving: $(READY)
	$(BIN)/python benchmarks/inference_speed.py $(SETTINGS)
	$(if $(wildcard benchmarks/endpoint_latency.py),$(BIN)/python benchmarks/endpoint_latency.py)

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
