# The two commands of a newcomer: make run, make test. The others: make lint, make bench, make proof, make install.
# Needs: make, python3 (3.11 or newer) with its venv module. Everything else goes into .venv/.

# The distribution's interpreter where there is one: builds without profile-guided optimisation are up to 40 % slower.
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
DESTDIR ?=
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc

.PHONY: run test lint bench proof install docs clean versions

run: $(VENV)/installed
	@$(BIN)/python -m dovecotpy.cli.demo --directory var

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "python3 (3.11 or newer) with its venv module is needed: on Debian, apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@

test: $(VENV)/test-installed
	@sh tests/prerequisites.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests/unit tests/protocol tests/integration tests/fuzz
	@sh tests/versions.sh

lint: $(VENV)/test-installed
	$(BIN)/ruff check dovecotpy tests benchmarks
	$(BIN)/ruff format --check dovecotpy tests benchmarks
	$(BIN)/mypy --strict dovecotpy
	$(BIN)/lint-imports --no-cache

proof: $(VENV)/test-installed
	@sh tests/prerequisites.sh
	$(BIN)/python -m pytest -n $(WORKERS) --timeout 7200 -rA tests/proof/proof_*.py

bench: $(VENV)/test-installed
	@sh tests/prerequisites.sh
	$(BIN)/python -m benchmarks.run

docs: $(VENV)/installed
	$(BIN)/python -m dovecotpy.config.document > docs/settings.md
	$(BIN)/python -m dovecotpy.imap.document > docs/extensions.md

install:
	install -d -m 755 $(DESTDIR)$(SYSCONFDIR)/dovecot $(DESTDIR)$(SYSCONFDIR)/logrotate.d $(DESTDIR)$(SYSCONFDIR)/sysctl.d
	install -d -m 755 $(DESTDIR)$(SYSCONFDIR)/init.d $(DESTDIR)$(SYSCONFDIR)/conf.d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	test -e $(DESTDIR)$(SYSCONFDIR)/dovecot/dovecot.conf || install -m 600 etc/dovecot.conf $(DESTDIR)$(SYSCONFDIR)/dovecot/dovecot.conf
	test -e $(DESTDIR)$(SYSCONFDIR)/dovecot/dovecot-mysql.conf || install -m 600 etc/dovecot-mysql.conf $(DESTDIR)$(SYSCONFDIR)/dovecot/dovecot-mysql.conf
	install -m 644 etc/logrotate.d/dovecotpy $(DESTDIR)$(SYSCONFDIR)/logrotate.d/dovecotpy
	install -m 644 etc/sysctl.d/dovecotpy.conf $(DESTDIR)$(SYSCONFDIR)/sysctl.d/dovecotpy.conf
	install -m 755 initd/dovecotpy $(DESTDIR)$(SYSCONFDIR)/init.d/dovecotpy
	install -m 644 initd/dovecotpy.confd $(DESTDIR)$(SYSCONFDIR)/conf.d/dovecotpy
	install -d -m 755 $(DESTDIR)$(PREFIX)/libexec/dovecot
	install -m 755 etc/libexec/imap $(DESTDIR)$(PREFIX)/libexec/dovecot/imap
	install -m 644 docs/man/dovecotpy.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 docs/man/dovecotpy-adm.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 docs/man/dovecotpy-mkcert.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 docs/man/dovecotpy-pw.1 $(DESTDIR)$(PREFIX)/share/man/man1/

clean:
	rm -rf $(VENV) var build dist *.egg-info
