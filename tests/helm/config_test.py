"""What the chart renders for programs: each configuration passes the program's own check, each rule promtool's, and certificates fit."""
import base64
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import chart
import yaml
from posthouse import binary

RENDERED = {}


def setUpModule():
    RENDERED.update({name: chart.render(values) for name, values in chart.value_sets().items()})


def run(*command, **kwargs):
    return subprocess.run(command, text=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)


def ordinals(shard):
    """(name, target) of each shard of a range {FIRST..LAST}, as the programs expand it."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", shard["name"])
    numbers = range(int(found[1]), int(found[2]) + 1) if found else [None]
    return [tuple(shard[k].replace(found[0], str(n)) if found else shard[k] for k in ("name", "target")) for n in numbers]


class Configurations(unittest.TestCase):
    def each(self):
        """(where, object, parsed configuration) of each configuration file."""
        for name, things in RENDERED.items():
            for thing in things:
                if thing["kind"] == "ConfigMap" and "config.yaml" in thing["data"]:
                    yield "%s: %s" % (name, chart.key(thing)), thing, yaml.safe_load(thing["data"]["config.yaml"])

    def test_each_configuration_passes_the_check_of_its_program(self):
        seen = set()
        with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as folder:
            for where, thing, _ in self.each():
                if thing["data"]["config.yaml"] in seen:
                    continue
                seen.add(thing["data"]["config.yaml"])
                component = thing["metadata"]["labels"]["app.kubernetes.io/component"]
                pod = thing["metadata"]["name"] + "-0"
                path = os.path.join(folder, "config.yaml")
                pathlib.Path(path).write_text(thing["data"]["config.yaml"], "utf-8")
                done = run(binary("posthouse"), component, "--config", path, "--check-config",
                           env={"PATH": "/usr/bin:/bin", "POD_NAME": pod, "POD_NAMESPACE": chart.NAMESPACE})
                # The certificates of the pod are not here.
                lines = [line for line in done.stdout.splitlines() if not re.match(r"warning: (rpc|tls\.certificates\[\d+\]): cannot ", line)]
                self.assertEqual((done.returncode, lines), (0, ["ok"]), where)

    def test_targets_of_peers_are_services_and_pods_of_the_rendering(self):
        for where, _, config in self.each():
            things = RENDERED[where.split(":")[0]]
            hosts = {}
            for service in (t for t in things if t["kind"] == "Service" and t["spec"].get("clusterIP") == "None"):
                host = "%s.%s.svc.cluster.local" % (service["metadata"]["name"], chart.NAMESPACE)
                port = next(p["port"] for p in service["spec"]["ports"] if p["name"] == "rpc")
                hosts[host] = port
                for workload in things:
                    if workload["kind"] == "StatefulSet" and workload["spec"]["serviceName"] == service["metadata"]["name"]:
                        hosts.update({"%s-%d.%s" % (workload["metadata"]["name"], i, host): port for i in range(workload["spec"]["replicas"])})
            peers = config.get("peers", {})
            self.assertNotIn("queue", peers, where)  # targets without names: a call would not say which shard it means
            shards = [each for key in ("queue_shards", "mailbox") for shard in peers.get(key, []) for each in ordinals(shard)]
            for target in [peers[k] for k in ("directory", "routing") if k in peers] + [target for _, target in shards]:
                host, port = re.fullmatch(r"dns:///(.+):(\d+)", target).groups()
                self.assertEqual(hosts.get(host), int(port), "%s: %s" % (where, target))
            for key, kind in (("queue_shards", "queue"), ("mailbox", "mailbox")):
                if key in peers:
                    workload = next(t for t in things if chart.key(t).startswith("StatefulSet/") and t["metadata"]["name"].endswith("-" + kind))
                    self.assertEqual(len([s for shard in peers[key] for s in ordinals(shard)]), workload["spec"]["replicas"], where)

    def test_more_shards_change_a_range_and_no_list(self):
        for count in (1, 3, 40):
            config = yaml.safe_load(next(t for t in chart.render({"queue": {"replicas": count}, "mailbox": {"replicas": count}})
                                         if chart.key(t) == "ConfigMap/posthouse-ingress")["data"]["config.yaml"])
            self.assertEqual([s["name"] for k in ("queue_shards", "mailbox") for s in config["peers"][k]],
                             ["posthouse-queue-{0..%d}" % (count - 1), "posthouse-mailbox-{0..%d}" % (count - 1)])

    def test_each_shard_is_a_peer_and_has_the_name_of_its_pod(self):
        for where, thing, config in self.each():
            for key in ("mailbox", "queue_shards"):
                for store in config.get("peers", {}).get(key, []):
                    self.assertTrue(store["target"].startswith("dns:///%s." % store["name"]), where)
            if "directory" in config.get("peers", {}):
                name = config["peers"]["directory_shard"]
                self.assertEqual([chart.key(t) for t in RENDERED[where.split(":")[0]] if t["kind"] == "StatefulSet" and t["metadata"]["name"] + "-0" == name],
                                 ["StatefulSet/" + name[:-2]], where)
            if thing["metadata"]["labels"]["app.kubernetes.io/component"] in ("directory", "queue", "mailbox"):
                section = config[thing["metadata"]["labels"]["app.kubernetes.io/component"]]
                self.assertEqual(section["shard"], "${POD_NAME}", where)

    def test_ports_of_the_configuration_are_those_of_the_container(self):
        for where, thing, config in self.each():
            workload = next(t for t in RENDERED[where.split(":")[0]] if t["kind"] in ("Deployment", "StatefulSet")
                            and t["metadata"]["name"] == thing["metadata"]["name"])
            ports = {p["name"]: p["containerPort"] for p in chart.pod_spec(workload)["containers"][0]["ports"]}
            listeners = {"http": config["http"]["port"], "rpc": config["rpc"]["port"]}
            for section in ("ingress", "gateway"):
                for name, value in config.get(section, {}).items():
                    if isinstance(value, dict) and "port" in value:
                        listeners[name] = value["port"]
                    if isinstance(value, dict) and "proxy_port" in value:
                        listeners[name + "-pp"] = value["proxy_port"]
                        self.assertTrue(value["proxy_from"], where)
            self.assertEqual(ports, listeners, where)

    def test_paths_of_the_configuration_are_in_mounts(self):
        for where, thing, _ in self.each():
            workload = next(t for t in RENDERED[where.split(":")[0]] if t["kind"] in ("Deployment", "StatefulSet")
                            and t["metadata"]["name"] == thing["metadata"]["name"])
            mounts = [m["mountPath"] for m in chart.pod_spec(workload)["containers"][0]["volumeMounts"]]
            for path in re.findall(r"(?m): (/\S+)$", thing["data"]["config.yaml"]):
                self.assertTrue([m for m in mounts if path == m or path.startswith(m + "/")], "%s: %s" % (where, path))


class Certificates(unittest.TestCase):
    def secret(self, name, things):
        data = next(t["data"] for t in things if t["kind"] == "Secret" and t["metadata"]["name"] == name)
        for key, value in data.items():
            pathlib.Path(self.folder, key).write_bytes(base64.b64decode(value))

    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def openssl(self, *args):
        done = run("openssl", *args, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def names(self):
        return re.findall(r"DNS:([^\s,]+)", self.openssl("x509", "-in", "tls.crt", "-noout", "-ext", "subjectAltName"))

    def test_certificates_of_services_are_signed_for_both_sides_and_have_the_names_that_peers_dial(self):
        things = RENDERED["04-large-hpa"]
        dialled = {}
        for thing in things:
            if thing["kind"] == "ConfigMap" and "config.yaml" in thing["data"]:
                peers = yaml.safe_load(thing["data"]["config.yaml"]).get("peers", {})
                targets = [peers[k] for k in ("directory", "routing") if k in peers]
                targets += [t for k in ("queue_shards", "mailbox") for s in peers.get(k, []) for _, t in ordinals(s)]
                for target in targets:
                    host = re.match(r"dns:///([^:\s]+):", target)[1]
                    dialled.setdefault(re.search(r"posthouse-(\w+)\.mail\.svc", host)[1], set()).add(host)
        self.assertEqual(set(dialled), {"directory", "routing", "queue", "mailbox"})
        for component in ("ingress", "routing", "directory", "queue", "mailbox", "gateway", "admin"):
            self.secret("posthouse-%s-mtls" % component, things)
            self.openssl("verify", "-CAfile", "ca.crt", "-purpose", "sslserver", "tls.crt")
            self.openssl("verify", "-CAfile", "ca.crt", "-purpose", "sslclient", "tls.crt")
            for host in dialled.get(component, ()):
                self.assertIn("does match", self.openssl("x509", "-in", "tls.crt", "-noout", "-checkhost", host), host)
            self.assertEqual(self.openssl("x509", "-in", "tls.crt", "-noout", "-pubkey"), self.openssl("pkey", "-in", "tls.key", "-pubout"))

    def test_each_certificate_is_the_identity_of_one_service_in_each_configuration(self):
        things = RENDERED["01-defaults"]
        for thing in things:
            if thing["kind"] != "ConfigMap":
                continue
            identities = {i["certificate"]: i["caller"] for i in yaml.safe_load(thing["data"]["config.yaml"])["rpc"]["identities"]}
            self.assertEqual(len(set(identities.values())), 7)
            for component in ("ingress", "routing", "directory", "queue", "mailbox", "gateway", "admin"):
                self.secret("posthouse-%s-mtls" % component, things)
                self.assertEqual([identities[n] for n in self.names() if n in identities], [component])

    def test_lifetimes_are_those_of_the_values(self):
        things = chart.render({"internalTLS": {"chart": {"caDays": 77, "days": 33}}})
        self.secret("posthouse-ca", things)
        for days, name in ((76, "posthouse-ca"), (32, "posthouse-queue-mtls")):
            self.secret(name, things)
            self.assertEqual(run("openssl", "x509", "-in", "tls.crt", "-noout", "-checkend", str(days * 86400), cwd=self.folder).returncode, 0, name)
            self.assertEqual(run("openssl", "x509", "-in", "tls.crt", "-noout", "-checkend", str((days + 2) * 86400), cwd=self.folder).returncode, 1, name)

    def test_the_certificate_for_mail_clients_has_the_host_name(self):
        things = chart.render({"hostname": "mx.example.net", "tls": {"extraNames": ["imap.example.net"]}})
        self.secret("posthouse-tls", things)
        self.assertEqual(self.names(), ["mx.example.net", "imap.example.net"])

    def test_cert_manager_is_asked_for_the_names_that_the_chart_would_use(self):
        asked = {t["spec"]["secretName"]: t["spec"]["dnsNames"] for t in RENDERED["06-cert-manager"] if t["kind"] == "Certificate" and "dnsNames" in t["spec"]}
        for component in ("ingress", "routing", "directory", "queue", "mailbox", "gateway", "admin"):
            self.secret("posthouse-%s-mtls" % component, RENDERED["01-defaults"])
            self.assertEqual(asked["posthouse-%s-mtls" % component], self.names())


class Rules(unittest.TestCase):
    def test_promtool_accepts_the_rendered_rules_and_no_placeholder_is_left(self):
        rules = [t for t in chart.render({"monitoring": {"rules": True}}) if t["kind"] == "PrometheusRule"]
        self.assertGreaterEqual(len(rules), 8)
        for rule in rules:
            path = os.path.join(os.environ.get("TEST_TMPDIR", "/tmp"), "rule.yaml")
            pathlib.Path(path).write_text(yaml.safe_dump(rule["spec"]), "utf-8")
            done = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", path)
            self.assertEqual(done.returncode, 0, "%s\n%s" % (chart.key(rule), done.stdout))


if __name__ == "__main__":
    unittest.main(verbosity=2)
