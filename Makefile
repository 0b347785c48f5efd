# samsweep: every target creates .venv and installs by itself when needed.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help

# The first Python that is new enough; override with make PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
SAMSWEEP := $(BIN)/samsweep

# What the user may set; empty means samsweep's own default.
METHOD ?= mca
DATASET ?= cod10k
DATA ?= data
STORAGE ?= results
RUN_OPTIONS = $(if $(EPOCHS),--epochs '$(EPOCHS)') $(if $(BACKBONE),--backbone '$(BACKBONE)') \
	$(if $(WORKERS),--workers '$(WORKERS)') $(if $(SEED),--seed '$(SEED)') $(if $(NAME),--name '$(NAME)') \
	$(if $(SEEDS),--seeds '$(SEEDS)') --data '$(DATA)' --storage '$(STORAGE)' --set '$(SET)'
DRY = $(if $(DRY_RUN),--dry-run)
ON = $(if $(CLUSTER),--cluster '$(CLUSTER)')

# A mistyped variable would be ignored silently.
KNOWN := METHOD DATASET TRIALS EPOCHS BACKBONE DATA STORAGE WORKERS SEED SEEDS NAME WARM_START OBJECTIVES SET SOURCE LAYOUT RUN IMAGES OUT WEIGHTS REAL SCENES RECIPE PAIRS PYTHON PRUNED DRY_RUN PRICE AT_ONCE ONLY CLUSTER NODES JOB SBATCH EXPORT
GIVEN := $(foreach v,$(.VARIABLES),$(if $(findstring command line,$(origin $(v))),$(v)))
ifneq ($(filter-out $(KNOWN),$(GIVEN)),)
$(error unknown variable $(filter-out $(KNOWN),$(GIVEN)); known: $(KNOWN))
endif

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  variables: METHOD DATASET TRIALS EPOCHS BACKBONE DATA STORAGE WORKERS SEED SEEDS NAME WARM_START OBJECTIVES SET="train.lr=1e-4 ..."'

.PHONY: sweep
sweep: $(VENV)/.installed ## search a method's hyper-parameters: make sweep METHOD=mca DATASET=cod10k
	@$(SAMSWEEP) sweep '$(METHOD)' '$(DATASET)' $(if $(TRIALS),--trials '$(TRIALS)') $(if $(AT_ONCE),--at-once '$(AT_ONCE)') \
		$(if $(WARM_START),--warm-start '$(WARM_START)') $(if $(OBJECTIVES),--objectives '$(OBJECTIVES)') $(RUN_OPTIONS) $(DRY) $(ON)

.PHONY: resume
resume: $(VENV)/.installed ## go on with a sweep that was cut off: make resume NAME=... (TRIALS=12 adds trials)
	@$(SAMSWEEP) resume '$(NAME)' $(if $(TRIALS),--trials '$(TRIALS)') $(if $(SEEDS),--seeds '$(SEEDS)') \
		$(if $(AT_ONCE),--at-once '$(AT_ONCE)') $(if $(filter command,$(origin DATA)),--data '$(DATA)') \
		--storage '$(STORAGE)' $(DRY) $(ON)

.PHONY: plan
plan: $(VENV)/.installed ## what a sweep or a grid will cost: make plan METHOD=all DATASET=all PRICE=2
	@$(SAMSWEEP) plan '$(METHOD)' '$(DATASET)' $(if $(TRIALS),--trials '$(TRIALS)') $(if $(PRICE),--price '$(PRICE)') \
		$(if $(AT_ONCE),--at-once '$(AT_ONCE)') $(RUN_OPTIONS)

.PHONY: train
train: $(VENV)/.installed ## train one setting: make train METHOD=sam_adapter DATASET=cod10k
	@$(SAMSWEEP) train '$(METHOD)' '$(DATASET)' $(RUN_OPTIONS) $(DRY) $(ON)

.PHONY: prepare
prepare: $(VENV)/.installed ## what a method wants to know before its first trial, on all cores: make prepare METHOD=goodsam DATASET=densepass
	@$(SAMSWEEP) prepare '$(METHOD)' '$(DATASET)' $(RUN_OPTIONS) $(ON)

.PHONY: seeds
seeds: $(VENV)/.installed ## a run's best settings with more seeds, mean and spread: make seeds RUN=NAME SEEDS=5
	@$(SAMSWEEP) seeds '$(RUN)' $(if $(SEEDS),--seeds '$(SEEDS)') --storage '$(STORAGE)' $(ON)

.PHONY: replay
replay: $(VENV)/.installed ## run a recorded trial again and compare every number: make replay RUN=NAME/TRIAL
	@$(SAMSWEEP) replay '$(RUN)' --storage '$(STORAGE)'

.PHONY: ingest
ingest: $(VENV)/.installed ## turn a folder into shards: make ingest DATASET=cod10k SOURCE=DIR
	@$(SAMSWEEP) ingest '$(DATASET)' --source '$(SOURCE)' --out '$(DATA)' $(if $(LAYOUT),--layout '$(LAYOUT)')

.PHONY: leaderboard
leaderboard: $(VENV)/.installed ## the best of every method on every dataset; EXPORT=csv, md or latex for a paper
	@$(SAMSWEEP) leaderboard --storage '$(STORAGE)' $(if $(EXPORT),--export '$(EXPORT)')

.PHONY: dashboard
dashboard: $(VENV)/.installed ## show the studies in optuna-dashboard, and where Ray's dashboard is
	@$(SAMSWEEP) dashboard --storage '$(STORAGE)' $(ON)

.PHONY: gc
gc: $(VENV)/.installed ## show what nobody needs any more under STORAGE, and remove it once confirmed
	@$(SAMSWEEP) gc $(if $(NAME),'$(NAME)') $(if $(PRUNED),--pruned) --storage '$(STORAGE)'

.PHONY: predict
predict: $(VENV)/.installed ## masks for a folder: make predict RUN=NAME IMAGES=DIR OUT=DIR
	@$(SAMSWEEP) predict --run '$(RUN)' --images '$(IMAGES)' --out '$(OUT)' --storage '$(STORAGE)'

.PHONY: pretrain
pretrain: $(VENV)/.installed ## train vit_t's own weights: hours, minutes on a GPU; a second call goes on where it stopped
	@$(SAMSWEEP) pretrain $(if $(EPOCHS),--epochs '$(EPOCHS)') $(if $(SCENES),--scenes '$(SCENES)') $(if $(RECIPE),--recipe '$(RECIPE)') \
		$(if $(WORKERS),--workers '$(WORKERS)') $(if $(SEED),--seed '$(SEED)') $(if $(NAME),--name '$(NAME)') \
		$(if $(OUT),--out '$(OUT)') $(if $(REAL),--real '$(REAL)') --data '$(DATA)' --storage '$(STORAGE)' --set '$(SET)'

.PHONY: pretrain-eval
pretrain-eval: $(VENV)/.installed ## how well vit_t answers boxes and points on real pictures
	@$(SAMSWEEP) pretrain-eval $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(REAL),--real '$(REAL)')

.PHONY: doctor
doctor: $(VENV)/.installed ## check this machine; make doctor CLUSTER=aws: all nodes of a cluster
	@$(SAMSWEEP) doctor --data '$(DATA)' --storage '$(STORAGE)' $(ON)

.PHONY: up
up: $(VENV)/.installed ## start a cluster: make up CLUSTER=aws; then make sweep ... CLUSTER=aws
	@$(SAMSWEEP) up '$(CLUSTER)'

.PHONY: down
down: $(VENV)/.installed ## end a cluster, with all that runs on it: make down CLUSTER=aws
	@$(SAMSWEEP) down '$(CLUSTER)'

.PHONY: jobs
jobs: $(VENV)/.installed ## what runs and ran on a cluster: make jobs CLUSTER=aws
	@$(SAMSWEEP) jobs --cluster '$(CLUSTER)'

.PHONY: logs
logs: $(VENV)/.installed ## follow a job again: make logs JOB=... CLUSTER=aws
	@$(SAMSWEEP) logs '$(JOB)' --cluster '$(CLUSTER)'

.PHONY: stop
stop: $(VENV)/.installed ## end a job on a cluster as Ctrl-C would: make stop JOB=... CLUSTER=aws
	@$(SAMSWEEP) stop '$(JOB)' --cluster '$(CLUSTER)'

.PHONY: slurm
slurm: $(VENV)/.installed ## a sweep on whole nodes of Slurm: make slurm METHOD=mca DATASET=cod10k NODES=4 SBATCH="--partition=gpu"
	@$(SAMSWEEP) slurm --nodes '$(or $(NODES),1)' --options='$(SBATCH)' sweep '$(METHOD)' '$(DATASET)' \
		$(if $(TRIALS),--trials '$(TRIALS)') $(if $(AT_ONCE),--at-once '$(AT_ONCE)') $(RUN_OPTIONS)

.PHONY: install
install: $(VENV)/.installed ## create .venv and install everything

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo 'error: no Python 3.11 or newer found; install one, or make PYTHON=PATH' >&2; exit 2; }
	@echo "installing into $(VENV): some minutes and 6 GB, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]' \
		| awk '/^(Collecting|Installing)/ {print "  " substr($$0, 1, 90); fflush()}'
	@touch $@

.PHONY: test
test: $(VENV)/.installed ## the quick suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not s3 and not slow and not cluster and not weights' -n auto --dist loadfile --no-loadscope-reorder

.PHONY: test-faults
test-faults: $(VENV)/.installed ## killed workers, Ctrl-C and failing trials on a real Ray
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'slow and not kills and not s3' -n 2 --dist loadgroup

.PHONY: test-weights
test-weights: $(VENV)/.installed ## whether methods do better from vit_t's weights than from random ones: five minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m weights -n 2

.PHONY: test-kills
test-kills: $(VENV)/.installed ## a sweep killed ten times at random moments: twelve minutes
	@$(BIN)/python -m pytest -m kills

.PHONY: test-cluster
test-cluster: $(VENV)/.installed ## three hosts, Slurm, ssh, Prometheus, for real (Debian, root): half an hour
	@for p in ip slurmctld munged sshd rsync prometheus radosgw ceph-osd ceph-mgr; do \
		PATH="$$PATH:/usr/sbin" command -v $$p >/dev/null || missing=1; done; test -z "$$missing" || { \
		test -e /usr/sbin/policy-rc.d || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; \
		chmod +x /usr/sbin/policy-rc.d; ours=1; }; apt-get update -qq && apt-get install -y -qq --no-install-recommends \
		iproute2 procps slurm-wlm munge openssh-server rsync prometheus radosgw ceph-mon ceph-osd ceph-mgr ceph-common; \
		code=$$?; test -z "$$ours" || rm -f /usr/sbin/policy-rc.d; exit $$code; }
	@for where in tests/cluster "tests/test_slots.py tests/test_loopback.py"; do \
		OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster $$where $(if $(ONLY),-k '$(ONLY)'); \
		code=$$?; test $$code = 5 || test $$code = 0 || failed=1; done; test -z "$$failed"

.PHONY: test-s3
test-s3: $(VENV)/.installed ## data and results in a real S3 store (a one-node Ceph; Debian, root); ONLY=quick leaves out kills
	@for p in radosgw ceph-mon ceph-mgr ceph-osd; do command -v $$p >/dev/null || missing=1; done; test -z "$$missing" || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends radosgw ceph-mon ceph-osd ceph-mgr ceph-common; }
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 's3$(if $(filter quick,$(ONLY)), and not slow)' -n 2 --dist loadfile

.PHONY: lint
lint: $(VENV)/.installed ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: format
format: $(VENV)/.installed ## mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: bench-trials
bench-trials: $(VENV)/.installed ## what a trial costs, against stock Ray: ten minutes; TRIALS=1000: does it stay flat?
	@$(BIN)/python benchmarks/trial_overhead.py $(if $(TRIALS),--trials '$(TRIALS)')

# An environment over .venv's, for the readers we compare with: their pins never reach ours. mosaicml-streaming asks
# for numpy<2.2, transformers<5 and every cloud's client, but runs with ours and without these.
BENCH := .venv-bench

.PHONY: bench-reader
bench-reader: $(BENCH)/.installed ## our reader against others': make bench-reader REAL=DIR (with images/ and masks/)
	@$(BENCH)/bin/python benchmarks/reader.py '$(REAL)' $(if $(PAIRS),--pairs '$(PAIRS)')

$(BENCH)/.installed: $(VENV)/.installed benchmarks/constraints.txt
	@echo "installing into $(BENCH): a minute and 250 MB, once"
	@$(BIN)/python -m venv $(BENCH)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(echo $(BENCH)/lib/python3*/site-packages)/over.pth"
	@$(BENCH)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -c benchmarks/constraints.txt -e '.[bench]'
	@$(BENCH)/bin/python -m pip install -q --disable-pip-version-check -c benchmarks/constraints.txt --no-deps mosaicml-streaming
	@touch $@

.PHONY: bench-search
bench-search: $(VENV)/.installed ## our search against random search, on real small trainings: an hour on 2 cores
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/search.py

.PHONY: bench-prompts
bench-prompts: $(VENV)/.installed ## prompt learning beside frozen SAM, its decoder and SAM-Adapter: an hour on 2 cores
	@$(BIN)/python benchmarks/prompts.py --data '$(DATA)' --storage '$(STORAGE)/prompts'

.PHONY: bench-panoramas
bench-panoramas: $(VENV)/.installed ## GoodSAM beside its assistant and a student of the assistant alone, three seeds: most of an hour
	@$(BIN)/python benchmarks/panoramas.py --data '$(STORAGE)/panoramas/data' --storage '$(STORAGE)/panoramas'

.PHONY: bench-driver
bench-driver: $(VENV)/.installed ## what a study of TRIALS=10000 costs its driver, with pretended workers: twenty minutes
	@$(BIN)/python benchmarks/driver.py $(if $(TRIALS),--trials '$(TRIALS)')

.PHONY: bench-step
bench-step: $(VENV)/.installed ## a training step beside segment-anything's untouched modules: time and peak memory, some minutes
	@$(BIN)/python benchmarks/step.py $(if $(filter command,$(origin METHOD)),--method '$(METHOD)') $(if $(BACKBONE),--backbone '$(BACKBONE)')

.PHONY: bench-embeddings
bench-embeddings: $(VENV)/.installed ## an epoch of a frozen encoder with and without stored embeddings: some minutes
	@$(BIN)/python benchmarks/embedding_cache.py

.PHONY: clean
clean: ## remove .venv and .venv-bench; data/ and results/ stay
	rm -rf $(VENV) $(BENCH) *.egg-info
