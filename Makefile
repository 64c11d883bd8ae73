# All that a person needs: `make demo`, `make check`. The rest are their steps.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
DECODER = test/models/llama_mobius.onnx --inputs test/models/llama_mobius.case0.npz

.PHONY: help deps build demo check bench gpu-check gpu-bundle format
help:
	@sed -n 's/^## //p' Makefile

## make deps    packages of the system and the private Python environment
deps:
	@tools/deps.sh

## make build   the programs, in build/bin
build: deps
	@echo "== configure and build (the first time takes minutes)"
	@cmake --preset dev > build.log 2>&1 || { cat build.log; echo "make build: cmake failed, see above" >&2; exit 1; }; rm -f build.log
	@cmake --build build -j $(JOBS)

## make demo    cuts a Llama-style decoder and BERT over 4 ranks and proves them equal
demo: build
	@tools/demo.sh

## make check   every test; ends with `N passed, N failed`
check: build
	@test/check.sh

## make bench   a model beside ONNX Runtime, in turn; [MODEL=F.onnx] [BENCH="--rounds 9 …"]
bench: build
	@.venv/bin/python test/bench/peer.py build/bin/cleave $(or $(MODEL),$(DECODER)) $(BENCH)

## make gpu-check  what needs a GPU, on a machine with one: kernels, models, times; [GPU_CHECK="--parts times …"]
gpu-check:
	@$(or $(wildcard .venv/bin/python),python3) test/gpu/gpu_check.py $(GPU_CHECK)

## make gpu-bundle  packs what was built for the gpu-check of a machine that has nothing of ours
gpu-bundle: build
	@tools/gpu_bundle.sh

## make format  clang-format over the tree
format:
	@git ls-files '*.cpp' '*.c' '*.h' | xargs clang-format-22 -i
