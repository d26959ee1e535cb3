# `make run` and `make test` are all that is needed: each makes what it needs first.
# On the command line: TARGET=local|aws  NAME=chat  REGION=us-east-1  PROFILE=work  HOURS=8|none  CONNECTIONS=100  BROADCASTS=20
# BOUNDARY, ROLE_PATH, TAGS, PUBLIC=no for an account with rules, CONFIRM=chat for a colleague's lab: docs/aws.md, section 5
# REGION_LOAD=yes, to run notebook 10, too, with TASKS=4, IMAGE=... and SUBNET=... as its settings; APPSYNC=yes for notebook 11
# ROOM_KEY=..., without which nobody can connect, MINUTES=30, for how long the soak is; A=main  B=feature  RUNS=5, to compare

.DEFAULT_GOAL := help
.PHONY: help setup run check test-fast test test-all rehearse soak compare capacity up down lab notebooks book lock prices

# The first Python of at least 3.11 that there is; PYTHON=... takes another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin# relative: the folder's own path may have spaces
export PATH := $(CURDIR)/$(BIN):$(PATH)

# On a machine that others use, too: tools keep files of known names among the temporary ones, and Node runs compiled code
# that it finds there, whoever put it there. So that folder is one of your own, and what is written only you may change.
export TMPDIR := $(shell folder="$${TMPDIR:-/tmp}"; \
	mine() { find "$$folder" -prune -type d -user "$$(id -u)" ! -perm -020 ! -perm -002; }; \
	[ "$$(mine)" ] || { folder="$${folder%/}/chatlab-$$(id -u)"; mkdir -m 700 "$$folder" 2>/dev/null; }; mine)
$(if $(TMPDIR),,$(error Somebody else has made chatlab-$(shell id -u) among the temporary files: set TMPDIR to a folder of yours))
export NODE_DISABLE_COMPILE_CACHE := 1
.SHELLFLAGS := -c 'umask go-w; eval "$$0"'

# A variable that make was given, as the option that the lab takes. One that a shell has by chance (NAME, under WSL the
# computer's) is not meant.
given = $(if $(filter command line,$(origin $(1))),--$(2) "$($(1))")
OPTIONS := $(call given,TARGET,target) $(call given,NAME,name) $(call given,REGION,region) $(call given,PROFILE,profile)
SWITCHES := $(call given,HOURS,hours) $(call given,EMAIL,email) $(call given,BOUNDARY,boundary) \
	$(call given,ROLE_PATH,role-path) $(call given,TAGS,tags) $(call given,PUBLIC,public)
CONFIRMED := $(call given,CONFIRM,confirm)
ifeq ($(origin ROOM_KEY),command line)
export CHATLAB_ROOM_KEY := $(ROOM_KEY)
endif
LOAD := $(call given,CONNECTIONS,connections) $(call given,BROADCASTS,broadcasts)
MORE := $(call given,REGION_LOAD,region-load) $(call given,TASKS,tasks) $(call given,IMAGE,image) $(call given,SUBNET,subnet) \
	$(call given,APPSYNC,appsync)
# make gives variables of its command line to its children, where these would override what the lab decides.
unexport TARGET NAME CONNECTIONS BROADCASTS REGION PROFILE HOURS EMAIL BOUNDARY ROLE_PATH TAGS PUBLIC CONFIRM ROOM_KEY \
	REGION_LOAD APPSYNC TASKS IMAGE SUBNET TRAITS MINUTES A B RUNS HOST WITHIN RATE MAX_DOLLARS MAKEFLAGS MAKEOVERRIDES

help:
	@echo "make run        every notebook in order on the local cloud, load test and teardown included"
	@echo "make test       the tests"
	@echo "make test-fast  those that take a minute, to be run at each change"
	@echo "make check      style, types, links and locks: all that can be looked at without running the lab"
	@echo "make test-all   the long ones, too: each place at which a run can be killed, and so on"
	@echo "make rehearse   make run on the target aws, with AWS played on this machine (Linux)"
	@echo "make soak       half an hour of broadcasts on the local cloud, with faults: is all heard, does nothing grow?"
	@echo "make compare    is the commit B=... (this folder, if you leave it out) faster than A=... (HEAD)? RUNS=5 load tests of each"
	@echo "make capacity   how many people the chat that is up carries"
	@echo "make up, down   build the chat and leave it running, remove it"
	@echo "make lab        JupyterLab on the notebooks"
	@echo "make notebooks  run everything and save the outputs into notebooks/"
	@echo "make book       all notebooks and documents as web pages with a search, into runs/book"
	@echo "make prices     renew the table of prices from AWS's public price lists, without an account"
	@echo "make lock       pin the dependencies anew, each by its version and its hashes"

setup:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer, with venv, is needed: install it, or name it with PYTHON=..."; exit 1; }
	@$(PYTHON) -I chatlab/install.py $(filter setup,$(MAKECMDGOALS))

run: setup
	@exec $(BIN)/python -m chatlab run $(OPTIONS) $(SWITCHES) $(LOAD) $(MORE)

# REGION=eu-central-1 plays another Region, TRAITS=delay,new-role some of AWS's traits. Whoever runs it may do what
# docs/aws-policy.json and docs/aws-policy-optional.json allow, and nothing else.
rehearse: setup
	@exec $(BIN)/python -m chatlab rehearse $(call given,REGION,region) $(call given,TRAITS,traits) \
		$(or $(call given,NAME,policy-of),--policy-of chat) \
		-- $(BIN)/python -m chatlab run --target aws $(call given,NAME,name) $(SWITCHES) $(LOAD) $(MORE)

soak: setup
	@exec $(BIN)/python -m benchmarks.soak $(call given,MINUTES,minutes) $(call given,CONNECTIONS,connections)

compare: setup
	@exec $(BIN)/python -m benchmarks.compare $(call given,A,before) $(call given,B,after) $(call given,RUNS,runs) $(LOAD)

up: setup
	@exec $(BIN)/python -m chatlab up $(OPTIONS) $(SWITCHES) $(CONFIRMED)

down: setup
	@exec $(BIN)/python -m chatlab down $(OPTIONS) $(CONFIRMED)

# What CI and .pre-commit-config.yaml call.
check: setup
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@cd frontend && npm run --silent check
	@$(BIN)/python -m pytest --quiet tests/docs/test_links.py tests/chatlab/test_packages.py

test-fast: setup
	@cd frontend && npm test --silent
	@$(BIN)/python -m pytest --quiet --numprocesses 2 --dist worksteal -m "not slow and not long" tests/chatlab tests/loadtest tests/docs \
		tests/lambdas/test_pacing.py

# Speed is measured elsewhere (benchmarks): a test here is right or wrong. Most of the time the tests wait for a process,
# so five files are run at a time; those that take longest come first. CI runs two, so that nothing fails because it had
# to wait, and also measures what the tests run of the code, which takes a quarter longer.
test test-all: PROCESSES := $(if $(CI),2,5)
test test-all: COVERAGE := $(if $(CI),--cov --cov-report term:skip-covered)
test: MARKED := -m "not long"
# Where a shell sets it, each of some hundred processes would compile the lab's code anew.
test test-all: export PYTHONDONTWRITEBYTECODE :=
test-all: MARKED := --hypothesis-profile thorough
test test-all: setup $(VENV)/browser
	@cd frontend && npm test --silent
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(COVERAGE) $(MARKED) $(TESTS)

# A Chromium of the machine's, or one that is installed: Debian's where this is root, else Playwright's own.
$(VENV)/browser: | setup
	@$(BIN)/python -m chatlab browser || { echo "Installing a Chromium for the browser tests (once)"; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
		then apt-get update -qq && for packages in "chromium-headless-shell fonts-liberation" chromium; \
			do DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $$packages >/dev/null && break; done; \
		else $(BIN)/playwright install chromium; fi; }
	@$(BIN)/python -m chatlab browser || { echo "There is no Chromium, and none could be installed: install one."; exit 1; }
	@touch $@

# WITHIN=1 seconds, RATE=1 messages a second, MINUTES=10, MAX_DOLLARS=1, HOST=ws://... for another server than the chat.
capacity: setup
	@exec $(BIN)/python -m chatlab capacity $(OPTIONS) $(call given,HOST,host) $(call given,WITHIN,within) \
		$(call given,RATE,rate) $(call given,MINUTES,minutes) $(call given,MAX_DOLLARS,max-dollars)

notebooks: setup
	@exec $(BIN)/python -m chatlab notebooks $(OPTIONS) $(LOAD)

# JupyterLab asks nobody for news, updates or extensions, and you neither, and nobody else hears its kernels: what .jupyter
# says comes on top of your own.
lab: setup
	@JUPYTER_CONFIG_PATH="$(CURDIR)/.jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
		exec $(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_start.ipynb \
		--LabApp.extension_manager=readonly $(if $(filter 0,$(shell id -u)),--allow-root)

# From the notebooks' saved outputs; a link that leads nowhere, or a page that nothing leads to, is an error.
book: setup
	@$(PYTHON) -I chatlab/install.py book
	@$(BIN)/python -m sphinx -W --keep-going -q -j auto -c docs . runs/book
	@echo "The book: runs/book/README.html"

prices: setup
	@exec $(BIN)/python -m chatlab prices

# The book's packages have a lock of their own, with the same versions where both need one: the lab does not install them.
# So has the load test alone, which notebook 10 takes along into a container.
lock: LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --generate-hashes pyproject.toml
lock:
	@$(LOCK) --extra test --output-file requirements.txt
	@$(LOCK) --extra book --constraint requirements.txt --output-file docs/requirements.txt
	@$(LOCK) --extra loadtest --constraint requirements.txt --output-file loadtest/requirements.txt
