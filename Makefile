# Entry points for people and CI. The build itself is CMake's (CMakePresets.json); this only calls it.
#
#   make help        what there is

PRESET ?= dev
WERROR ?= OFF
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc)
# Empty: everything, tests too.
TARGETS ?=

# What runs on a host; the tests take most of the time of a build.
PRODUCT = perdured perdure perdure-logger perdure-agent perdure_pagemap_filter perdure_standby

.PHONY: help setup build test demo bench install clean

help:
	@echo "make setup     install what is needed to build, run and test (Debian 12 and 13, root)"
	@echo "make build     build preset $(PRESET) into build/$(PRESET)"
	@echo "make test      set up, build, run all tests: unit, integration, sanitizers, end to end (root)"
	@echo "make demo      a video server is killed, moved, loses its host, under its viewers (root, 2 minutes)"
	@echo "make bench     checkpoints and recoveries, beside runc's and podman's; standbys, moves, lost hosts; placement (root)"
	@echo "make install   build preset release and install below PREFIX=$(PREFIX) (DESTDIR= is honoured)"
	@echo "make clean     remove build/"
	@echo
	@echo "PRESET=dev|release|asan|tsan|fuzz  WERROR=ON|OFF  JOBS=$(JOBS)"
	@echo "tests/run --help says how to run a part of the tests"

setup:
	@scripts/setup

build:
	@mkdir -p build
	@cmake --preset $(PRESET) -DPERDURE_WERROR=$(WERROR) -DCMAKE_INSTALL_PREFIX=$(PREFIX) >build/configure-$(PRESET).log 2>&1 \
	  || { cat build/configure-$(PRESET).log; exit 1; }
	@cmake --build --preset $(PRESET) -j $(JOBS) $(if $(TARGETS),--target $(TARGETS))

test:
	@tests/run --werror $(WERROR) --jobs $(JOBS)

demo: setup
	@$(MAKE) --no-print-directory build TARGETS="$(PRODUCT)"
	@scripts/demo --build build/$(PRESET)

bench: setup
	@bench/checkpoint
	@bench/recovery
	@bench/replication
	@bench/failover
	@bench/placement

install:
	@$(MAKE) --no-print-directory build PRESET=release TARGETS="$(PRODUCT) perdure_manual_files"
	DESTDIR=$(DESTDIR) cmake --install build/release

clean:
	rm -rf build
