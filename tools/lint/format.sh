#!/bin/bash
# Every .cc and .h is as clang-format-19 writes it (.clang-format).
#   tools/lint/format.sh          names the files that are not
#   tools/lint/format.sh --fix    writes them
set -u
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
command -v clang-format-19 >/dev/null || { echo "format: clang-format-19 is missing; tools/install-deps --test installs it"; exit 1; }

mapfile -t files < <(find services tests tools \( -name '*.cc' -o -name '*.h' \) -not -path '*/corpora/*' | sort)
if [ "${1:-}" = --fix ]; then
  clang-format-19 -i "${files[@]}"
  exit
fi
# Names alone: what to do is always the same.
bad=$(clang-format-19 --dry-run -Werror --ferror-limit=1 "${files[@]}" 2>&1 | sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: error: .*/\1/p' | sort -u)
if [ -n "$bad" ]; then
  printf 'format: not formatted; tools/lint/format.sh --fix does it:\n%s\n' "$bad"
  exit 1
fi
echo "format: ${#files[@]} files"
