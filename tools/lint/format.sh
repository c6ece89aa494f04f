#!/bin/bash
# Checks that clang-format-19 would change no .cc and no .h (style: .clang-format).
#   tools/lint/format.sh          lists the files that it would change
#   tools/lint/format.sh --fix    formats them
set -u
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
command -v clang-format-19 >/dev/null || { echo "format: clang-format-19 is missing; tools/install-deps --test installs it"; exit 1; }

mapfile -t files < <(find services tests tools \( -name '*.cc' -o -name '*.h' \) -not -path '*/corpora/*' | sort)
if [ "${1:-}" = --fix ]; then
  clang-format-19 -i "${files[@]}"
  exit
fi
# The names are enough: the cure is always --fix.
bad=$(clang-format-19 --dry-run -Werror --ferror-limit=1 "${files[@]}" 2>&1 | sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: error: .*/\1/p' | sort -u)
if [ -n "$bad" ]; then
  printf 'format: not formatted (tools/lint/format.sh --fix formats them):\n%s\n' "$bad"
  exit 1
fi
echo "format: ${#files[@]} files"
