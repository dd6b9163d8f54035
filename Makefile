# Everything is built below build/: build/san with SAN=1 (AddressSanitizer, UndefinedBehaviorSanitizer), build/clang
# with CC=clang, build/clang-san with both.
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := build

ifeq ($(origin CC),default)
CC := gcc
endif
PYTHON := /usr/bin/python3
empty :=
space := $(empty) $(empty)
MODE := $(subst $(space),-,$(strip $(if $(findstring clang,$(CC)),clang) $(if $(SAN),san) $(if $(FUZZ),fuzz)))
BUILD := build$(addprefix /,$(MODE))

CFLAGS ?= $(if $(SAN),-O1,-O2) -g
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -fvisibility=hidden -fno-omit-frame-pointer \
	-Ilib -I/usr/include/postgresql $(CFLAGS)
ALL_LDFLAGS := -rdynamic -Wl,-z,relro,-z,now $(LDFLAGS)
ifdef SAN
# Their checks hide from gcc which values an integer can have.
ALL_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all \
	$(if $(findstring clang,$(CC)),,-Wno-format-truncation)
ALL_LDFLAGS += -fsanitize=address,undefined
endif
# What tells valgrind's memcheck about arenas and fibers costs a third of an arena's time: only with VALGRIND=1.
ifndef VALGRIND
ALL_CFLAGS += -DNVALGRIND
endif
ifdef FUZZ
ALL_CFLAGS += -fsanitize=fuzzer-no-link
endif
# libhob stands in for functions that the libraries call (run/port.c), so it comes first, and that member always comes
# along: a sanitizer has a poll of its own, so nothing else may ask for it.
ALL_LDFLAGS += -Wl,-u,hob__port_reached
LIBRARIES := $(BUILD)/libhob.a -lfcgi -ljson-c -lpq -lmemcached -lpthread

lib_sources := $(sort $(shell find lib -name '*.c' -o -name '*.S'))
app_sources := $(sort $(wildcard app/*.c))
test_sources := $(sort $(shell find tests/unit -name '*_test.c'))
support_sources := $(sort $(wildcard tests/integration/support/*.c))
object = $(patsubst %,$(BUILD)/%.o,$(1))
program = $(patsubst %.c,$(BUILD)/%,$(1))
app_without_main := $(call object,$(filter-out app/main.c,$(app_sources)))
test_programs := $(call program,$(test_sources))
# The one that is loaded before a program is no program.
preloaded := tests/integration/support/count_malloc.c
support_programs := $(call program,$(filter-out $(preloaded),$(support_sources))) $(patsubst %.c,$(BUILD)/%.so,$(preloaded))
fuzz_programs := $(call program,$(sort $(wildcard tests/fuzz/*.c)))
fault := $(BUILD)/tests/fault/support
fault_programs := $(addprefix $(fault)/,history naive_set_after_read naive_cas_alone naive_join items_load roll_load)
fault_objects := $(call object,$(wildcard tests/fault/support/*.c))
micro := $(BUILD)/tests/bench/micro/micro
micro_objects := $(call object,$(wildcard tests/bench/micro/*.c))
FAULT_SECONDS := 60
FUZZ_SECONDS := 60
all_sources := $(sort $(shell find lib app tests -name '*.[ch]'))

packages_build := gcc libc6-dev make libfcgi-dev libjson-c-dev libpq-dev libmemcached-dev
ifneq ($(findstring clang,$(CC)),)
packages_build += clang $(if $(SAN),libclang-rt-14-dev)
endif
packages_run := $(packages_build) postgresql memcached nginx spawn-fcgi python3 curl
packages_servers := apache2-bin libapache2-mod-fcgid lighttpd lighttpd-mod-openssl lighttpd-mod-deflate \
	lighttpd-modules-lua caddy h2o haproxy libfcgi-bin nghttp2-client openssl
packages_test := $(packages_run) $(packages_servers) multiwatch pgbouncer iproute2 libcmocka-dev python3-pytest python3-psycopg2
packages_compose := docker.io docker-compose debootstrap python3 python3-pytest python3-psycopg2
packages_bench := $(packages_run) wrk gnuplot-nox php-fpm php-pgsql php-memcached
packages_micro := $(packages_build) valgrind python3 python3-pytest
packages_lint := $(packages_build) clang-format clang-tidy python3

.PHONY: build run test bench test-unit test-integration test-fault test-instructions test-compose bench-check bench-growth bench-servers bench-micro fuzz fuzz-run lint lint-format lint-tidy lint-house format readme deps clean help FORCE

build: $(BUILD)/users-api ## compile libhob and users-api (what plain `make` does)

run: ## start users-api with its own database, cache and web server (HOB_RUN_PORT, WORKERS)
	@conf/dev/deps.sh $(packages_run)
	@$(MAKE) build
	@exec $(PYTHON) -B conf/dev/run.py

test: ## run all tests (SAN=1: with the sanitizers)
	@conf/dev/deps.sh $(packages_test)
	@status=0; $(MAKE) test-unit || status=1; $(MAKE) test-integration || status=1; \
		$(MAKE) test-fault FAULT_SECONDS=3 || status=1; exit $$status

test-unit: $(test_programs) ## run the unit tests only
	@$(PYTHON) -B tests/unit.py $(test_programs)

test-integration: build $(support_programs) ## run the tests through a real nginx, PostgreSQL and memcached only
	@HOB_BUILD=$(BUILD) $(PYTHON) -B -m pytest -q -p no:cacheprovider \
		$(if $(SAN),--ignore=tests/integration/test_run.py) tests/integration

test-fault: build $(fault_programs) ## break and replace what runs, under load, for FAULT_SECONDS (60): nothing stale, nothing lost
	@HOB_BUILD=$(BUILD) FAULT_SECONDS=$(FAULT_SECONDS) $(PYTHON) -B -m pytest -q -p no:cacheprovider tests/fault

fuzz: ## run each fuzzer for FUZZ_SECONDS (60); what it finds is kept in tests/fuzz/
	@conf/dev/deps.sh $(packages_build) clang libclang-rt-14-dev
	@$(MAKE) CC=clang SAN=1 FUZZ=1 fuzz-run

fuzz-run: $(fuzz_programs)
	@for program in $(fuzz_programs); do \
		mkdir -p $$program.corpus; \
		$$program -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=tests/fuzz/ $$program.corpus || exit 1; \
	done

test-compose: ## docker-compose.yml: the suite through it, scaling and faults under load
	@conf/dev/deps.sh $(packages_compose)
	@$(PYTHON) -B -m pytest -q -p no:cacheprovider tests/compose

bench: ## measure against Go, php-fpm and the ceilings, into tests/bench/results, 40 minutes (QUICK=1: Go only, two minutes)
	@conf/dev/deps.sh $(packages_bench)
	@$(MAKE) build $(BUILD)/tests/bench/support/no_work
	@tests/bench/tools.sh $(BUILD)/bench $(if $(QUICK),,vegeta k6)
	@HOB_BUILD=$(BUILD) $(PYTHON) -B tests/bench/run.py $(if $(QUICK),--quick,--results tests/bench/results) $(BENCH)

bench-servers: ## measure a cached user through every web server of conf/ (SECONDS_EACH, CONNECTIONS)
	@conf/dev/deps.sh $(packages_test) wrk
	@$(MAKE) build
	@HOB_BUILD=$(BUILD) $(PYTHON) -B tests/bench/servers.py

bench-growth: ## measure while connections, workers, answers, sleepers, caches or rows grow (QUICK=1; ROWS=10000000; CURVES=rows,size)
	@conf/dev/deps.sh $(packages_bench)
	@$(MAKE) $(BUILD)/tests/bench/support/growth
	@HOB_BUILD=$(BUILD) $(PYTHON) -B tests/bench/growth.py $(if $(QUICK),--quick,--results tests/bench/results) $(if $(ROWS),--most-rows $(ROWS)) $(if $(CURVES),--curves $(CURVES))

bench-check: ## see whether the benchmark sees 20 us more of work in every request
	@conf/dev/deps.sh $(packages_bench)
	@$(MAKE) build $(BUILD)/tests/bench/support/slow
	@tests/bench/tools.sh $(BUILD)/bench
	@HOB_BUILD=$(BUILD) $(PYTHON) -B tests/bench/check.py --seconds 2

bench-micro: ## time, allocations and instructions of small operations, beside limits and baseline (UPDATE=1 writes it)
	@conf/dev/deps.sh $(packages_micro)
	@$(MAKE) $(micro)
	@HOB_BUILD=$(BUILD) $(PYTHON) -B tests/bench/micro/check.py $(if $(UPDATE),--update)

test-instructions: ## compare instructions and allocations of small operations with the baseline
	@conf/dev/deps.sh $(packages_micro)
	@$(MAKE) $(micro)
	@HOB_BUILD=$(BUILD) $(PYTHON) -B -m pytest -q -rs -p no:cacheprovider tests/bench/micro

lint: ## check format, code and the rules of the house
	@conf/dev/deps.sh $(packages_lint)
	@$(MAKE) lint-format lint-tidy lint-house
	@echo "lint: nothing found"

lint-format:
	@clang-format --dry-run -Werror $(all_sources)

lint-tidy:
	@printf '%s\0' $(filter %.c,$(lib_sources)) $(app_sources) | \
		xargs -0 -n 4 -P $$(nproc) sh -c 'clang-tidy --quiet "$$@" -- $(ALL_CFLAGS) -Iapp 2>/dev/null' sh

lint-house:
	@$(PYTHON) -B tests/lint.py

format: ## format all C sources
	@clang-format -i $(all_sources)

readme: build ## write the table of settings into README.md and conf/hob.env
	@$(BUILD)/users-api --config-table | \
		sed -i -e '/<!-- config -->/,/<!-- \/config -->/{//!d}' -e '/<!-- config -->/r /dev/stdin' README.md
	@sed -i '/^$$/,$$d' conf/hob.env
	@$(BUILD)/users-api --config-table | sed -n -e '/`HOB_CONFIG`/d' \
		-e 's/^| `\(.*\)` | \(.*\) | \(.*\) |$$/\n# \3\n#\1=\2/p' >>conf/hob.env

deps: ## install all that the targets above may miss (Debian)
	@conf/dev/deps.sh $(sort $(packages_test) $(packages_compose) $(packages_bench) $(packages_micro) $(packages_lint))

clean: ## remove what was built
	rm -rf build

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

# A change of compiler or flags rebuilds all.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)' >$@

# A source that is gone leaves the archive, too.
$(BUILD)/members: FORCE
	@mkdir -p $(@D)
	@echo '$(lib_sources)' | cmp -s - $@ || echo '$(lib_sources)' >$@

$(BUILD)/%.c.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "$(CC) $<"
	@$(CC) $(ALL_CFLAGS) -Iapp -MMD -MP -c -o $@ $<

$(BUILD)/%.S.o: %.S $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "$(CC) $<"
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libhob.a: $(call object,$(lib_sources)) $(BUILD)/members
	@echo "ar $@"
	@rm -f $@
	@ar rcs $@ $(filter %.o,$^)

$(BUILD)/users-api: $(call object,$(app_sources)) $(BUILD)/libhob.a
	@echo "link $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBRARIES)

$(BUILD)/tests/%.so: tests/%.c $(BUILD)/flags
	@echo "link $@"
	@mkdir -p $(@D)
	@$(CC) $(filter-out -fsanitize%,$(ALL_CFLAGS)) -fPIC -shared -o $@ $<

$(micro): $(micro_objects) $(app_without_main) $(BUILD)/libhob.a
	@echo "link $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBRARIES)

$(BUILD)/tests/bench/support/%: $(BUILD)/tests/bench/support/%.c.o $(app_without_main) $(BUILD)/libhob.a
	@echo "link $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBRARIES)

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.c.o $(BUILD)/libhob.a
	@echo "link $@"
	@$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(LIBRARIES)

$(fault)/naive_%: $(fault)/naive_%.c.o $(fault)/items.c.o $(fault)/naive_store.c.o $(BUILD)/libhob.a
	@echo "link $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBRARIES)

$(fault)/%: $(fault)/%.c.o $(fault)/items.c.o $(BUILD)/libhob.a
	@echo "link $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBRARIES)

# Tests see the application's parts as well, but not its main.
$(BUILD)/tests/%: $(BUILD)/tests/%.c.o $(app_without_main) $(BUILD)/libhob.a
	@echo "link $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBRARIES) -lcmocka

-include $(patsubst %.o,%.d,$(call object,$(lib_sources) $(app_sources) $(wildcard tests/fuzz/*.c tests/bench/support/*.c) $(test_sources) $(support_sources)) $(fault_objects) $(micro_objects))
