#!/bin/bash
# The login herd (3,000 right logins at once) and the lock-out (620 guessers at one address, other users' p99 below 200 ms),
# with optimised programs, on a machine that does nothing else. One line each; about 10 minutes.
#
#   tests/load/logins.sh
set -eu
cd "$(dirname "$0")/../.."
bazel build -c opt --curses=no --color=no //services/standalone:posthouse-standalone //tools/posthousectl
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
cp -L bazel-bin/services/standalone/posthouse-standalone bazel-bin/tools/posthousectl/posthousectl "$bin"
export POSTHOUSE_BIN=$bin PYTHONPATH=tests/harness PYTHONDONTWRITEBYTECODE=1
python3 tests/load/login_herd.py 2>&1 | grep '^login herd:' || echo "login herd: FAIL: python3 tests/load/login_herd.py says why"
LOCKOUT_P99=0.2 python3 tests/fault/lockout_test.py 2>&1 | grep '^lock-out:' || echo "lock-out: FAIL: python3 tests/fault/lockout_test.py says why"
