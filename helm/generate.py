#!/usr/bin/env python3
"""Writes values.schema.json and the table of README.md from the comments of values.yaml: generate.py [--check].

A key's comment is `# -- text`, and `# @schema {...}` adds JSON schema: `open` (true, or the type of the values) is an object with
keys of the user, `ref` the path of another key whose schema holds. Everything else is closed. Standard library only.
"""
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BEGIN, END = "<!-- values: written by helm/generate.py -->", "<!-- end of values -->"


def scalar(text):
    if text in ("true", "false"):
        return {"type": "boolean"}
    if re.fullmatch(r"-?\d+", text):
        return {"type": "integer"}
    if text.startswith("["):
        return {"type": "array"}
    if text.startswith("{"):
        return {"type": "object"}
    return {"type": "string"}


def read(path):
    """[(key path, default, comment, schema)] of the leaves, in order."""
    leaves, stack, comment, extra, errors = [], [], "", {}, []
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        body = line.strip()
        if body.startswith("# -- "):
            comment = body[5:]
        elif body.startswith("# @schema "):
            extra = json.loads(body[10:])
        elif body and not body.startswith("#"):
            match = re.fullmatch(r"( *)([A-Za-z0-9_]+):(?: (.*))?\n", line)
            if not match:
                sys.exit("%s:%d: not `key: value`: %s" % (path, number, body))
            depth = len(match.group(1)) // 2
            stack = stack[:depth] + [match.group(2)]
            default = match.group(3)
            if default is not None:
                if not comment:
                    errors.append("%s:%d: %s has no `# --` comment" % (path, number, ".".join(stack)))
                leaves.append((tuple(stack), default, comment, {**scalar(default), **extra}))
            comment, extra = "", {}
    if errors:
        sys.exit("\n".join(errors))
    return leaves


def schema(leaves):
    root = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": False, "properties": {}}
    for path, _, comment, own in leaves:
        node = root
        for key in path[:-1]:
            node = node["properties"].setdefault(key, {"type": "object", "additionalProperties": False, "properties": {}})
        own = dict(own)
        opened, ref = own.pop("open", None), own.pop("ref", None)
        if ref:
            own = {"$ref": "#/properties/" + ref.replace(".", "/properties/")}
        elif opened is not None:
            own["additionalProperties"] = True if opened is True else {"type": opened}
        if not ref:
            own["description"] = comment
        node["properties"][path[-1]] = own
    return json.dumps(root, indent=1) + "\n"


def table(leaves):
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    rows += ["| `%s` | `%s` | %s |" % (".".join(path), default.replace("|", "\\|"), comment.replace("|", "\\|"))
             for path, default, comment, _ in leaves]
    return "\n".join(rows)


def main():
    chart = os.path.join(HERE, "posthouse")
    leaves = read(os.path.join(chart, "values.yaml"))
    readme = open(os.path.join(chart, "README.md"), encoding="utf-8").read()
    head, rest = readme.split(BEGIN)
    wanted = {
        "README.md": head + BEGIN + "\n\n" + table(leaves) + "\n\n" + END + rest.split(END)[1],
        "values.schema.json": schema(leaves),
    }
    stale = []
    for name, text in wanted.items():
        path = os.path.join(chart, name)
        old = open(path, encoding="utf-8").read() if os.path.exists(path) else ""
        if old == text:
            continue
        if "--check" in sys.argv:
            stale.append(name)
        else:
            open(path, "w", encoding="utf-8").write(text)
    if stale:
        sys.exit("%s: not what values.yaml says; run helm/generate.py" % ", ".join(stale))


main()
