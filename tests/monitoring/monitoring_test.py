"""Rules, runbooks and dashboards agree with each other and with what the processes export. Needs Debian's promtool."""
import glob
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.request

sys.path.insert(0, "tools")
import gen_metrics_docs
import open_metrics
from posthouse import Posthouse

FILES = "helm/posthouse/files"
RUNBOOKS = "docs/runbooks"
SELECTOR = re.compile(r"\b((?:posthouse|grpc_server)_[a-z0-9_]+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
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


def scrape_open_metrics(mail):
    found = {}
    for name, port in mail.http.items():
        request = urllib.request.Request("http://127.0.0.1:%d/metrics" % port, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"), answer.headers
            found[name] = answer.read().decode()
    return found


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
        self.assertEqual(len(uids), 5)
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
                for link in panel.get("links", []):
                    self.assertIn(link["url"].rpartition("/")[2][:-3], alerts(), at)
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
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=os.environ.get("TEST_TMPDIR")) as f:
            f.write(rules)
            f.flush()
            done = promtool("check", "rules", "--lint=none", f.name)
        self.assertEqual(done.returncode, 0, done.stdout)


class Exported(unittest.TestCase):
    """What the programs export: all of them, with a call of each service behind them."""

    @classmethod
    def setUpClass(cls):
        cls.scrapes, cls.open_metrics = {}, {}
        backups = {"backup": {"directory": os.path.join(os.environ.get("TEST_TMPDIR", "/tmp"), "backups")}}  # for their metrics
        for make, config in ((Posthouse.standalone, backups), (Posthouse.six, None)):
            with make(config) as mail:
                cls.scrapes.update(gen_metrics_docs.scrape(mail))
                cls.open_metrics.update(scrape_open_metrics(mail))

    def test_open_metrics_parse_and_are_the_same_metrics(self):
        self.assertEqual(len(self.open_metrics), 7)
        for process, text in self.open_metrics.items():
            samples = {sample[0] for _, family in open_metrics.parse(text).values() for sample in family}  # or raises
            older = set(re.findall(r"^(\w+)(?:\{| )", re.sub(r"^#.*\n", "", self.scrapes[process], flags=re.M), re.M))
            self.assertEqual(samples, older, process)
        # A parser of others agrees, where Debian's python3-prometheus-client is.
        check = ("import sys\ntry:\n    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n"
                 "except ImportError:\n    sys.exit()\nlist(parse(sys.stdin.read()))")
        for process, text in self.open_metrics.items():
            done = subprocess.run(["/usr/bin/python3", "-c", check], input=text, text=True, stderr=subprocess.PIPE, timeout=120)
            self.assertEqual((done.returncode, done.stderr), (0, ""), process)

    def test_the_reader_of_open_metrics_is_strict(self):
        good = '# TYPE a counter\n# HELP a A \\"b\\".\na_total{x="y"} 1\n# TYPE h histogram\nh_bucket{le="1.0"} 1 # {trace_id="0a"} 0.5 1.5\n' \
               'h_bucket{le="+Inf"} 2\nh_count 2\nh_sum 9\n# EOF\n'
        self.assertEqual(open_metrics.parse(good)["h"][1][0][3], {"trace_id": "0a"})
        for wrong, right in (("# EOF\n", ""), ('le="1.0"', 'le="1"'), ("a_total{", "a{"), ("h_count 2", "h_count 3"), (" 1\n# TYPE h", "  1\n# TYPE h"),
                             ('\\"b\\"', '"b"'), ("# TYPE h histogram", "# TYPE a counter"), ('x="y"', 'x="y",')):
            with self.assertRaises(ValueError, msg=right):
                open_metrics.parse(good.replace(wrong, right))

    def test_promtool_accepts_the_metrics_of_each_program(self):
        self.assertEqual(len(self.scrapes), 7)
        for process, text in self.scrapes.items():
            done = promtool("check", "metrics", input=text)
            self.assertEqual((done.returncode, done.stdout), (0, ""), process)

    def test_standalone_has_the_metrics_of_all_services(self):
        def names(text):
            return set(re.findall(r"^# TYPE (\S+) ", text, re.M))
        for process, text in self.scrapes.items():
            self.assertEqual(names(text) - names(self.scrapes["standalone"]), set(), process)
            for name in ("posthouse_build_info", "posthouse_process_cpu_seconds_total", "posthouse_process_open_fds"):
                self.assertIn(name, names(text), process)

    # A rate over what never happened is 0, not absent: each series is there before the first event.
    def test_methods_that_nobody_called_are_zero(self):
        self.assertIn('grpc_server_handled_total{grpc_code="OK",grpc_method="Enqueue",grpc_service="posthouse.queue.v1.QueueService"} 0\n',
                      self.scrapes["queue"])

    def expressions(self):
        found = re.findall(r"expr: \|\n((?: {10}.*\n)+)", rules_text())
        return found + [t["expr"] for d in dashboards().values() for p in panels(d) for t in p["targets"]]

    def test_each_label_value_that_a_rule_or_panel_names_occurs(self):
        # Label values are there from the start, but codes of calls, and the names that top_counters.h finds.
        found_later = ("grpc_code", "grpc_service", "grpc_method", "destination", "namespace", "instance", "job")
        have = {}
        for name, labels in re.findall(r"^(\w+)\{(.*)\} \S+$", self.scrapes["standalone"], re.M):
            for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
                have.setdefault((name, label), set()).add(value)
        checked = 0
        for expr in self.expressions():
            for name, matchers in SELECTOR.findall(expr):
                for label, operator, value in MATCHER.findall(matchers):
                    if name.startswith("posthouse_probe") or label in found_later or "$" in value:
                        continue
                    known = have.get((name, label), set())
                    wanted = [value] if operator in ("=", "!=") else value.replace("\\\\", "\\").split("|")
                    for one in wanted:
                        self.assertTrue(any(re.fullmatch(one, v) if operator in ("=~", "!~") else one == v for v in known),
                                        "%s{%s=%s} of %s: has %s" % (name, label, one, expr, sorted(known)))
                    checked += 1
        self.assertGreater(checked, 50)

    def test_each_metric_that_a_rule_or_panel_names_is_exported(self):
        known = set(re.findall(r"- record: (\S+)", rules_text()))
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", self.scrapes["standalone"], re.M):
            known |= {name + s for s in ("_bucket", "_count", "_sum")} if kind == "histogram" else {name}
        known.add("posthouse_probe_last_round_successful")  # of `posthouse probe`
        named = {m for e in self.expressions() for m in METRIC.findall(re.sub(r'"[^"]*"', "", e))}
        self.assertGreater(len(named), 100)
        self.assertEqual(named - known, set())

    def test_the_page_of_metrics_is_current(self):
        six = {process: text for process, text in self.scrapes.items() if process != "standalone"}
        self.assertEqual(pathlib.Path("docs/metrics.md").read_text(), gen_metrics_docs.page(six), "run tools/gen_metrics_docs.py")


if __name__ == "__main__":
    unittest.main()
