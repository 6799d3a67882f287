PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MANAGE := cd example_project && ../$(BIN)/python manage.py
# Said twice, it leaves the errors alone.
PIP := $(BIN)/pip --disable-pip-version-check --quiet --quiet

.DEFAULT_GOAL := help
.PHONY: help run serve run-background test mutants test-databases test-browser test-engines \
	test-themes test-live lint messages check-messages freeze-migrations matrix release-check docs \
	bench screenshots clean

help:  ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '%-18s %s\n' "$$name" "$$text"; done

run: $(VENV)/example.stamp  ## mirror the vendor's sample group in the example project and print it
	@$(MANAGE) migrate --verbosity 0
	@$(MANAGE) fetch_group 5
	@echo
	@echo "Without credentials, the sandbox answers. As in the vendor's documentation, it returns group"
	@echo "97101 for id 5, hence the warning."
	@echo
	@echo "Next: 'make serve' opens the admin. With ILETIMERKEZI_API_KEY and ILETIMERKEZI_API_HASH"
	@echo "in the environment or in example_project/.env the same commands reach the vendor."

DEMO_USER = from django.contrib.auth.models import User; \
	User.objects.filter(username="demo").exists() or User.objects.create_superuser("demo", "", "demo")

# As the picture in the README; the phone book of an account is for the user to fetch.
DEMO_GROUPS = from config import settings; from django_iletimerkezi.services import fetch_groups; \
	hasattr(settings, "sandbox") and fetch_groups()

serve: $(VENV)/example.stamp  ## open the example project's admin on localhost
	@$(MANAGE) migrate --verbosity 0
	@$(MANAGE) shell --verbosity 0 --command '$(DEMO_USER); $(DEMO_GROUPS)'
	@echo "Log in at http://localhost:8000/admin/ as demo with the password demo."
	@$(MANAGE) runserver --noreload localhost:8000

# The worker gets the Ctrl-C of the terminal too, and finishes its slice.
run-background: $(VENV)/background.stamp  ## open the same admin, with a background worker and a slow sandbox
	@export DJANGO_SETTINGS_MODULE=config.background; \
	($(MANAGE) migrate --verbosity 0) && \
	($(MANAGE) shell --verbosity 0 --command '$(DEMO_USER)') && \
	($(MANAGE) check) || exit 1; \
	(cd example_project && exec ../$(BIN)/python manage.py db_worker --no-reload) & worker=$$!; \
	trap 'kill $$worker; wait $$worker' EXIT; trap 'exit 143' TERM; \
	trap 'trap - EXIT; wait $$worker; exit 130' INT; \
	echo "Log in at http://localhost:8000/admin/ as demo with the password demo. Press “Fetch the whole"; \
	echo "phone book” in the list of groups, and watch the page of the fetch. Ctrl-C ends all."; \
	$(MANAGE) runserver --noreload localhost:8000

# More workers than processors: many tests wait for a clock. Without bytecode, each worker would
# compile all tests again.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --numprocesses 4 --dist worksteal

test: $(VENV)/dev.stamp  ## run the whole suite, or what ARGS name
	@$(PYTEST) $(ARGS)

DATABASES = sqlite://:memory: \
	postgres://postgres@127.0.0.1:5432/iletimerkezi \
	mysql://root@127.0.0.1:3306/iletimerkezi

mutants: $(VENV)/mutants.stamp  ## change the code in many small ways, and list the changes that no test notices
	@$(BIN)/mutmut run $(ARGS)
	@$(BIN)/mutmut results

test-databases: $(VENV)/databases.stamp  ## run the whole suite on SQLite, PostgreSQL and MariaDB, or on DATABASES
	@for url in $(DATABASES); do \
		echo "== $$url"; \
		DATABASE_URL=$$url $(PYTEST) --create-db $(ARGS) || exit 1; \
	done

test-browser: $(VENV)/browser.stamp  ## use the admin in chromium, which must be installed
	@$(BIN)/mypy tests/browser/*.py
	@$(BIN)/pytest --ds tests.browser.settings --numprocesses 2 tests/browser $(ARGS)

test-engines: $(VENV)/databases.stamp $(VENV)/engines.stamp  ## run fetches on real task queues, and kill their workers
	@$(BIN)/pytest --numprocesses 2 --dist worksteal tests/engines $(ARGS)

test-themes: $(VENV)/dev.stamp  ## use the admin in chromium with each theme, on the newest Django that it supports
	@$(BIN)/tox run -m themes $(ARGS)

test-live: $(VENV)/dev.stamp  ## ask the vendor itself whether its documentation holds, as GROUP=5
	@$(BIN)/python -m tests.live $(GROUP)

screenshots: $(VENV)/browser.stamp  ## take the pictures in the README and the documentation
	@$(BIN)/pytest --ds tests.browser.settings tests/browser/screenshots.py
	@$(BIN)/tox run -e py312-django60-jazzmin,py312-django61-unfold -- tests/browser/screenshots.py

lint: $(VENV)/dev.stamp  ## check style, layers, types and migrations
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/mypy
	@DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m django makemigrations --check --dry-run

CATALOGUE = django_iletimerkezi/locale/tr/LC_MESSAGES/django
TEMPLATE = build/messages.pot

messages: $(VENV)/dev.stamp  ## bring the Turkish catalogue in line with the code, and compile it
	@mkdir -p build
	@PYTHONPATH=. $(BIN)/pybabel -q extract --mapping pyproject.toml --omit-header --add-location=file --sort-output --no-wrap \
		-k gettext_lazy -k ngettext_lazy:1,2 -k pgettext_lazy:1c,2 \
		-o $(TEMPLATE) django_iletimerkezi
	@$(BIN)/pybabel -q update --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date \
		--no-wrap -l tr -i $(TEMPLATE) -o $(CATALOGUE).po
	@$(BIN)/pybabel -q compile -l tr -i $(CATALOGUE).po -o $(CATALOGUE).mo

check-messages: $(VENV)/dev.stamp  ## check that the Turkish catalogue is complete and compiled
	@$(BIN)/pytest --quiet tests/test_translations.py

freeze-migrations: $(VENV)/dev.stamp  ## note the migrations of the next release, which may not change after it
	@$(BIN)/python -m tools.migration_hashes

matrix: $(VENV)/dev.stamp  ## run the suite on Python 3.11 to 3.13 with each Django, and on the lowest versions
	@$(BIN)/tox run $(ARGS)

release-check: $(VENV)/release.stamp  ## build what is released into dist/, check it, and use it in a bare project
	@rm -rf dist *.egg-info
	@$(BIN)/python -m build > /dev/null
	@$(BIN)/twine check --strict dist/*
	@$(BIN)/check-wheel-contents dist/*.whl
	@$(BIN)/pytest tools/release.py $(ARGS)

bench: $(VENV)/bench.stamp $(VENV)/databases.stamp  ## measure the speed, and write it to BENCHMARKS.md
	@$(BIN)/python -m benchmarks.bench $(ARGS)

docs: $(VENV)/docs.stamp  ## build the documentation, English and Turkish, in build/docs
	@for language in en tr; do \
		$(BIN)/sphinx-build -W --keep-going --quiet -j auto -c docs -D language=$$language \
			-d build/doctrees/$$language docs/$$language build/docs/$$language || exit 1; \
	done
	@cp docs/index.html build/docs/index.html
	@echo "build/docs/en/index.html, build/docs/tr/index.html"

clean:  ## remove all that these targets made
	rm -rf $(VENV) .tox mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist *.egg-info
	rm -f example_project/db.sqlite3
	rm -f docs/locale/*/LC_MESSAGES/*.mo
	find benchmarks django_iletimerkezi docs example_project tests tools -name __pycache__ -prune \
		-exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'

# Each stamp stands for the dependency group of its name.
$(patsubst %,$(VENV)/%.stamp,example background dev docs): $(VENV)/%.stamp: pyproject.toml | $(BIN)/python
	@$(PIP) install --editable . --group $*
	@touch $@

$(patsubst %,$(VENV)/%.stamp,browser databases engines release bench mutants): $(VENV)/%.stamp: $(VENV)/dev.stamp
	@$(PIP) install --group $*
	@touch $@
