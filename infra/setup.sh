#!/usr/bin/env bash
# Makes the virtual environment: the locked packages, checked against their hashes, and this project in place.
# Usage: infra/setup.sh VENV
set -euo pipefail
venv="$1"

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

python=""
for candidate in "${PYTHON:-}" python3.12 python3.11 python3 python3.13; do
  [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
    python="$candidate"; break
  fi
done
[ -n "$python" ] || fail "no Python 3.11, 3.12 or 3.13 found; install one, or name it: make setup PYTHON=/path/to/python3"

free_kib=$(df -Pk . | awk 'NR == 2 {print $4}')
[ "$free_kib" -gt $((12 * 1024 * 1024)) ] || printf 'setup: only %d GiB free here; the packages take about 8 GiB\n' $((free_kib / 1048576)) >&2

printf 'setup: %s, packages into %s (about 8 GiB with torch and its CUDA libraries; a few minutes the first time)\n' \
  "$("$python" --version)" "$venv"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "could not make a virtual environment (on Debian: apt-get install python3-venv)"

quiet="--quiet"; [ ! -t 2 ] || quiet=""  # bars for a person, nothing for a log
if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.9'; then
  "$venv/bin/uv" pip sync $quiet --compile-bytecode --python "$venv/bin/python" --require-hashes requirements.lock
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
else
  printf 'setup: uv could not be installed; going on with pip, which is slower\n' >&2
  "$venv/bin/python" -m pip install --disable-pip-version-check --require-hashes --requirement requirements.lock
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
printf 'setup: done; try %s/bin/riverlight --help\n' "$venv"
