#!/bin/sh
# The unit tests also on the other supported interpreters, where they are present.
set -eu
for version in 3.12 3.13; do
    python=""
    for candidate in "python$version" "$HOME"/.pyenv/versions/$version.*/bin/python; do
        if "$candidate" -c "import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "Python $version is not present: its unit tests are skipped"
        continue
    fi
    environment=".venv-$version"
    [ -x "$environment/bin/python" ] || "$python" -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[test]'
    "$environment/bin/python" -m pytest -q -n "${WORKERS:-2}" tests/unit tests/protocol
done
