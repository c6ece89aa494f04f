"""Rules, runbooks and dashboards agree with each other and with what the processes export. Needs Debian's promtool."""
import glob
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest
import urllib.request

from posthouse import Posthouse

FILES = "helm/posthouse/files"
RUNBOOKS = "docs/runbooks"
METRIC = re.compile(r"\b((?:posthouse|grpc_server)_[a-z0-9_]+|posthouse:[a-z0-9_:]+)")


def rule_files():
    return sorted(glob.glob(FILES + "/rules/*.yaml"))


def rules_text():
    return "".join(pathlib.Path(path).read_text() for path in rule_files())


def alerts():
    return set(re.findall(r"- alert: (\w+)", rules_text()))


def dashboards():
    return {path: json.loads(pathlib.Path(path).read_text()) for path in sorted(glob.glob(FILES + "/dashboards/*.json"))}


def panels(dashboard):
    return [p for p in dashboard["panels"] if p["type"] != "row"]


def promtool(*args, cwd=None, input=None):
    return subprocess.run(["promtool", *args], cwd=cwd, input=input, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class Rules(unittest.TestCase):
    def test_promtool_accepts_the_rules(self):
        self.assertGreaterEqual(len(rule_files()), 8)
        done = promtool("check", "rules", "--lint=all", "--lint-fatal", *rule_files())
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_each_alert_has_a_case_that_fires_and_one_that_is_silent(self):
        cases = set(re.findall(r"- name: (.+)", "".join(pathlib.Path(p).read_text() for p in glob.glob("tests/monitoring/rules/*.yaml"))))
        for name in alerts():
            # A case of a burn rate has a good service beside the one that burns.
            wanted = {name} if name.endswith("BudgetBurn") else {name + " fires", name + " is silent"}
            self.assertEqual(wanted - cases, set())

    def test_each_alert_has_a_runbook_and_each_runbook_an_alert(self):
        self.assertEqual(alerts(), {os.path.basename(p)[:-3] for p in glob.glob(RUNBOOKS + "/*.md")})
        for name, text in re.findall(r"- alert: (\w+)\n(.*?)(?=\n      - |\Z)", rules_text(), re.S):
            self.assertIn("runbook_url: https://runbooks.posthouse.invalid/%s.md" % name, text)
            for part in ("severity: ", "summary: ", "description: "):
                self.assertIn(part, text)
        for path in glob.glob(RUNBOOKS + "/*.md"):
            self.assertEqual(re.findall(r"^## (.+)$", pathlib.Path(path).read_text(), re.M), ["Meaning", "Impact", "Diagnosis", "Mitigation"], path)


class Dashboards(unittest.TestCase):
    def test_dashboards_are_portable_and_say_what_they_show(self):
        uids = [d["uid"] for d in dashboards().values()]
        self.assertEqual(len(uids), len(set(uids)))
        for path, dashboard in dashboards().items():
            self.assertIn("datasource", [v["name"] for v in dashboard["templating"]["list"]], path)
            taken = set()
            for panel in panels(dashboard):
                at = "%s: %s" % (path, panel["title"])
                self.assertEqual(panel["datasource"]["uid"], "${datasource}", at)
                self.assertTrue(panel["description"] and panel["fieldConfig"]["defaults"]["unit"], at)
                g = panel["gridPos"]
                cells = {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
                self.assertFalse(cells & taken, at + " overlaps another")
                self.assertLessEqual(g["x"] + g["w"], 24, at)
                taken |= cells
                for target in panel["targets"]:
                    self.assertEqual(target["datasource"]["uid"], "${datasource}", at)
                    self.assertNotRegex(target["expr"], r"rate\([^()]*\[\d", at + ": use $__rate_interval")

    def test_each_expression_parses(self):
        rules = "groups:\n  - name: panels\n    rules:\n"
        for dashboard in dashboards().values():
            for panel in panels(dashboard):
                for target in panel["targets"]:
                    expr = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$instance", ".*")
                    rules += "      - record: panel:n%d:x\n        expr: %s\n" % (rules.count("record"), json.dumps(expr))
        if "record" not in rules:
            self.skipTest("no dashboards")
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=os.environ.get("TEST_TMPDIR")) as f:
            f.write(rules)
            f.flush()
            done = promtool("check", "rules", "--lint=none", f.name)
        self.assertEqual(done.returncode, 0, done.stdout)


class Exported(unittest.TestCase):
    def test_each_metric_that_a_rule_or_panel_names_is_exported(self):
        backups = {"backup": {"directory": os.path.join(os.environ.get("TEST_TMPDIR", "/tmp"), "backups")}}  # for their metrics
        with Posthouse.standalone(backups) as mail:
            mail.add_account("user@example.org", "secret")  # a call, so that the gRPC metrics exist
            text = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % mail.http["standalone"], timeout=10).read().decode()
        done = promtool("check", "metrics", input=text)
        self.assertEqual(done.returncode, 0, done.stdout)
        known = set(re.findall(r"- record: (\S+)", rules_text()))
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
            known |= {name + s for s in ("_bucket", "_count", "_sum")} if kind == "histogram" else {name}
        # Certificates of mTLS exist only where services are separate.
        known.add("posthouse_rpc_certificate_not_after_timestamp_seconds")
        known.add("posthouse_probe_last_round_successful")  # of `posthouse probe`
        exprs = re.findall(r"expr: \|\n((?: {10}.*\n)+)", rules_text())
        exprs += [t["expr"] for d in dashboards().values() for p in panels(d) for t in p["targets"]]
        named = {m for e in exprs for m in METRIC.findall(re.sub(r'"[^"]*"', "", e))}
        self.assertGreater(len(named), 30)
        self.assertEqual(named - known, set())


if __name__ == "__main__":
    unittest.main()
