# The project's commands. Each does what it needs first, does nothing twice, and goes on after an interruption.
# Everything lives in hack/; this file only says what follows what.

PYTEST := .venv/bin/python -m pytest
TOOLS_PATH = $(shell hack/tools.sh path)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup tools manifests lock lint test test-unit test-api test-kind chaos demo cluster images down bench-heal bench-answer bench-webhooks bench-ingest bench-neuros

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a real cluster with the whole stack in it, from nothing
	@hack/demo.sh

test: ## every tier of tests, one after the other
	@hack/prepare.sh all
	@$(MAKE) --no-print-directory test-unit test-api test-kind

test-unit: setup ## what needs nothing outside the process
	@hack/tools.sh helm
	$(PYTEST) tests/unit

test-api: ## against a real API server, brokers and databases as plain processes
	@hack/prepare.sh api
	PATH="$(TOOLS_PATH):$$PATH" $(PYTEST) tests/api

chaos: ## ten minutes of deliveries while stores and services are killed; AUREN_CHAOS_SEED=… repeats a run
	@hack/prepare.sh api
	AUREN_CHAOS_SECONDS=$${AUREN_CHAOS_SECONDS:-600} PATH="$(TOOLS_PATH):$$PATH" $(PYTEST) -s tests/api/chaos

test-kind: cluster images ## on a real cluster with real pods
	hack/run $(PYTEST) -x tests/kind

bench-heal: ## how fast what was deleted comes back, with 1, 20 and 100 stacks
	@hack/prepare.sh api
	@hack/setup.sh operator
	PATH="$(TOOLS_PATH):$$PATH" .venv/bin/python -m tests.bench.heal

bench-answer: demo ## how soon neuros-advanced answers again, on the real cluster
	PATH="$(TOOLS_PATH):$$PATH" hack/run .venv/bin/python -m tests.bench.answer

bench-webhooks: ## signed webhooks a second, each acknowledged by a real Kafka, beside the handler one would write first
	@hack/prepare.sh load
	PATH="$(TOOLS_PATH):$$PATH" .venv/bin/python -m tests.bench.webhooks

bench-ingest: ## rows a second into TimescaleDB beside plain COPY, webhook to row and mode, the API
	@hack/prepare.sh api
	PATH="$(TOOLS_PATH):$$PATH" .venv/bin/python -m tests.bench.ingest

bench-neuros: ## what NEUROS adds to the model that it asks, reflex and greetings, a hundred people who talk at once
	@hack/prepare.sh api
	PATH="$(TOOLS_PATH):$$PATH" .venv/bin/python -m tests.bench.neuros

lint: setup ## every static check
	@hack/lint.sh

cluster: ## the development cluster
	@hack/prepare.sh kind
	@hack/cluster.sh up

images: ## all images, built for the code as it is and loaded into the cluster
	@hack/load.sh

down: ## remove the cluster and its engine; what was downloaded and built stays
	@hack/down.sh

setup: ## the Python environment .venv
	@hack/setup.sh

tools: ## what the api tier starts: binaries, root file systems, jars
	@hack/prepare.sh api

manifests: ## write the chart's copy of the CRD and manifests/install.yaml anew
	@hack/manifests.sh

lock: ## write requirements/*.txt anew from pyproject.toml
	@hack/lock.sh
