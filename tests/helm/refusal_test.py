"""Values that cannot work are refused with a sentence that names them; the schema of the values is closed."""
import concurrent.futures
import json
import pathlib
import re
import unittest

import chart

# (values, what the error says)
MIXES = [
    ({"tls": {"mode": "existingSecret"}}, "tls.existingSecret is empty"),
    ({"tls": {"existingSecret": "mail"}}, "tls.mode is chart"),
    ({"tls": {"mode": "certManager"}}, "tls.certManager.issuerName is empty"),
    ({"internalTLS": {"mode": "existingSecrets"}}, "internalTLS.existingSecrets.directory is empty"),
    ({"deploymentMode": "standalone", "internalTLS": {"existingSecrets": {"ingress": "a"}}}, "set internalTLS.existingSecrets.standalone"),
    ({"internalTLS": {"chart": {"existingCASecret": "corp-ca"}}}, "there is no Secret corp-ca in the namespace"),
    ({"proxyProtocol": {"enabled": True}}, "proxyProtocol.trustedCIDRs is empty"),
    ({"proxyProtocol": {"enabled": True, "trustedCIDRs": ["0.0.0.0/0"]}}, "not all addresses"),
    ({"proxyProtocol": {"enabled": True, "trustedCIDRs": ["lb.example.net"]}}, "no names"),
    ({"config": {"ingress": {"relay_networks": ["::/0"]}}}, "open relay"),
    ({"deploymentMode": "standalone", "gateway": {"autoscaling": {"type": "hpa"}}}, "use deploymentMode distributed"),
    ({"ingress": {"autoscaling": {"type": "hpa", "minReplicas": 9, "maxReplicas": 3}}}, "minReplicas is more than maxReplicas"),
    ({"ingress": {"autoscaling": {"type": "keda", "cpuPercent": 0}}}, "nothing would scale it"),
    ({"ingress": {"replicas": 3, "autoscaling": {"type": "hpa"}}}, "exclude each other"),
    ({"mailbox": {"persistence": {"size": "20 GB"}}}, "write it as 20Gi"),
    ({"config": {"queue": {"shard": "x"}}}, "config.queue.shard is set by the chart"),
    ({"config": {"ingress": {"smtp": {"port": 25}}}}, "use services and proxyProtocol"),
    ({"bootstrap": {"enabled": True}}, "bootstrap.account is empty"),
    ({"probe": {"enabled": True}}, "the probe needs an account"),
    ({"probe": {"caSecret": "ca"}}, "which the probe trusts already"),
    ({"headless": {"ipFamilies": ["IPv6"]}}, "headless has IPv6 addresses"),
    ({"services": {"imap": {"ipFamilyPolicy": "PreferDualStack"}}}, "services.imap has IPv6 addresses"),
    ({"probe": {"enabled": True, "account": "a@example.org"}}, "the probe needs the password"),
    ({"bootstrap": {"enabled": True, "account": "a@example.org"}, "probe": {"enabled": True, "account": "b@example.org"}}, "must have its password"),
    ({"bootstrap": {"enabled": True, "account": "a@example.org"}, "probe": {"enabled": True}, "services": {"imap": {"ports": {"imaps": 0}}}},
     "the probe needs services.submission.ports.submissions and"),
    ({"gatewayAPI": {"enabled": True}}, "a route needs a Gateway"),
    ({"backup": {"enabled": True}}, "backup.existingClaim is empty"),
]
# (values, the place that the schema names)
SHAPES = [
    ({"replicaCount": 2}, "replicaCount"),
    ({"ingres": {}}, "ingres"),
    ({"ingress": {"replica": 2}}, "replica"),
    ({"ingress": {"replicas": "2"}}, "/ingress/replicas"),
    ({"ingress": {"pod": {"nodeSelectors": {}}}}, "nodeSelectors"),
    ({"deploymentMode": "microservices"}, "/deploymentMode"),
    ({"storage": {"engine": "rados"}}, "/storage/engine"),
    ({"preset": "huge"}, "/preset"),
    ({"hostname": "mail example"}, "/hostname"),
    ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
    ({"mailbox": {"persistence": {"accessModes": ["ReadWriteMany"]}}}, "accessModes"),
    ({"services": {"smtp": {"type": "ExternalName"}}}, "/services/smtp/type"),
    ({"services": {"smtp": {"ports": {"smtps": 465}}}}, "smtps"),
    ({"services": {"smtp": {"ports": {"smtp": 70000}}}}, "/services/smtp/ports/smtp"),
    ({"queue": {"shutdown": {"drainSeconds": 0}}}, "drainSeconds"),
    ({"monitoring": {"monitor": "podmonitor"}}, "/monitoring/monitor"),
    ({"bootstrap": {"account": "no at"}}, "/bootstrap/account"),
    ({"probe": {"interval": "1 minute"}}, "/probe/interval"),
    ({"backup": {"keepFor": "two weeks"}}, "/backup/keepFor"),
    ({"commonLabels": {"a": 1}}, "/commonLabels/a"),
]
# Keys whose contents are not the chart's: sections of the configuration, and parts of Kubernetes objects.
OPEN = re.compile(r"\.(annotations|labels|commonLabels|commonAnnotations|nodeSelector|affinity|dnsConfig|resources|behavior|dashboardLabels"
                  r"|dashboardAnnotations)$|^\.config\.(store|ingress|routing|directory|queue|mailbox|gateway)$|^\.global$")


def refusals(cases):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(zip(cases, pool.map(lambda c: chart.template(c[0]), cases)))


class Refusals(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.mixes = refusals(MIXES)

    def test_each_impossible_mix_is_refused_with_a_sentence(self):
        for (values, wanted), (code, _, err) in self.mixes:
            self.assertNotEqual(code, 0, values)
            sentence = [line for line in err.strip().splitlines() if not line.startswith("Use --debug") and line][-1]
            self.assertIn(wanted, sentence, values)
            self.assertRegex(sentence, r"\.$", "no sentence")
            self.assertNotIn("nil pointer", err)

    def test_each_sentence_of_the_templates_has_its_case(self):
        text = "".join(p.read_text("utf-8") for p in sorted(pathlib.Path(chart.CHART, "templates").glob("**/*")) if p.is_file())
        sentences = re.findall(r'fail (?:\(printf )?"([^"]*)"', text)
        self.assertGreater(len(sentences), 20)
        seen = [err for _, (_, _, err) in self.mixes]
        for sentence in sentences:
            if re.search("would have %d|the claim |the StatefulSet in the cluster", sentence):
                continue  # asks the cluster: upgrade_test
            pieces = max(re.split(r"%\w|%q", sentence), key=len).strip(". ")
            self.assertTrue([e for e in seen if pieces in e.replace('\\"', '"')], "no case shows: %s" % sentence)

    def test_the_schema_refuses_unknown_keys_and_wrong_shapes(self):
        for (values, wanted), (code, _, err) in refusals(SHAPES):
            self.assertNotEqual(code, 0, values)
            self.assertIn(wanted, err, values)

    def test_the_schema_is_closed_where_the_keys_are_the_charts(self):
        schema = json.loads(pathlib.Path(chart.CHART, "values.schema.json").read_text("utf-8"))
        opened = []

        def walk(node, at):
            if node.get("type") == "object" and node.get("additionalProperties") is not False:
                opened.append(at)
            for key, value in node.get("properties", {}).items():
                walk(value, at + "." + key)

        walk(schema, "")
        self.assertEqual([at for at in opened if not OPEN.search(at)], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
