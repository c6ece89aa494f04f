#!/bin/bash
# Runs clang-tidy on the parsers of bytes from peers and on the state machines; .clang-tidy has the checks.
# Shared headers take most of the time, so each unit below is one translation unit that includes many sources. Two
# sources that define the same helper in the same namespace need different units (the error is "redefinition of ...").
#   tools/lint/tidy.sh      takes about half a minute
set -u
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
command -v clang-tidy-19 >/dev/null || { echo "tidy: clang-tidy-19 is missing; tools/install-deps --test installs it"; exit 1; }

unit1=(
  services/mail_formats/address/address.cc
  services/common/config/values.cc
  services/mail_formats/imap/{command_reader,mailbox_name,parse_command,parse_fetch,parse_list,parse_search,response,sequence_set}.cc
  services/common/log/json.cc
  services/mail_formats/message/{address_list,charset,date,imap_render,parser,part_table,search,summary}.cc
  services/common/net/{address,proxy_protocol}.cc
  services/common/rpc/trace.cc
  services/common/uid_set/uid_set.cc
  services/mail_formats/smtp/{command,data_decoder,data_encoder,params,path,received,reply,xtext}.cc
  services/mail_formats/sasl/{exchange,mechanism}.cc
  services/gateway/pop3/machine.cc
  services/ingress/{header_editor,replies,smtp_dialogue}.cc
)
unit2=(services/mail_formats/imap/scanner.cc services/mail_formats/message/fields.cc)
unit3=(services/mail_formats/message/transfer.cc)

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
for unit in unit1 unit2 unit3; do
  declare -n files=$unit
  for file in "${files[@]}"; do
    [ -f "$file" ] || { echo "tidy: $file does not exist; remove it from tools/lint/tidy.sh"; failed=1; }
    echo "#include \"$file\""
  done > "$dir/$unit.cc"
  clang-tidy-19 --quiet --config-file=.clang-tidy \
    --header-filter='services/.*(\.cc|/(smtp|imap|message|net|pop3|ingress|address)/[a-z_]*\.h)$' \
    "$dir/$unit.cc" -- -std=c++20 -I"$PWD" > "$dir/out" 2> "$dir/err" || { cat "$dir/out"; failed=1; }
  grep -E '(error|warning): ' "$dir/out" >/dev/null && failed=1
done
[ "$failed" -eq 0 ] && echo "tidy: $((${#unit1[@]} + ${#unit2[@]} + ${#unit3[@]})) files, nothing found"
exit "$failed"
