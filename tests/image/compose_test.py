#!/usr/bin/env python3
"""deploy/compose.yaml: what it mounts and names exists, each process accepts its configuration with the certificates that
make-certificates makes, and promtool accepts Prometheus's. No container engine. compose_test.py PROGRAM"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

PROGRAM = os.path.abspath(sys.argv[1])
SERVICES = ["directory", "routing", "mailbox", "queue", "ingress", "gateway"]


class ComposeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="compose-", dir=os.environ.get("TEST_TMPDIR") or None))
        shutil.copytree("deploy", cls.dir / "deploy", symlinks=False)
        shutil.copytree("helm/posthouse/files", cls.dir / "helm/posthouse/files", symlinks=False)
        cls.deploy = cls.dir / "deploy"
        subprocess.run([cls.deploy / "compose/make-certificates", "mail.example.org"], check=True, stdout=subprocess.DEVNULL)
        cls.compose = yaml.safe_load((cls.deploy / "compose.yaml").read_text())
        cls.services = cls.compose["services"]

    def config(self, name):
        return yaml.safe_load((self.deploy / "compose/config" / (name + ".yaml")).read_text())

    def test_it_has_the_six_services_and_locks_them_down(self):
        self.assertTrue(set(SERVICES) < set(self.services))
        for name in SERVICES + ["ctl"]:
            service = self.services[name]
            self.assertEqual((service["read_only"], service["cap_drop"], service["user"]), (True, ["ALL"], "65532:65532"), name)
            self.assertIn("no-new-privileges:true", service["security_opt"])
        for name in SERVICES:
            self.assertEqual(self.services[name]["command"], [name, "--config", "/etc/posthouse/%s.yaml" % name])
            drain = int(self.config(name)["drain_timeout"].rstrip("s"))
            self.assertLess(drain, int(self.services[name]["stop_grace_period"].rstrip("s")))

    def test_its_version_is_the_file_version(self):
        version = pathlib.Path("VERSION").read_text().strip()
        self.assertEqual(self.services["queue"]["image"], "${POSTHOUSE_IMAGE:-localhost/posthouse:%s}" % version)

    def test_every_mount_exists_and_every_store_has_a_volume(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    if source.endswith("files/dashboards") and not (self.deploy / source).exists():
                        continue  # this release has none
                    self.assertTrue((self.deploy / source).exists(), "%s: %s" % (name, source))
                else:
                    self.assertIn(source, self.compose["volumes"])
        for name in SERVICES:
            has = any(v.endswith(":/var/lib/posthouse") for v in self.services[name]["volumes"])
            self.assertEqual(has, "data_dir" in self.config(name), name)

    def test_every_peer_is_a_service_at_its_port(self):
        for name in SERVICES:
            for target in re.findall(r"([a-z]+):(74\d\d)", (self.deploy / "compose/config" / (name + ".yaml")).read_text()):
                self.assertEqual(self.config(target[0])["rpc"]["port"], int(target[1]), (name, target))
        for key, value in self.services["ctl"]["environment"].items():
            found = re.fullmatch(r"([a-z]+):(74\d\d)", value)
            if found:
                self.assertEqual(self.config(found[1])["rpc"]["port"], int(found[2]), key)

    def test_published_ports_are_listened_on(self):
        for name in ("ingress", "gateway"):
            listens = {str(v["port"]) for v in self.config(name)[name].values()}
            self.assertEqual({p.split(":")[1] for p in self.services[name]["ports"]}, listens)

    def test_each_process_accepts_its_configuration(self):
        for name in SERVICES:
            text = (self.deploy / "compose/config" / (name + ".yaml")).read_text()
            here = self.dir / (name + ".yaml")
            here.write_text(text.replace("/run/posthouse/certificates", str(self.deploy / "compose/certificates"))
                            .replace("/var/lib/posthouse", str(self.dir / "data")))
            done = subprocess.run([PROGRAM, name, "--config", here, "--check-config"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, name + ": " + done.stdout)
            command = ["openssl", "verify", "-CAfile", "ca.crt", name + ".crt"]
            self.assertEqual(subprocess.run(command, cwd=self.deploy / "compose/certificates", stdout=subprocess.DEVNULL).returncode, 0)

    def test_promtool_accepts_the_configuration_of_prometheus(self):
        text = (self.deploy / "compose/prometheus.yaml").read_text()
        here = self.dir / "prometheus.yaml"
        here.write_text(text.replace("/etc/prometheus/rules", str(self.dir / "helm/posthouse/files/rules")))
        done = subprocess.run(["promtool", "check", "config", here], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        targets = yaml.safe_load(text)["scrape_configs"][0]["static_configs"][0]["targets"]
        self.assertEqual(sorted(targets), sorted("%s:%d" % (name, self.config(name)["http"]["port"]) for name in SERVICES))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
