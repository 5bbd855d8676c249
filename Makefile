# On a fresh machine, `make check` and `make test` do all the set-up: an environment in .venv, the build, then their job.
.PHONY: check test lint types imports docs figures transcripts drawings sanitize counts bench plots clean

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
PURELIB = $$($(CURDIR)/$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
# The editable install rebuilds the core on import, with the tools that it finds on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# What one job computes of the problems, the next need not.
export STEPGAUGE_CACHE := $(CURDIR)/build/cache

RELEASED := adamp:AdamP adamp:SGDP fsgdm:FSGDM
TORCH := $(foreach rule,SGD Adam AdamW RMSprop,"torch.optim:$(rule)(foreach=False)") \
  $(foreach rule,Adam AdamW RMSprop,"torch.optim:$(rule)(foreach=True)")
# What torch's own kernels do silently wrong is not asked of them here. SGD's foreach adds the momentum that nesterov
# looks ahead to into p.grad; the fused ones read a state in another memory format as if it were in the parameter's, and
# SGD's is wrong in bfloat16.
FOREACH := "torch.optim:SGD(foreach=True)" --skip contract/gradient-untouched
FUSED := $(foreach rule,SGD Adam AdamW,"torch.optim:$(rule)(fused=True)") \
  --skip contract/resume-in-another-format --skip contract/bfloat16 --skip contract/float16
# The tests ask everything of every rule in every layer; here two stand for each layer beside what is published.
BOUND := SGD AdamP
OWN := $(foreach layer,core torch_bind,$(addprefix stepgauge.$(layer):,$(BOUND)))

# The main job: verdicts on real published packages.
check: .venv/peers
	stepgauge check $(RELEASED) $(TORCH) $(OWN)
	stepgauge check $(FOREACH)
	stepgauge check $(FUSED)

test: .venv/ready
	pytest properties -n auto --dist worksteal

lint: .venv/ready
	ruff check .
	ruff format --check .
	cython-lint core

# Neither mypy nor import-linter can follow the editable install's import hook, so they find the folders by links under the
# package's name; -S leaves the hook out.
types: build/types
	cd build/types && mypy --config-file ../../pyproject.toml -p stepgauge

imports: build/types
	cd build/types && PYTHONPATH=.:$(PURELIB) python -S $(CURDIR)/$(BIN)/lint-imports --no-logo ../../pyproject.toml

# The core's tests on a copy of the package whose kernels check every address and every operation. The sanitizers have to
# be there before Python is, and leaks are not asked for: Python leaves what it needs to the end.
SANITIZERS := address,undefined
SANITIZED := $(foreach library,asan ubsan,$$(cc -print-file-name=lib$(library).so))
sanitize: .venv/ready
	rm -rf build/sanitized
	$(INSTALL) --no-deps --no-build-isolation --target build/sanitized . -Csetup-args=-Db_sanitize=$(SANITIZERS) \
	  -Csetup-args=-Db_lundef=false -Csetup-args=-Dbuildtype=debugoptimized \
	  -Csetup-args=-Dc_args=-fno-sanitize-recover=undefined
	cd build/sanitized && PYTHONPATH=.:$(PURELIB) LD_PRELOAD="$(SANITIZED)" ASAN_OPTIONS=detect_leaks=0 \
	  python -S -m pytest -c ../../pyproject.toml -p no:cacheprovider -q --pyargs \
	  stepgauge.properties.layers.test_core stepgauge.properties.layers.test_core_arrays

.PHONY: build/types
build/types: .venv/ready
	rm -rf $@
	mkdir -p $@/stepgauge
	ln -s $(addprefix $(CURDIR)/,core properties reference torch_bind) $(CURDIR)/build/cp*/__init__.py $@/stepgauge

# What the documents derive from data, and that data: `make docs` shows it, the others measure it (minutes for each rule;
# RULES="adam lion" names some of them) and run the commands again.
PAGES := README.md $(wildcard docs/*.md) properties/gauge/tolerance/README.md

docs: .venv/ready
	cog -r $(PAGES)

figures: .venv/ready
	python -m stepgauge.properties.meta.figures $(RULES)
	$(MAKE) docs

transcripts: .venv/peers
	python -m stepgauge.properties.meta.transcripts
	$(MAKE) docs

# What the page on demos shows.
drawings: .venv/ready
	for rule in adamp sgdp fsgdm adai sgd_c frog; do \
	  stepgauge demo $$rule --svg docs/figures/demo-$$rule.svg > /dev/null || exit; done

# What the kernels cost beside benchmarks/baseline.json: what no other process can change, and all of it.
counts: .venv/ready
	python benchmarks/gate.py counts

bench: .venv/bench
	pytest benchmarks/test_gate.py
	python benchmarks/gate.py

# Half an hour on an idle machine.
plots: .venv/bench
	pytest benchmarks/test_steps.py benchmarks/test_scaling.py benchmarks/test_verdicts.py -m "not gpu" \
	  --benchmark-json build/benchmarks.json
	python benchmarks/plots.py build/benchmarks.json docs/figures

# torch comes first: what depends on it would else choose another build of it.
.venv/ready: pyproject.toml constraints.txt meson.build core/meson.build
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) torch
	$(INSTALL) meson-python meson ninja Cython scipy
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	touch $@

.venv/peers: .venv/ready
	$(INSTALL) adamp fsgdm
	touch $@

.venv/bench: .venv/ready
	$(INSTALL) --no-build-isolation --editable '.[bench]'
	touch $@

clean:
	rm -rf .venv build
