#include "services/common/cli/completion.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace posthouse::cli {
namespace {

struct Word {
  std::string text, help;
};

// The words that may follow a command's words, or the first of them.
struct Place {
  std::string path;         // "", "account", "account add"
  std::vector<Word> words;  // verbs, commands, or values of an operand
  std::vector<Flag> flags;  // of the command alone
};

std::vector<Place> Places(const Program& program) {
  std::vector<Place> places = {{"", {}, {}}};
  for (const Group& group : program.groups) {
    const size_t verb = group.noun.empty() ? 0 : group.noun.size() + 1;
    Place noun{group.noun, {}, {}};
    for (const Command& command : group.commands) {
      (group.noun.empty() ? places[0] : noun).words.push_back({command.name.substr(verb), command.help});
      Place place{command.name, {}, command.flags};
      for (const Operand& operand : command.operands) {
        for (const std::string& choice : operand.choices) place.words.push_back({choice, ""});
      }
      places.push_back(std::move(place));
    }
    if (group.noun.empty()) continue;
    places[0].words.push_back({group.noun, group.help});
    places.push_back(std::move(noun));
  }
  return places;
}

bool TakesValue(const Flag& flag) { return flag.kind != Flag::Kind::kSwitch; }

// The flags that take a value, as "--ca|--cert".
std::string ValueFlags(const Program& program, const std::vector<Place>& places, absl::string_view separator) {
  std::set<std::string> names;
  for (const Flag& flag : program.flags) {
    if (TakesValue(flag)) names.insert("--" + flag.name);
  }
  for (const Place& place : places) {
    for (const Flag& flag : place.flags) {
      if (TakesValue(flag)) names.insert("--" + flag.name);
    }
  }
  return absl::StrJoin(names, separator);
}

// Every step into the table as "<where>/<word>": "/account", "account/add".
std::string Steps(const std::vector<Place>& places, absl::string_view separator) {
  std::vector<std::string> steps;
  for (const Place& place : places) {
    if (place.path.empty()) continue;
    const std::string at = absl::StrReplaceAll(place.path, {{" ", "/"}});
    steps.push_back(place.path.find(' ') == std::string::npos ? "/" + at : at);
  }
  return absl::StrJoin(steps, separator);
}

std::string Texts(const std::vector<Word>& words) {
  return absl::StrJoin(words, " ", [](std::string* out, const Word& word) { out->append(word.text); });
}

std::string Names(const std::vector<Flag>& flags) {
  return absl::StrJoin(flags, " ", [](std::string* out, const Flag& flag) { absl::StrAppend(out, "--", flag.name); });
}

// A pattern of bash and zsh for `flag` behind the words of a place: "account set --status". A flag of the program is
// known in every place.
std::string FlagPattern(absl::string_view path, const Flag& flag, bool everywhere) {
  return everywhere ? absl::StrCat("*\" --", flag.name, "\"") : absl::StrCat("\"", path, " --", flag.name, "\"");
}

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// Calls `take(path, flag, everywhere)` for each flag.
template <typename Take>
void ForEachFlag(const Program& program, const std::vector<Place>& places, Take take) {
  for (const Flag& flag : program.flags) take("", flag, true);
  for (const Place& place : places) {
    for (const Flag& flag : place.flags) take(place.path, flag, false);
  }
}

constexpr char kBash[] = R"(# bash completion of $NAME.
# Use it now with:  source <($NAME completion bash)
_$NAME() {
  local cur=${COMP_WORDS[COMP_CWORD]} at= flag= word words= i
  # Bash cuts words at "=" and ":", so --flag=value and HOST:PORT arrive in pieces.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ -n $flag && $word == "=" ]]; then continue; fi
    if [[ $word == ":" ]]; then ((i++)); continue; fi
    if [[ -n $flag ]]; then flag=; continue; fi
    case $word in
      --*=*) ;;
      $VALUE_FLAGS) flag=$word ;;
      -*) ;;
      *) case $at/$word in $STEPS) at=${at:+$at }$word ;; esac ;;
    esac
  done
  [[ $cur == "=" ]] && cur=
  COMPREPLY=()
  if [[ -n $flag ]]; then
    case "$at $flag" in
$VALUES    esac
  elif [[ $cur == -* ]]; then
    words="$PROGRAM_FLAGS --help"
    case $at in
$FLAGS    esac
  else
    case $at in
$WORDS    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
_$NAME_files() {
  local IFS=$'\n'
  compopt -o filenames 2> /dev/null
  COMPREPLY=($(compgen -f -- "$1"))
}
complete -F _$NAME $NAME
)";

constexpr char kZsh[] = R"(#compdef $NAME
# zsh completion of $NAME. Write it to a file _$NAME in a folder of $fpath, or use it now with:
#   source <($NAME completion zsh)
_$NAME() {
  local at= flag= word i
  local -a list
  for ((i = 2; i < CURRENT; i++)); do
    word=${words[i]}
    if [[ -n $flag ]]; then flag=; continue; fi
    case $word in
      (--*=*) ;;
      ($VALUE_FLAGS) flag=$word ;;
      (-*) ;;
      (*) case $at/$word in ($STEPS) at=${at:+$at }$word ;; esac ;;
    esac
  done
  if [[ -z $flag && ${words[CURRENT]} == --*=* ]]; then
    flag=${words[CURRENT]%%=*}
    compset -P '*='
  fi
  if [[ -n $flag ]]; then
    case "$at $flag" in
$VALUES    esac
    compadd -a list
  elif [[ ${words[CURRENT]} == -* ]]; then
    list=($PROGRAM_FLAGS)
    case $at in
$FLAGS    esac
    _describe -o flag list
  else
    case $at in
$WORDS    esac
    _describe command list
  fi
}
if [[ ${funcstack[1]} == _$NAME ]]; then _$NAME "$@"; else compdef _$NAME $NAME; fi
)";

constexpr char kFish[] =
    R"(# fish completion of $NAME. Write it to ~/.config/fish/completions/$NAME.fish, or use it now with:
#   $NAME completion fish | source
function __$NAME_at --description 'Whether the words before the cursor name this command'
    set -l at
    set -l value no
    set -l words (commandline -opc)
    set -e words[1]
    for word in $words
        if test $value = yes
            set value no
            continue
        end
        switch $word
            case '--*=*'
            case $VALUE_FLAGS
                set value yes
            case '-*'
            case '*'
                switch "$at/$word"
                    case $STEPS
                        set at (string trim -- "$at $word")
                end
        end
    end
    test "$at" = "$argv[1]"
end
complete -c $NAME -f
$COMPLETE)";

std::string Bash(const Program& program, const std::vector<Place>& places) {
  std::string values, flags, words;
  ForEachFlag(program, places, [&](absl::string_view path, const Flag& flag, bool everywhere) {
    const std::string pattern = FlagPattern(path, flag, everywhere);
    if (!flag.choices.empty())
      absl::StrAppend(&values, "      ", pattern, ") words=\"", absl::StrJoin(flag.choices, " "), "\" ;;\n");
    if (flag.kind == Flag::Kind::kFile)
      absl::StrAppend(&values, "      ", pattern, ") _", program.name, "_files \"$cur\"; return ;;\n");
  });
  for (const Place& place : places) {
    if (!place.flags.empty())
      absl::StrAppend(&flags, "      \"", place.path, "\") words+=\" ", Names(place.flags), "\" ;;\n");
    if (!place.words.empty())
      absl::StrAppend(&words, "      \"", place.path, "\") words=\"", Texts(place.words), "\" ;;\n");
  }
  return absl::StrReplaceAll(kBash, {{"$NAME", program.name},
                                     {"$VALUE_FLAGS", ValueFlags(program, places, "|")},
                                     {"$STEPS", Steps(places, "|")},
                                     {"$VALUES", values},
                                     {"$PROGRAM_FLAGS", Names(program.flags)},
                                     {"$FLAGS", flags},
                                     {"$WORDS", words}});
}

// 'word:help' for _describe.
std::string Described(const std::vector<Word>& words) {
  return absl::StrJoin(words, " ", [](std::string* out, const Word& word) {
    out->append(Quoted(word.help.empty() ? word.text : absl::StrCat(word.text, ":", word.help)));
  });
}

std::vector<Word> AsWords(const std::vector<Flag>& flags) {
  std::vector<Word> words;
  for (const Flag& flag : flags) words.push_back({"--" + flag.name, flag.help});
  return words;
}

std::string Zsh(const Program& program, const std::vector<Place>& places) {
  std::string values, flags, words;
  ForEachFlag(program, places, [&](absl::string_view path, const Flag& flag, bool everywhere) {
    const std::string pattern = FlagPattern(path, flag, everywhere);
    if (!flag.choices.empty())
      absl::StrAppend(&values, "      (", pattern, ") list=(", absl::StrJoin(flag.choices, " "), ") ;;\n");
    if (flag.kind == Flag::Kind::kFile) absl::StrAppend(&values, "      (", pattern, ") _files; return ;;\n");
  });
  for (const Place& place : places) {
    if (!place.flags.empty())
      absl::StrAppend(&flags, "      (\"", place.path, "\") list+=(", Described(AsWords(place.flags)), ") ;;\n");
    if (!place.words.empty())
      absl::StrAppend(&words, "      (\"", place.path, "\") list=(", Described(place.words), ") ;;\n");
  }
  std::vector<Word> program_flags = AsWords(program.flags);
  program_flags.push_back({"--help", "print the help"});
  return absl::StrReplaceAll(kZsh, {{"$NAME", program.name},
                                    {"$VALUE_FLAGS", ValueFlags(program, places, "|")},
                                    {"$STEPS", Steps(places, "|")},
                                    {"$VALUES", values},
                                    {"$PROGRAM_FLAGS", Described(program_flags)},
                                    {"$FLAGS", flags},
                                    {"$WORDS", words}});
}

std::string Fish(const Program& program, const std::vector<Place>& places) {
  std::string out;
  // "complete -c posthousectl -n '__posthousectl_at "account"'"
  const auto begin = [&](absl::string_view path, bool everywhere) {
    absl::StrAppend(&out, "complete -c ", program.name);
    if (!everywhere) absl::StrAppend(&out, " -n '__", program.name, "_at \"", path, "\"'");
  };
  for (const Place& place : places) {
    for (const Word& word : place.words) {
      begin(place.path, false);
      absl::StrAppend(&out, " -a ", word.text, word.help.empty() ? "" : " -d " + Quoted(word.help), "\n");
    }
  }
  ForEachFlag(program, places, [&](absl::string_view path, const Flag& flag, bool everywhere) {
    begin(path, everywhere);
    absl::StrAppend(&out, " -l ", flag.name);
    if (!flag.choices.empty()) {
      absl::StrAppend(&out, " -x -a ", Quoted(absl::StrJoin(flag.choices, " ")));
    } else if (flag.kind == Flag::Kind::kFile) {
      out.append(" -r -F");
    } else if (TakesValue(flag)) {
      out.append(" -x");
    }
    absl::StrAppend(&out, " -d ", Quoted(flag.help), "\n");
  });
  begin("", true);
  out.append(" -l help -d 'print the help'\n");
  return absl::StrReplaceAll(kFish, {{"$NAME", program.name},
                                     {"$VALUE_FLAGS", ValueFlags(program, places, " ")},
                                     {"$STEPS", Steps(places, " ")},
                                     {"$COMPLETE", out}});
}

}  // namespace

const std::vector<std::string>& Shells() {
  static const auto* const shells = new std::vector<std::string>{"bash", "zsh", "fish"};
  return *shells;
}

std::string Completion(const Program& program, absl::string_view shell) {
  const std::vector<Place> places = Places(program);
  if (shell == "zsh") return Zsh(program, places);
  if (shell == "fish") return Fish(program, places);
  return Bash(program, places);
}

}  // namespace posthouse::cli
