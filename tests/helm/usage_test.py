"""Each value of values.yaml changes what is rendered: none is dead.

A value is changed in a rendering where it counts (CONTEXTS), together with its siblings of the other services, and the objects of each
of these must differ from the same rendering without the change.
"""
import collections
import concurrent.futures
import copy
import pathlib
import re
import unittest

import chart
import yaml

SERVICES = ["ingress", "routing", "gateway", "directory", "queue", "mailbox"]
FAMILIES = ["smtp", "submission", "imap", "pop3"]
# How a value differs from its default where its type does not say it, by the end of its path.
OTHERS = {
    "preset": "medium", "listenAddress": "::", "image.digest": "sha256:" + "a" * 64, "image.pullPolicy": "Always", "config.log_level": "debug",
    "type": "NodePort", "externalTrafficPolicy": "Cluster", "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"],
    "accessModes": ["ReadWriteOncePod"], "whenDeleted": "Delete", "whenScaled": "Delete", "persistence.size": "77Gi",
    "tolerations": [{"key": "zz", "operator": "Exists"}], "topologySpreadConstraints": [{"maxSkew": 5}], "extraEnv": [{"name": "ZZ", "value": "1"}],
    "extraVolumes": [{"name": "zz", "emptyDir": {}}], "extraVolumeMounts": [{"name": "zz", "mountPath": "/zz"}],
    "affinity": {"nodeAffinity": {"zz": []}}, "dnsConfig": {"nameservers": ["192.0.2.53"]}, "resources": {"requests": {"cpu": "77m"}},
    "loadBalancerSourceRanges": ["192.0.2.0/24"], "externalIPs": ["192.0.2.1"], "trustedCIDRs": ["192.0.2.0/24"], "proxyProtocol.families": ["imap"],
    "gatewayAPI.parentRefs": [{"name": "zz"}], "dnsPorts": [5300], "smtpPorts": [2600], "probe.interval": "77s", "bootstrap.account": "zz@example.org",
    "probe.account": "zz@example.org", "monitoring.monitor": "ServiceMonitor", "excludeRules": ["queue"], "extraObjects": ["kind: Zz\nmetadata: {name: zz}"],
    "behavior": {"scaleUp": {"stabilizationWindowSeconds": 77}}, "autoscaling.metrics": [{"type": "Pods"}], "autoscaling.type": "keda",
    "metricsFrom": [], "mailFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "dnsTo": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    "smtpTo": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "extraIngress": [{"ports": [{"port": 77}]}], "extraEgress": [{"ports": [{"port": 77}]}],
    "relabelings": [{"action": "labeldrop", "regex": "zz"}], "metricRelabelings": [{"action": "labeldrop", "regex": "zz"}],
    "tls.mode": "certManager", "internalTLS.mode": "certManager", "issuerKind": "ClusterIssuer", "tls.certManager.issuerKind": "Issuer",
    "tracing.endpoint": "zz.example:77", "samplingRatio": 0.77, "networkPolicyTo": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    "backup.keepFor": "77d", "hostname": "zz.example.net", "replicas": 7, "deploymentMode": "standalone",
}
ISSUED = {"tls": {"mode": "certManager", "certManager": {"issuerName": "i"}}, "internalTLS": {"mode": "certManager"}}
SCALED = {s: {"autoscaling": {"type": "hpa"}} for s in ("ingress", "routing", "gateway")}
BALANCED = {"services": {f: {"type": "LoadBalancer"} for f in FAMILIES}}
OWN = {"internalTLS": {"mode": "existingSecrets", "existingSecrets": {s: "s" for s in SERVICES + ["admin"]}}}
FIRST = {"bootstrap": {"enabled": True, "account": "a@example.org"}, "probe": {"enabled": True, "test": True}}
WATCHED = {"monitoring": {"monitor": "PodMonitor", "rules": True, "dashboards": True}}
# (beginning of paths, values where they count); the longest beginning wins.
CONTEXTS = [
    ("", {}), ("tls.mode", {"tls": {"certManager": {"issuerName": "i"}}}), ("tls.certManager", ISSUED), ("internalTLS.certManager", ISSUED),
    ("internalTLS.certManager.issuerKind", {"internalTLS": {"mode": "certManager", "certManager": {"issuerName": "i"}}}),
    ("tls.existingSecret", {"tls": {"mode": "existingSecret", "existingSecret": "s"}}), ("internalTLS.existingSecrets", OWN),
    ("services", BALANCED), ("services.*.type", {}), ("services.*.nodePorts", {"services": {f: {"type": "NodePort"} for f in FAMILIES}}),
    ("proxyProtocol", {"proxyProtocol": {"enabled": True, "trustedCIDRs": ["198.51.100.0/24"]}}),
    ("proxyProtocol.enabled", {"proxyProtocol": {"trustedCIDRs": ["198.51.100.0/24"]}}),
    ("gatewayAPI", {"gatewayAPI": {"enabled": True, "parentRefs": [{"name": "g"}]}}), ("gatewayAPI.enabled", {"gatewayAPI": {"parentRefs": [{"name": "g"}]}}),
    ("monitoring", WATCHED), ("monitoring.rules", {}), ("monitoring.dashboards", {}), ("monitoring.monitor", {}),
    ("tracing", {"tracing": {"endpoint": "collector:4317"}}), ("tracing.endpoint", {}),
    ("bootstrap", FIRST), ("probe", FIRST), ("probe.caSecret", {**FIRST, "tls": {"mode": "existingSecret", "existingSecret": "s"}}), ("probe.passwordKey", {**FIRST, "probe": {"enabled": True, "existingSecret": "s"}}),
    ("probe.account", {**FIRST, "probe": {"enabled": True, "test": True, "existingSecret": "s"}}),
    ("bootstrap.enabled", {"bootstrap": {"account": "a@example.org"}}), ("bootstrap.account", {"bootstrap": {"enabled": True, "account": "a@example.org"}}),
    ("probe.enabled", {"bootstrap": FIRST["bootstrap"]}), ("probe.test", {"bootstrap": FIRST["bootstrap"]}),
    ("*.autoscaling", SCALED), ("*.autoscaling.type", {}), ("standalone", {"deploymentMode": "standalone"}),
    ("internalTLS.existingSecrets.standalone", {"deploymentMode": "standalone", "internalTLS": {"mode": "existingSecrets", "existingSecrets": {"standalone": "s", "admin": "s"}}}),
    ("serviceAccount.name", {}),
    ("backup", {"backup": {"enabled": True, "existingClaim": "c"}}), ("backup.enabled", {"backup": {"existingClaim": "c"}}),
]
# Values that cannot differ in a rendering, and why.
ONE_VALUE = {"internalTLS.chart.existingCASecret": "upgrade_test has a cluster with one",
             "internalTLS.chart.caDays": "config_test reads the certificate", "internalTLS.chart.days": "config_test reads the certificate",
             "storage.engine": "one engine exists", "tls.existingSecret": "covered by tls.mode existingSecret in values/07"}


def leaves(node, at=()):
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, at + (key,))
        else:
            yield at + (key,), value


def other(path, default):
    dotted = ".".join(path)
    for end in sorted(OTHERS, key=len, reverse=True):
        if dotted == end or dotted.endswith("." + end):
            return OTHERS[end]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, list):
        return ["zz"]
    if isinstance(default, dict):
        return {"zz": "zz"}
    return "zz" if not default.endswith("h") else "77h"


def context(path):
    def fits(pattern):
        parts = [p for p in pattern.split(".") if p]
        return len(parts) <= len(path) and all(p in ("*", q) for p, q in zip(parts, path))
    best = max((p for p, _ in CONTEXTS if fits(p)), key=lambda p: (len([x for x in p.split(".") if x]), -p.count("*")))
    return next(v for p, v in CONTEXTS if p == best)


def family(path):
    """Paths that are changed together: those of the services, and those of the protocol families."""
    if path[0] in SERVICES and len(path) > 1:
        return ("SERVICE",) + path[1:]
    if path[0] == "services" and path[-2] in ("ports", "nodePorts"):
        return ("services", "FAMILY", path[-2])
    if path[0] == "services":
        return ("services", "FAMILY") + path[2:]
    return path


def put(into, path, value):
    for key in path[:-1]:
        into = into.setdefault(key, {})
    into[path[-1]] = value


def documents(text):
    """(kind, name, component, text) of each document of a rendering. Texts are compared, so nothing needs parsing."""
    found = []
    # Keys, certificates and passwords that the chart makes differ each time.
    text = re.sub(r"(?m)^(  [\w.-]+): (?:[A-Za-z0-9+/]{32,}=*)$|^(    posthouse/renew-after): .*$", r"\1\2: (generated)", text)
    for each in text.split("\n---\n"):
        kind, name, component = (re.search(p, each, re.M) for p in (r"^kind: (\S+)", r"^  name: (\S+)", r"app.kubernetes.io/component: (\S+)"))
        found.append((kind and kind[1], name and name[1], component and component[1], each))
    return found


def part(path, things):
    """The documents that the value at `path` must change."""
    kept = things
    if path[0] in SERVICES and len(path) > 1:
        kept = [t for t in kept if t[2] == path[0]]
    if path[0] == "services":
        kept = [t for t in kept if t[1].endswith("-" + path[1]) or t[0] == "ConfigMap"]
    return sorted(t[3] for t in kept)


class Usage(unittest.TestCase):
    def test_each_value_changes_what_is_rendered(self):
        values = yaml.safe_load(pathlib.Path(chart.CHART, "values.yaml").read_text("utf-8"))
        groups = collections.defaultdict(list)
        for path, default in leaves(values):
            if ".".join(path) not in ONE_VALUE and not (path[-1] == "pod" and default == {}):
                groups[family(path)].append((path, default))
        # `pod` of a service overrides `pod`: one key of it shows that.
        groups[("SERVICE", "pod")] = [((s, "pod", "priorityClassName"), "") for s in SERVICES]

        def one(items):
            base = copy.deepcopy(context(items[0][0]))
            changed = copy.deepcopy(base)
            for path, default in items:
                put(changed, path, other(path, default))
            return base, changed

        pairs = {name: one(items) for name, items in groups.items()}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            bases = {str(b): b for b, _ in pairs.values()}
            rendered = dict(zip(bases, pool.map(lambda v: documents(chart.template(v)[1]), bases.values())))
            after = dict(zip(pairs, pool.map(lambda p: chart.template(p[1], "--skip-schema-validation"), pairs.values())))
        dead = []
        for name, items in groups.items():
            code, out, err = after[name]
            self.assertEqual(code, 0, "%s: %s" % (name, err))
            things = documents(out)
            for path, _ in items:
                if part(path, things) == part(path, rendered[str(pairs[name][0])]):
                    dead.append(".".join(path))
        self.assertGreater(sum(map(len, groups.values())), 250)
        self.assertEqual(dead, [], "values that change nothing")


if __name__ == "__main__":
    unittest.main(verbosity=2)
