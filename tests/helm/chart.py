"""Renders helm/posthouse for tests: `helm template` with nothing but the chart's files and the values of a test."""
import copy
import glob
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

CHART = "helm/posthouse"
HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACE = "mail"
RELEASE = "posthouse"
KUBERNETES = "1.34.0"


def helm():
    """The program that tools/install-deps --test installs, or $POSTHOUSE_HELM."""
    places = [os.environ.get("POSTHOUSE_HELM", "")] + sorted(glob.glob("/usr/local/lib/posthouse/helm-*"))
    for place in filter(None, places):
        if os.access(place, os.X_OK):
            return place
    sys.exit("helm is missing: run tools/install-deps --test")


def run(*args, input=None):
    """helm with a home of its own. Returns (exit code, standard output, standard error)."""
    home = os.path.join(os.environ.get("TEST_TMPDIR", tempfile.gettempdir()), "helm-home")
    env = dict(os.environ, HOME=home, HELM_CACHE_HOME=home + "/cache", HELM_CONFIG_HOME=home + "/config", HELM_DATA_HOME=home + "/data",
               HELM_NO_PLUGINS="1")
    done = subprocess.run([helm(), *args], env=env, input=input, text=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout, done.stderr


def template(values=None, *args, release=RELEASE, chart=CHART):
    """(exit code, standard output, standard error) of `helm template` with these values (a dict)."""
    return run("template", release, chart, "--namespace", NAMESPACE, "--kube-version", KUBERNETES, "--values", "-", *args,
               input=yaml.safe_dump(values or {}))


def objects(text):
    """The objects of a rendered text, in its order."""
    return [d for d in yaml.load_all(text, Loader=yaml.CSafeLoader) if d]


def render(values=None, *args, **kwargs):
    code, out, err = template(values, *args, **kwargs)
    if code != 0:
        raise AssertionError("helm template: %s" % err.strip())
    return objects(out)


def value_sets():
    """{name: values} of values/*.yaml."""
    return {os.path.basename(p)[:-5]: yaml.safe_load(pathlib.Path(p).read_text("utf-8")) or {} for p in sorted(glob.glob(HERE + "/values/*.yaml"))}


def key(thing):
    return "%s/%s" % (thing["kind"], thing["metadata"]["name"])


def pod_spec(thing):
    """The pod of a workload, or None."""
    if thing["kind"] == "Pod":
        return thing["spec"]
    if thing["kind"] == "CronJob":
        return thing["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return thing.get("spec", {}).get("template", {}).get("spec") if thing["kind"] in ("Deployment", "StatefulSet", "Job") else None


def pod_labels(thing):
    if thing["kind"] == "Pod":
        return thing["metadata"]["labels"]
    if thing["kind"] == "CronJob":
        return thing["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    return thing["spec"]["template"]["metadata"]["labels"]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def stable(thing):
    """The object without what differs from rendering to rendering (keys, certificates and passwords that the chart makes)."""
    thing = copy.deepcopy(thing)
    if thing["kind"] == "Secret":
        for field in ("data", "stringData"):
            for name in thing.get(field, {}):
                thing[field][name] = "(generated)"
        for name in list(thing["metadata"].get("annotations", {})):
            if name.endswith("/renew-after"):
                thing["metadata"]["annotations"][name] = "(generated)"
    return thing


class _Dumper(yaml.CSafeDumper):
    pass


_Dumper.add_representer(str, lambda d, s: d.represent_scalar("tag:yaml.org,2002:str", s, style="|" if "\n" in s else None))


def text(things):
    """Objects as YAML with sorted keys, sorted by kind and name."""
    things = sorted(things, key=lambda t: (t["kind"], t["metadata"].get("namespace", ""), t["metadata"]["name"]))
    return "".join("---\n" + re.sub(r" +$", "", yaml.dump(t, Dumper=_Dumper, width=1000, sort_keys=True), flags=re.M) for t in things)
