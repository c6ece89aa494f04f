#!/usr/bin/env python3
"""Writes docs/configuration.md from the comments of protos/posthouse/config/v1/config.proto, and the list of reloadable keys for the chart.

    tools/gen_config_docs.py            writes both
    tools/gen_config_docs.py --check    exits 1 when one of them is not what would be written
    tools/gen_config_docs.py --reloadable   prints the keys that a running process applies, as C++ strings

A key without a comment is an error: the comment is its manual. A key is reloadable when its comment says "Reloadable", or when that
of its section says that all are and its own does not say that it needs a restart.
"""
import argparse
import os
import re
import sys

PROTO = "protos/posthouse/config/v1/config.proto"
PAGE = "docs/configuration.md"
KEYS = "helm/posthouse/files/reloadable-keys.txt"

FIELD = re.compile(r"^(?P<label>optional |repeated )?(?P<type>[\w.]+) (?P<name>\w+) = \d+;\s*(?://\s*(?P<comment>.*))?$")


class Field:
    def __init__(self, name, type_name, repeated, comment):
        self.name, self.type, self.repeated, self.comment = name, type_name, repeated, comment


class Message:
    def __init__(self, name, comment):
        self.name, self.comment, self.fields = name, comment, []


def parse(text):
    """The file's own comment, and its messages by name in order."""
    head, messages, current, comment = None, {}, None, []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("//"):
            comment.append(line[2:].strip())
            continue
        if line.startswith("package ") and head is None:
            head = " ".join(comment)
        elif line.startswith("message "):
            current = messages[line.split()[1]] = Message(line.split()[1], " ".join(comment))
        elif line == "}":
            current = None
        elif current is not None and line:
            match = FIELD.match(line)
            if match is None:
                sys.exit("%s:%d: cannot read this line: %s" % (PROTO, number, line))
            words = comment + ([match["comment"]] if match["comment"] else [])
            current.fields.append(Field(match["name"], match["type"], match["label"] == "repeated ", " ".join(words)))
        comment = []
    return head, messages


SCALARS = {
    "string": "text",
    "bool": "true or false",
    "uint32": "number",
    "uint64": "number",
    "double": "number",
    "google.protobuf.Duration": "duration",
}


def value_of(field):
    if field.name.endswith("_bytes"):
        return "size"
    if field.name.endswith(("_file", "_dir")):
        return "path"
    word = SCALARS[field.type]
    return "list of " + {"text": "texts"}.get(word, word) if field.repeated else word


def sentence(text):
    text = text.strip().replace("|", "\\|")
    if not text:
        return text
    if not text[1:2].isupper():  # "mTLS" stays
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def reloadable(messages, message, field):
    inner = messages.get(field.type)
    if inner is not None and not field.repeated:
        return False  # its keys say it
    if re.search(r"needs? a restart", field.comment, re.I):
        return False
    return "Reloadable" in field.comment or "All keys are reloadable" in (getattr(message, "comment", "") or "")


def reloadable_keys(messages, message, prefix=""):
    for field in message.fields:
        if reloadable(messages, message, field):
            yield prefix + field.name
        elif field.type in messages and not field.repeated:
            yield from reloadable_keys(messages, messages[field.type], prefix + field.name + ".")


def rows(messages, message, prefix, shared):
    """(key, value, meaning) of each field, nested ones by their path."""
    for field in message.fields:
        key = prefix + field.name + ("[]" if field.repeated and field.type in messages else "")
        inner = messages.get(field.type)
        if inner is None:
            if not field.comment:
                sys.exit("%s: %s.%s has no comment" % (PROTO, message.name, field.name))
            meaning = sentence(field.comment)
            if reloadable(messages, message, field) and "Reloadable" not in meaning:
                meaning += " Reloadable."
            yield key, value_of(field), meaning
        elif inner.name in shared:
            default = re.match(r"^(\d+)(?:, *(.*))?$", field.comment)
            meaning = "Port " + default[1] + (", " + default[2] if default[2] else "") if default else field.comment
            yield key, "[%s](#%s)" % (inner.name.lower(), inner.name.lower()), sentence(meaning)
        else:
            meaning = field.comment or inner.comment
            if meaning:
                yield key, "list of sections" if field.repeated else "section", sentence(meaning)
            yield from rows(messages, inner, key + ".", shared)


def table(lines, entries):
    lines += ["| key | value | meaning |", "| --- | --- | --- |"]
    lines += ["| `%s` | %s | %s |" % entry for entry in entries]
    lines.append("")


def render(head, messages):
    root = messages["Config"]
    users = {name: sum(f.type == name for m in messages.values() for f in m.fields) for name in messages}
    shared = [name for name, count in users.items() if count > 1]
    lines = ["# Configuration", "",
             "<!-- Written by tools/gen_config_docs.py from %s; change that file. -->" % PROTO, "",
             sentence(head), "",
             "`posthouse-<service> --config FILE --check-config` prints `ok`, or what is wrong as `file:line:column: key: ...`.",
             "A process loads the file again when it changes, two seconds later, and at SIGHUP. It applies the keys that are marked",
             "reloadable, and new certificates; the log names the changed keys that need a restart. A file that is refused changes",
             "nothing.", "",
             "```yaml", "hostname: mail.example.org", "data_dir: /var/lib/posthouse", "tls:", "  certificates:",
             "    - certificate_file: /etc/posthouse/tls.crt", "      private_key_file: /etc/posthouse/tls.key", "ingress:",
             "  smtp: {address: 0.0.0.0, port: 25}", "  max_message_bytes: 50MiB", "queue:", "  expire_after: 5d", "```", ""]
    lines += ["## Process", ""]
    table(lines, rows(messages, type("Top", (), {"name": "Config", "fields": [
        f for f in root.fields if f.type not in messages]})(), "", shared))
    for field in root.fields:
        if field.type not in messages:
            continue
        section = messages[field.type]
        lines += ["## " + field.name, ""]
        if section.comment:
            lines += [sentence(section.comment), ""]
        table(lines, rows(messages, section, field.name + ".", shared))
    for name in shared:
        lines += ["## " + name, "", sentence(messages[name].comment), ""]
        table(lines, rows(messages, messages[name], "", shared))
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the page, write nothing")
    parser.add_argument("--reloadable", action="store_true", help="print the reloadable keys, write nothing")
    arguments = parser.parse_args()
    if not os.path.exists(PROTO):  # from anywhere in the clone; under Bazel it is there already
        os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    with open(PROTO, encoding="utf-8") as file:
        head, messages = parse(file.read())
    if arguments.reloadable:
        print("".join('"%s",\n' % key for key in reloadable_keys(messages, messages["Config"])), end="")
        return
    page = render(head, messages)
    keys = "".join(key + "\n" for key in reloadable_keys(messages, messages["Config"]))
    for path, text in ((PAGE, page), (KEYS, keys)):
        if not arguments.check:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            continue
        with open(path, encoding="utf-8") as file:
            if file.read() != text:
                sys.exit("%s does not match %s: run tools/gen_config_docs.py" % (path, PROTO))
        print("%s is up to date, %d lines" % (path, text.count("\n")))


if __name__ == "__main__":
    main()
