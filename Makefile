SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
DATA ?= ./var

.PHONY: help run build fax setup setup-fax setup-test test check bench loadtest loadtest-full sounds clean

help:
	@echo "make run      build and start an exchange in $(DATA), on 127.0.0.1"
	@echo "make fax      build strowger-fax, the fax machine of SendFAX and ReceiveFAX, beside the exchange"
	@echo "make test     all tests, with real telephones and database servers of their own"
	@echo "make check    formatting and lints"
	@echo "make bench    CPU per packet of relaying, rooms, transcoding and SRTP beside a bare relay, of the dialplan, of signalling, and of the APIs"
	@echo "make loadtest an exchange under each kind of load, with reports in target/loadtest (10 minutes); loadtest-full: hours"
	@echo "make sounds   speak the prompts anew (espeak-ng, sox)"
	@echo "make clean    remove what was built; $(DATA) stays"

setup:
	@.ci/setup.sh build

setup-fax: setup
	@.ci/setup.sh fax

setup-test: setup-fax
	@.ci/setup.sh test
	@tests/clients/install.sh target/clients

build: setup
	$(CARGO) build --release

fax: setup-fax
	$(CARGO) build --release --package strowger-fax

run: build
	./target/release/strowger --data $(DATA) serve

# Tests of the programs `together` wait for telephones and timers more than they compute: more of them run side by side than
# there are cores. The names match all other programs.
TOGETHER ?= 4
ONE_BY_CORE := --lib --bins --test '[!t]*' --test 't[!o]*'

# The servers run in a temporary folder on private ports and end with the tests, however those end. They start when
# everything is built: a build may take all the memory and time there is.
test: setup-test
	@$(CARGO) test --workspace --no-run $(TEST_ARGS)
	@folder=$$(mktemp -d /tmp/strowger-test.XXXXXX); \
	trap 'tests/databases.sh stop "$$folder" || true; rm -rf "$$folder"' EXIT INT TERM; \
	urls=$$(tests/databases.sh start "$$folder"); eval "$$urls"; \
	if [ -n "$(strip $(TEST_ARGS))" ]; then $(CARGO) test --workspace $(TEST_ARGS); \
	else $(CARGO) test --workspace $(ONE_BY_CORE) && $(CARGO) test --workspace --test together -- --test-threads $(TOGETHER); \
	fi || { tests/databases.sh told "$$folder"; exit 1; }

check: setup-fax
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

bench: setup
	$(CARGO) build --release -p strowger -p strowger-benches
	./target/release/relay_cpu $(BENCH_ARGS)
	./target/release/media_works $(WORKS_ARGS)
	./target/release/dialplan_works $(DIALPLAN_ARGS)
	./target/release/sip_works $(SIP_ARGS)
	./target/release/api_works $(API_ARGS)

# The exchange has core 0, the generator the last one.
LOADTEST := ./target/release/strowger-loadtest proof --binary ./target/release/strowger

loadtest: setup
	$(CARGO) build --release -p strowger -p strowger-loadtest
	$(LOADTEST) --soak 30 --out target/loadtest $(LOADTEST_ARGS)

# Profiles at their full loads, the capacity of those whose capacity is asked for, and half an hour of soak.
loadtest-full: setup-test
	$(CARGO) build --release -p strowger -p strowger-loadtest
	@status=0; \
	$(LOADTEST) --full --soak 1800 --soak-calls 500 --out target/loadtest-full $(LOADTEST_ARGS) || status=1; \
	$(LOADTEST) --capacity --from 200 --profile relay --profile recorded-stereo --profile setup --profile registrations \
	  --out target/loadtest-full/capacity || status=1; \
	exit $$status

sounds: setup-test
	sounds/generate.sh

clean:
	$(CARGO) clean
