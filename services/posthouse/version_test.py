#!/usr/bin/env python3
"""Programs, posthousectl's help and the chart have the version of the file VERSION.

    version_test.py POSTHOUSE VERSION Chart.yaml
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

POSTHOUSE, VERSION, CHART = (os.path.abspath(path) for path in sys.argv[1:4])
SERVICES = ["standalone", "ingress", "routing", "directory", "queue", "mailbox", "gateway", "probe"]


def run(*words, program=POSTHOUSE):
    return subprocess.run([program, *words], stdout=subprocess.PIPE, universal_newlines=True, check=True,
                          timeout=60).stdout


class VersionTest(unittest.TestCase):
    def setUp(self):
        with open(VERSION) as f:
            self.version = f.read().strip()
        self.assertRegex(self.version, r"^\d+\.\d+\.\d+$")

    def test_each_program_prints_the_version(self):
        self.assertEqual(run("--version"), "posthouse %s\n" % self.version)
        for service in SERVICES:
            self.assertEqual(run(service, "--version"), "posthouse %s %s\n" % (service, self.version))
        self.assertEqual(run("ctl", "--version"), "posthousectl %s\n" % self.version)
        self.assertTrue(run("ctl", "--help").startswith("posthousectl %s " % self.version))
        self.assertTrue(run("--help").startswith("posthouse %s, " % self.version))

    def test_a_link_is_the_program_of_its_name(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ["posthousectl"] + ["posthouse-" + service for service in SERVICES]:
                link = os.path.join(folder, name)
                os.symlink(POSTHOUSE, link)
                self.assertEqual(run("--version", program=link), "%s %s\n" % (name, self.version))

    def test_the_chart_has_the_version(self):
        with open(CHART) as f:
            chart = f.read()
        for key in ["version", "appVersion"]:
            self.assertEqual(re.findall(r"^%s: *\"?([^\s\"]+)\"?$" % key, chart, re.M), [self.version], key)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
