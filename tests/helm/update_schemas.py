#!/usr/bin/env python3
"""Writes schemas/*.json from packages of the npm registry: update_schemas.py (needs npm and the network; run by hand).

The type declarations of @kubernetes/client-node (generated from the OpenAPI documents of one Kubernetes release each) and of
@kubernetes-models/* (custom resources) name each field, its type and whether it is required. The types that the kinds of the chart
reach are kept. schemas.py says what the files look like.
"""
import glob
import json
import os
import re
import subprocess
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
KUBERNETES = {"1.34": "@kubernetes/client-node@1.4.0", "1.36": "@kubernetes/client-node@2.0.1"}
CORE = {
    "v1": ["ConfigMap", "Namespace", "PersistentVolumeClaim", "Pod", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment", "StatefulSet"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "batch/v1": ["CronJob", "Job"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "policy/v1": ["PodDisruptionBudget"],
    "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
    "scheduling.k8s.io/v1": ["PriorityClass"],
}
CUSTOM = {
    "@kubernetes-models/cert-manager@6.0.0": {"cert-manager.io/v1": ["Certificate", "ClusterIssuer", "Issuer"]},
    "@kubernetes-models/gateway-api@2.0.0": {"gateway.networking.k8s.io/v1": ["TLSRoute"],
                                             "gateway.networking.k8s.io/v1alpha2": ["TCPRoute", "TLSRoute"]},
    "@kubernetes-models/keda@2.0.0": {"keda.sh/v1alpha1": ["ScaledObject"]},
    "@kubernetes-models/prometheus-operator@6.0.0": {"monitoring.coreos.com/v1": ["PodMonitor", "PrometheusRule", "ServiceMonitor"]},
}
TOKEN = re.compile(r'\s*(?:("[^"]*"|\'[^\']*\')|([A-Za-z_$][\w$.]*)|(-?\d+)|(.))', re.S)


def unpack(package, directory):
    name = subprocess.run(["npm", "pack", "--silent", package], cwd=directory, check=True, text=True, stdout=subprocess.PIPE).stdout.split()[-1]
    with tarfile.open(os.path.join(directory, name)) as archive:
        archive.extractall(os.path.join(directory, name + ".d"))
    return os.path.join(directory, name + ".d", "package")


class Reader:
    """Reads types of TypeScript: names, arrays, unions of literals, objects, maps."""

    def __init__(self, text):
        self.tokens = [next(filter(None, t)) for t in TOKEN.findall(text)]
        self.at = 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted=None):
        token = self.peek()
        if wanted is not None and token != wanted:
            raise ValueError("%r instead of %r after %r" % (token, wanted, self.tokens[max(0, self.at - 8):self.at]))
        self.at += 1
        return token

    def type(self):
        if self.peek() == "|":
            self.take()
        parts = [self.single()]
        while self.peek() == "|":
            self.take()
            parts.append(self.single())
        parts = [p for p in parts if p != "null"]
        if len(parts) == 1:
            return parts[0]
        if all(isinstance(p, list) and p[0] == "enum" for p in parts):
            return ["enum"] + [v for p in parts for v in p[1:]]
        return "int-or-string" if set(map(str, parts)) == {"string", "number"} else "any"

    def single(self):
        token = self.take()
        if token == "(":
            inner = self.type()
            self.take(")")
            result = inner
        elif token == "{":
            result = self.members()
        elif token[0] in "\"'":
            result = ["enum", token[1:-1]]
        elif token == "[":  # a list of a fixed length
            result = ["array", self.type()]
            while self.take() != "]":
                pass
        elif token == "Array":
            self.take("<")
            result = ["array", self.type()]
            self.take(">")
        elif token in ("string", "number", "boolean", "any", "null"):
            result = token
        elif token == "Date":
            result = "string"
        elif token in ("object", "unknown", "Record"):
            result = "any"
            if self.peek() == "<":
                while self.take() != ">":
                    pass
        else:
            result = "int-or-string" if token.endswith("IntOrString") else ["ref", token]
        while self.peek() == "[":
            self.take()
            self.take("]")
            result = ["array", result]
        return result

    def members(self):
        fields, anything = {}, None
        while self.peek() != "}":
            if self.peek() == "[":  # [key: string]: T
                while self.take() != "]":
                    pass
                self.take(":")
                anything = ["map", self.type()]
            else:
                name = self.take().strip("\"'")
                optional = self.peek() == "?"
                if optional:
                    self.take()
                self.take(":")
                fields[name] = [not optional, self.type()]
            if self.peek() in (";", ","):
                self.take()
        self.take("}")
        return fields if fields or anything is None else anything


def declarations(path):
    """{name: type} of a declaration file, with the bases of an interface under the key "<"."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", open(path, encoding="utf-8").read(), flags=re.S)
    found = {}
    for m in re.finditer(r"export interface (\w+)(?: extends ([\w, ]+?))? \{", text):
        reader = Reader(text[m.end():])
        found[m[1]] = (reader.members(), [b.strip() for b in (m[2] or "").split(",") if b.strip()])
    for m in re.finditer(r"export type (\w+) = ", text):
        found[m[1]] = (Reader(text[m.end():]).type(), [])
    renamed = {alias: own for own, alias in re.findall(r"(\w+) as (\w+)", text)}
    return found, renamed


def reachable(types, roots):
    kept, todo = {}, list(roots)
    while todo:
        name = todo.pop()
        if name in kept or name not in types:
            continue
        kept[name] = types[name]
        todo += re.findall(r'\["ref", "([^"]+)"\]', json.dumps(types[name]))
    return kept


def kubernetes(package):
    types = {}
    for path in glob.glob(package + "/dist/gen/models/*.js"):
        text = open(path, encoding="utf-8").read()
        m = re.search(r"^(\w+)\.attributeTypeMap = (\[.*?^\]);", text, re.S | re.M)
        if not m:
            continue
        required = set(re.findall(r"^    '(\w+)': ", open(path[:-3] + ".d.ts", encoding="utf-8").read(), re.M))
        fields = {}
        for field in json.loads(m[2]):
            kind = Reader(field["type"]).type()
            if kind == "number" and field["format"] in ("int32", "int64"):
                kind = "integer"
            fields[field["baseName"]] = [field["name"] in required, kind]
        types[m[1]] = fields
    for name in ("apiVersion", "kind"):
        for fields in types.values():
            if name in fields:
                fields[name][0] = False
    kinds = {}
    for version, names in CORE.items():
        for name in names:
            kinds["%s %s" % (version, name)] = ("V2" if version == "autoscaling/v2" else "V1") + name
    return {"kinds": kinds, "types": reachable(types, kinds.values())}


def custom(packages):
    types, kinds = {}, {}
    for package, groups in packages.items():
        files = glob.glob(package + "/**/*.d.ts", recursive=True)
        for path in files:
            found, renamed = declarations(path)
            for alias, own in renamed.items():
                if own in found:
                    types[alias] = found[own]
        for version, names in groups.items():
            for name in names:
                found, renamed = declarations("%s/%s/%s.d.ts" % (package, version, name))
                kinds["%s %s" % (version, name)] = next(a for a, own in renamed.items() if own == "I" + name)

    def flat(name, seen=()):
        own, bases = types[name]
        if not bases or name in seen or not isinstance(own, dict):
            return own
        merged = {}
        for base in bases:
            inherited = flat(base, seen + (name,)) if base in types else {}
            if not isinstance(inherited, dict):
                return "any"
            merged.update(inherited)
        return {**merged, **own}

    return {"kinds": kinds, "types": reachable({name: flat(name) for name in types}, kinds.values())}


def write(name, schema, sources):
    with open(os.path.join(HERE, "schemas", name), "w", encoding="utf-8") as f:
        f.write('{\n"from": %s,\n"kinds": %s,\n"types": {\n' % (json.dumps(sources), json.dumps(schema["kinds"], sort_keys=True)))
        f.write(",\n".join("%s: %s" % (json.dumps(k), json.dumps(v, separators=(",", ":"))) for k, v in sorted(schema["types"].items())))
        f.write("\n}\n}\n")


def main():
    with tempfile.TemporaryDirectory() as directory:
        for version, package in KUBERNETES.items():
            write("kubernetes-%s.json" % version, kubernetes(unpack(package, directory)), [package])
        write("custom-resources.json", custom({unpack(p, directory): groups for p, groups in CUSTOM.items()}), sorted(CUSTOM))


if __name__ == "__main__":
    main()
