# On a fresh machine, `make check` and `make test` do all the set-up: an environment in .venv, the build, then their job.
.PHONY: check test lint types imports clean

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# The editable install rebuilds the core on import, with the tools that it finds on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)

RELEASED := adamp:AdamP adamp:SGDP fsgdm:FSGDM
TORCH := $(foreach form,foreach=False foreach=True fused=True,\
  $(foreach rule,SGD Adam AdamW,"torch.optim:$(rule)($(form))")) \
  "torch.optim:RMSprop(foreach=False)" "torch.optim:RMSprop(foreach=True)"
OWN := stepgauge.core:SGD stepgauge.core:AdamP stepgauge.torch_bind:SGD stepgauge.torch_bind:AdamP

# The main job: verdicts on real published packages.
check: .venv/peers
	stepgauge check $(RELEASED) $(TORCH) $(OWN)

test: .venv/ready
	pytest properties -n auto --dist worksteal

lint: .venv/ready
	ruff check .
	ruff format --check .
	cython-lint core

# Neither mypy nor import-linter can follow the editable install's import hook, so they read an installed copy; -S leaves
# the hook out.
types: build/types
	cd build/types && mypy --config-file ../../pyproject.toml -p stepgauge

imports: build/types
	cd build/types && PYTHONPATH=.:$$($(CURDIR)/$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
	  python -S $(CURDIR)/$(BIN)/lint-imports --no-logo ../../pyproject.toml

.PHONY: build/types
build/types: .venv/ready
	rm -rf $@
	$(INSTALL) --no-deps --no-build-isolation --target $@ .

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

clean:
	rm -rf .venv build
