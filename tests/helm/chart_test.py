"""The chart renders, for each file in values/: objects that Kubernetes takes, and what golden/ keeps.

    bazel test //tests/helm:chart_test
    python3 tests/helm/chart_test.py --update     # from the top of the repository: writes golden/ anew

golden/01-defaults.yaml is the whole rendering of the defaults; another golden file has the objects that differ from it, and the
names of those that it lacks.
"""
import concurrent.futures
import difflib
import os
import pathlib
import re
import sys
import tarfile
import unittest

import chart
import schemas

GOLDEN = os.path.join(chart.HERE, "golden")
DEFAULTS = "01-defaults"


def renderings():
    """{name of the value set: its objects}."""
    sets = chart.value_sets()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return dict(zip(sets, pool.map(chart.render, sets.values())))


def golden_texts(rendered):
    base = {chart.key(o): chart.stable(o) for o in rendered[DEFAULTS]}
    texts = {DEFAULTS: chart.text(base.values())}
    for name, things in rendered.items():
        if name == DEFAULTS:
            continue
        own = {chart.key(o): chart.stable(o) for o in things}
        lacks = sorted(set(base) - set(own))
        head = "# Objects that differ from those of %s.yaml.\n%s" % (DEFAULTS, "".join("# Not rendered: %s\n" % k for k in lacks))
        texts[name] = head + chart.text([o for k, o in own.items() if base.get(k) != o])
    return texts


class Chart(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = renderings()

    def test_lint_finds_nothing_for_any_value_set(self):
        files = sorted(os.path.join(chart.HERE, "values", name + ".yaml") for name in self.rendered)
        self.assertGreaterEqual(len(files), 10)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for path, (code, out, err) in zip(files, pool.map(lambda f: chart.run("lint", "--strict", "--values", f, chart.CHART), files)):
                self.assertEqual(code, 0, "%s\n%s%s" % (path, out, err))

    def test_each_object_fits_the_schemas_of_kubernetes(self):
        for name, things in self.rendered.items():
            for thing in things:
                for version in schemas.VERSIONS:
                    self.assertEqual(schemas.check(thing, version), [], "%s: %s, Kubernetes %s" % (name, chart.key(thing), version))

    def test_renderings_are_those_of_the_golden_files(self):
        for name, text in golden_texts(self.rendered).items():
            path = os.path.join(GOLDEN, name + ".yaml")
            kept = pathlib.Path(path).read_text("utf-8") if os.path.exists(path) else ""
            diff = "".join(difflib.unified_diff(kept.splitlines(True), text.splitlines(True), path, "rendered now", n=2))
            self.assertEqual(diff, "", "if it is meant so: python3 tests/helm/chart_test.py --update\n" + diff[:6000])
        self.assertEqual({f[:-5] for f in os.listdir(GOLDEN)}, set(self.rendered), "golden files without values")

    def test_the_package_has_the_files_that_templates_read_and_no_build_files(self):
        directory = os.environ.get("TEST_TMPDIR", "/tmp")
        code, out, err = chart.run("package", chart.CHART, "--destination", directory)
        self.assertEqual(code, 0, err)

        path = re.search(r"saved it to: (.*)", out)[1]
        with tarfile.open(path) as package:
            names = package.getnames()
        os.remove(path)
        self.assertFalse([n for n in names if "BUILD" in n or n.endswith("files/README.md")])
        for wanted in ("values.schema.json", "README.md", "UPGRADE.md", "templates/NOTES.txt", "files/rules/queue.yaml"):
            self.assertIn("posthouse/" + wanted, names)

    def test_a_dry_run_of_an_installation_prints_notes_with_what_a_mail_client_and_a_zone_need(self):
        code, out, err = chart.run("install", chart.RELEASE, chart.CHART, "--namespace", chart.NAMESPACE, "--dry-run=client",
                                   "--set", "hostname=mx.example.net")
        self.assertEqual(code, 0, err)
        notes = out[out.index("NOTES:"):]
        for text in ("mx.example.net  port 993", "port 465", "MX  10 mx.example.net", "v=spf1", "posthousectl account add"):
            self.assertIn(text, notes)
        self.assertNotIn("<no value>", notes)


    def test_pods_restart_for_keys_of_the_configuration_that_need_it_and_for_no_others(self):
        def checksums(values):
            return {chart.key(o): o["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
                    for o in chart.render(values) if o["kind"] in ("Deployment", "StatefulSet") and "checksum/config" in
                    o["spec"]["template"]["metadata"].get("annotations", {})}
        for mode in ("distributed", "standalone"):
            before = checksums({"deploymentMode": mode})
            self.assertEqual(before, checksums({"deploymentMode": mode, "config": {"log_level": "debug", "ingress": {"max_errors": 7}}}))
            self.assertNotEqual(before, checksums({"deploymentMode": mode, "config": {"io_threads": 3}}))

    def test_alerts_link_to_the_runbooks_of_the_operator_or_to_none(self):
        for base, links in (("https://wiki.example.org/runbooks/", True), ("https://wiki.example.org/runbooks", True), ("", False)):
            things = chart.render({"monitoring": {"rules": True, "runbookBaseUrl": base}})
            alerts = [rule for thing in things if thing["kind"] == "PrometheusRule" for group in thing["spec"]["groups"]
                      for rule in group["rules"] if "alert" in rule]
            self.assertGreater(len(alerts), 30)
            for alert in alerts:
                self.assertEqual(alert["annotations"].get("runbook_url"),
                                 "https://wiki.example.org/runbooks/%s.md" % alert["alert"] if links else None)
        self.assertNotEqual(chart.template({"monitoring": {"runbookBaseUrl": "wiki.example.org"}})[0], 0)


    def test_routes_have_the_version_that_the_cluster_serves(self):
        values = chart.value_sets()["10-gateway-api"]
        for args, wanted in (([], "v1alpha2"), (["--api-versions", "gateway.networking.k8s.io/v1/TLSRoute"], "v1")):
            routes = [t for t in chart.render(values, *args) if t["kind"] == "TLSRoute"]
            self.assertEqual([t["apiVersion"] for t in routes], ["gateway.networking.k8s.io/" + wanted] * 3)
            for route in routes:
                self.assertEqual(schemas.check(route, "1.36"), [])


class Schemas(unittest.TestCase):
    """The check itself finds mistakes."""

    def test_mistakes_are_found(self):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}}
        self.assertEqual(schemas.check(pod, "1.36"), [])
        for path, value, wanted in (
                (("spec", "dnsPolicy"), "Sometimes", "is none of"),
                (("spec", "terminationGracePeriodSeconds"), "60", "is no integer"),
                (("spec", "hostname"), None, "null"),
                (("spec", "restartPolice"), "Never", "no such field"),
                (("spec", "containers"), {}, "is no list"),
                (("spec", "containers"), [{"image": "x"}], "name is missing"),
                (("spec", "containers"), [{"name": "c", "ports": [{"name": "a"}]}], "containerPort is missing"),
                (("kind",), "Pot", "no such kind")):
            broken = {**pod, "spec": dict(pod["spec"])}
            if len(path) == 1:
                broken[path[0]] = value
            else:
                broken["spec"][path[1]] = value
            self.assertIn(wanted, " ".join(schemas.check(broken, "1.34")), str(path))


def update():
    os.makedirs(GOLDEN, exist_ok=True)
    texts = golden_texts(renderings())
    for name in os.listdir(GOLDEN):
        if name[:-5] not in texts:
            os.remove(os.path.join(GOLDEN, name))
    for name, text in texts.items():
        with open(os.path.join(GOLDEN, name + ".yaml"), "w", encoding="utf-8") as f:
            f.write(text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        update()
    else:
        unittest.main(verbosity=2)
