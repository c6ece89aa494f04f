#!/usr/bin/env python3
"""Runs the scripts of `posthousectl completion` in bash, zsh and fish, and compares the candidates.

    completion_test.py PATH-OF-POSTHOUSECTL

A shell that is not installed is left out; tools/install-deps --test installs all three.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BINARY = os.path.abspath(sys.argv.pop(1))

# What is typed before the cursor, and the candidates in any order.
CASES = [
    ("", "tenant domain account alias password sessions queue backup check salvage trace ping completion"),
    ("a", "account alias"),
    ("account ", "add set show list delete undelete"),
    ("account s", "set show"),
    ("account set a@example.org --status ", "active suspended frozen deleted"),
    ("account set a@example.org --status=s", "suspended"),
    ("account set a@example.org --st", "--status"),
    ("account add a@example.org --no", "--no-password"),
    # Values of flags are no commands, and hosts have colons.
    ("--server 127.0.0.1:7400 --timeout 5 --json queue ", "list show retry delete destinations stats"),
    ("--ca queue account s", "set show"),
    ("queue --queue=127.0.0.1:7402 retry --do", "--domain"),
    ("completion ", "bash zsh fish"),
    ("queue list --ti", "--timeout"),
    ("--ca some", "some.crt"),
    ("account add a@example.org --password-file some", "some.crt"),
    ("tenant add ", ""),
    ("--timeout ", ""),
]

BASH = r"""
source <("$0" completion bash)
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
_posthousectl
printf '%s\n' "${COMPREPLY[@]}"
"""

# One interactive zsh on a terminal of its own (zpty), whose `compadd` prints what it would offer. Each further argument is
# a line; its candidates end with <end>.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1= PS2= RPS1=; stty -echo; unsetopt zle_bracketed_paste prompt_sp; fpath=($1 \$fpath)"
zpty -w shell 'autoload -Uz compinit; compinit -u -D'
zpty -w shell 'compadd() { local -a hits; builtin compadd -A hits "$@"; print -rl -- "<"$^hits">"; builtin compadd "$@" }'
zpty -w shell 'show() { zle complete-word; BUFFER=; print -r -- "<end>" }; zle -N show; bindkey "^T" show; print "<rea""dy>"'
zpty -r shell seen '*<ready>*'
for line in "${@:2}"; do
  zpty -w -n shell "posthousectl $line"$'\x14'
  zpty -r shell seen '*<end>*'
  print -r -- $seen
done
zpty -d shell
"""

FISH = 'set -x PATH (dirname $argv[1]) $PATH; $argv[1] completion fish | source; complete -C "posthousectl $argv[2]"'


def bash_words(line):
    """The words of COMP_WORDS: bash cuts at "=" and ":", too, which are words of their own."""
    words = [""]
    for c in line:
        if c == " ":
            words.append("")
        elif c in "=:":
            words += [c] if not words[-1] else []
            words = words if words[-1] == c else words + [c]
            words.append("")
        else:
            words[-1] += c
    return [w for w in words[:-1] if w] + [words[-1]]


class CompletionTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR") or None)
        open(os.path.join(self.folder, "some.crt"), "w").close()

    def tearDown(self):
        shutil.rmtree(self.folder)

    def run_shell(self, *command):
        r = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, timeout=60, env=dict(os.environ, HOME=self.folder, TERM="dumb"))
        self.assertEqual((r.returncode, r.stderr), (0, ""), command)
        return r.stdout

    def compare(self, candidates):
        for line, expected in CASES:
            self.assertEqual(sorted(candidates(line)), sorted(expected.split()), "after: posthousectl " + line)

    def test_bash(self):
        self.compare(lambda line: self.run_shell(
            "bash", "--norc", "-c", BASH, BINARY, "", "posthousectl", *bash_words(line)).split())

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
    def test_zsh(self):
        with open(os.path.join(self.folder, "_posthousectl"), "w") as f:
            f.write(self.run_shell(BINARY, "completion", "zsh"))

        seen = self.run_shell("zsh", "-f", "-c", ZSH, "zsh", self.folder, *(line for line, _ in CASES)).split("<end>")
        candidates = {line: set(re.findall("<([^<>]+)>", part)) for (line, _), part in zip(CASES, seen)}
        self.compare(candidates.get)

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish(self):
        # Each candidate is on a line of its own, a tab before its description. Those of "--status=" repeat the flag.
        self.compare(lambda line: [c.split("\t")[0].split("=")[-1] for c in
                                   self.run_shell("fish", "--no-config", "-c", FISH, BINARY, line).splitlines()])


if __name__ == "__main__":
    unittest.main()
