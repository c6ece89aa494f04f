#!/bin/bash
# Runs promtool's unit tests of rules: promtool_test.sh FILE...
set -eu
exec promtool test rules "$@"
