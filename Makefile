# SPDX-License-Identifier: GPL-2.0
# The front door; `make help` lists what there is. Kbuild reads the file Kbuild, not this one.

KDIR ?= /lib/modules/$(or $(KVER),$(shell uname -r))/build
KERNEL ?= stable
HOST ?= qemu
DRIVERS ?= viridian
FUZZ_SECONDS ?= 60

vm = selftests/vm/run --kernel $(KERNEL) --host $(HOST) --drivers $(DRIVERS)

.PHONY: modules modules_install root_disk_install uninstall clean help demo shell test soak test-pure test-vm check fmt fuzz bench
.DEFAULT_GOAL := modules

modules: ## Build the modules for the running kernel (KDIR= or KVER= for another) into build/modules/RELEASE
	@scripts/modules.sh $(KDIR)

modules_install: modules ## Install them under /lib/modules/RELEASE/updates
	@scripts/install.sh $(KDIR)

root_disk_install: ## Install what the initramfs of a root disk on VMBus needs; read Documentation/root-disk.md first
	@scripts/install.sh --root-disk

uninstall: ## Remove what these two have installed
	@scripts/install.sh --remove

clean: ## Remove what was built, but not the build roots
	@rm -rf build/modules build/cargo build/cargo-root build/vm build/logs build/rootdisk vendor

help: ## This list
	@sed -nE 's/^([a-z_-]+):[^#]*## (.*)$$/  make \1\t\2/p' Makefile | expand -t 28

demo: ## Prepare everything, boot a nested guest, load the modules and show what they found
	@scripts/demo.sh

shell: ## An interactive shell in a guest; the modules are in /modules
	@scripts/prepare.sh $(KERNEL)
	@$(vm) --shell

test: ## Every test that CI runs
	@scripts/test.sh

soak: ## The same with larger numbers (KERNEL=testing for the other kernel, ROUNDS=n for exactly n rounds)
	@SOAK=1 KERNEL=$(KERNEL) scripts/test.sh

test-pure: ## The tests of the pure crates: unit, property, loom, fuzz corpus
	@scripts/test-pure.sh

test-vm: ## Tests in guests: T=pattern ROUNDS=n DRIVERS=viridian|stock HOST=name|/folder KERNEL=stable|testing
	@scripts/prepare.sh $(KERNEL)
	@$(vm) $(if $(T),--tests $(T))

check: ## Format, lints and layers
	@scripts/check.sh

fmt: ## Format everything
	@scripts/fmt.sh

fuzz: ## Fuzz every parser for FUZZ_SECONDS each, or one with TARGET=
	@FUZZ_SECONDS=$(FUZZ_SECONDS) TARGET=$(TARGET) selftests/fuzz/run.sh

bench: ## storvsc against the stock driver, TURNS=n times; instructions per packet of the ring, counted by callgrind
	@selftests/bench/storvsc.sh
	@selftests/bench/ring.sh
