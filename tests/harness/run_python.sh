#!/bin/bash
# Runs a Python test with the harness on its path: run_python.sh SCRIPT [ARGS]
set -eu
export PYTHONPATH="$PWD/tests/harness:$PWD/$(dirname "$1"):${PYTHONPATH:-}" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec python3 "$@"
