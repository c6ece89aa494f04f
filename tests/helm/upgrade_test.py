"""What an upgrade keeps: the authority, certificates and passwords that the chart made, and the number of stores.

`lookup` asks the API server. Here that is an HTTP server with the objects of the rendering before, which knows discovery and GET, enough
for `helm template --dry-run=server`.
"""
import base64
import http.server
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import unittest

import chart

RESOURCES = {
    "v1": [("secrets", "Secret"), ("services", "Service"), ("configmaps", "ConfigMap"), ("persistentvolumeclaims", "PersistentVolumeClaim"), ("serviceaccounts", "ServiceAccount"), ("pods", "Pod")],
    "apps/v1": [("statefulsets", "StatefulSet"), ("deployments", "Deployment")], "batch/v1": [("jobs", "Job"), ("cronjobs", "CronJob")],
    "autoscaling/v2": [("horizontalpodautoscalers", "HorizontalPodAutoscaler")],
    "networking.k8s.io/v1": [("networkpolicies", "NetworkPolicy")], "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget")],
}


class ApiServer:
    """Discovery and GET of objects: {(kind, name): object}."""

    def __init__(self, things):
        self.things = {(t["kind"], t["metadata"]["name"]): t for t in things}
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                answer = outer.answer(self.path.split("?")[0])
                body = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}).encode()
                self.send_response(200 if answer else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]

    def answer(self, path):
        if path == "/version":
            return {"major": "1", "minor": "34", "gitVersion": "v" + chart.KUBERNETES}
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            groups = [(v.split("/")[0], {"groupVersion": v, "version": v.split("/")[1]}) for v in RESOURCES if "/" in v]
            groups = [{"name": name, "versions": [version], "preferredVersion": version} for name, version in groups]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        for version, resources in RESOURCES.items():
            base = "/api/v1" if version == "v1" else "/apis/" + version
            if path == base:
                return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [
                    {"name": name, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get", "list"]} for name, kind in resources]}
            for name, kind in resources:
                m = re.fullmatch("%s/namespaces/%s/%s/([^/]+)" % (base, chart.NAMESPACE, name), path)
                if m and (kind, m[1]) in self.things:
                    return self.things[kind, m[1]]
        return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def upgrade(things, values=None):
    """(exit code, objects, error) of a rendering in a cluster that has `things`."""
    with ApiServer(things) as api:
        folder = os.environ.get("TEST_TMPDIR", tempfile.gettempdir())
        config = os.path.join(folder, "kubeconfig-%d" % os.getpid())
        with open(config, "w") as f:
            json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": {"server": api.url}}],
                       "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]}, f)
        code, out, err = chart.template(values, "--dry-run=server", "--kubeconfig", config, "--is-upgrade", "--disable-openapi-validation")
        assert api.asked, "helm asked nothing"
        return code, chart.objects(out) if code == 0 else [], err


def secrets(things):
    """By name; without those of `helm test`, which makes its own anew each time."""
    return {t["metadata"]["name"]: t for t in things if t["kind"] == "Secret" and "helm.sh/hook" not in t["metadata"].get("annotations", {})}


class Upgrade(unittest.TestCase):
    VALUES = {"bootstrap": {"enabled": True, "account": "a@example.org"}}

    @classmethod
    def setUpClass(cls):
        cls.before = chart.render(cls.VALUES)

    def after(self, things, values=None):
        code, rendered, err = upgrade(things, values or self.VALUES)
        self.assertEqual(code, 0, err)
        return secrets(rendered)

    def changed(self, before, after):
        return sorted(n for n in before if n in after and before[n]["data"] != after[n]["data"])

    def test_nothing_secret_changes_without_a_reason(self):
        after = self.after(self.before)
        self.assertEqual(set(after), set(secrets(self.before)))
        self.assertEqual(self.changed(secrets(self.before), after), [])
        self.assertEqual({n: t["metadata"].get("annotations") for n, t in after.items()},
                         {n: t["metadata"].get("annotations") for n, t in secrets(self.before).items()})

    def test_a_new_installation_where_the_authority_was_kept_signs_with_it(self):
        kept = [t for t in self.before if t["kind"] == "Secret" and t["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"]
        after = self.after(kept)
        self.assertEqual(after["posthouse-ca"]["data"], secrets(self.before)["posthouse-ca"]["data"])
        self.assertEqual(after["posthouse-account"]["data"], secrets(self.before)["posthouse-account"]["data"])
        self.verify(after["posthouse-ca"], after["posthouse-queue-mtls"])

    def verify(self, authority, leaf):
        with tempfile.TemporaryDirectory() as folder:
            for name, secret in (("ca", authority), ("leaf", leaf)):
                with open(os.path.join(folder, name), "wb") as f:
                    f.write(base64.b64decode(secret["data"]["tls.crt"]))
            subprocess.run(["openssl", "verify", "-CAfile", "ca", "leaf"], cwd=folder, check=True, stdout=subprocess.DEVNULL)

    def test_an_existing_authority_signs_and_its_key_stays_where_it_is(self):
        given = secrets(chart.render({}, release="other"))["other-posthouse-ca"]
        given["metadata"]["name"] = "corp-ca"
        after = self.after([given], {"internalTLS": {"chart": {"existingCASecret": "corp-ca"}}})
        self.verify(given, after["posthouse-directory-mtls"])
        self.assertNotIn("posthouse-ca", after)
        self.assertFalse([n for n, t in after.items() if given["data"]["tls.key"] in t["data"].values()])

    def test_certificates_in_the_second_half_of_their_life_are_renewed_by_the_same_authority(self):
        things = json.loads(json.dumps(self.before))
        for name, thing in secrets(things).items():
            if name == "posthouse-gateway-mtls":
                thing["metadata"]["annotations"]["posthouse/renew-after"] = str(int(time.time()) - 1)
        after = self.after(things)
        self.assertEqual(self.changed(secrets(self.before), after), ["posthouse-gateway-mtls"])
        self.assertEqual(after["posthouse-gateway-mtls"]["data"]["ca.crt"], secrets(self.before)["posthouse-ca"]["data"]["tls.crt"])

    def test_a_lost_authority_renews_all_certificates(self):
        things = [t for t in self.before if t["metadata"]["name"] != "posthouse-ca"]
        changed = self.changed(secrets(things), self.after(things))
        self.assertEqual(len([n for n in changed if n.endswith("-mtls")]), 7)

    def test_another_host_name_renews_the_certificate_for_mail_clients_only(self):
        after = self.after(self.before, {**self.VALUES, "hostname": "mx.example.net"})
        self.assertEqual(self.changed(secrets(self.before), after), ["posthouse-tls"])

    def test_what_cannot_change_stays_whatever_values_change(self):
        """The API server refuses another selector, serviceName or claim template, and another type of a Secret."""
        before = {chart.key(t): t for t in self.before}
        for values in ({"preset": "medium", "image": {"tag": "9.9.9"}, "commonLabels": {"a": "b"}, "commonAnnotations": {"c": "d"}},
                       {"preset": "large", "pod": {"labels": {"e": "f"}}, "openshift": {"enabled": True}, "queue": {"replicas": 5}, "hostname": "mx.example.net",
                        "services": {"smtp": {"type": "LoadBalancer"}}, "ingress": {"autoscaling": {"type": "hpa"}}}):
            code, things, err = upgrade(self.before, {**self.VALUES, **values})
            self.assertEqual(code, 0, "%s %s" % (values, err))
            for thing in things:
                old = before.get(chart.key(thing))
                if old is None:
                    continue
                for field in {"Deployment": ["selector"], "StatefulSet": ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"],
                              "Service": ["clusterIP"]}.get(thing["kind"], []):
                    self.assertEqual(thing["spec"].get(field), old["spec"].get(field), "%s %s %s" % (values, chart.key(thing), field))
                if thing["kind"] == "Secret":
                    self.assertEqual(thing["type"], old["type"])

    def test_a_claim_that_would_change_is_refused_with_what_to_do(self):
        for key, value in (("size", "77Gi"), ("storageClassName", "fast"), ("accessModes", ["ReadWriteOncePod"]), ("annotations", {"a": "b"})):
            code, _, err = upgrade(self.before, {"mailbox": {"persistence": {key: value}}})
            self.assertNotEqual(code, 0, key)
            self.assertIn("mailbox.persistence.%s is" % key, err)
            self.assertIn("UPGRADE.md", err)
        self.assertEqual(upgrade(self.before, {"mailbox": {"persistence": {"size": "20Gi"}}})[0], 0)  # as it is

    def claim(self, name):
        return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": chart.NAMESPACE}}

    def test_kept_claims_of_the_other_mode_are_not_left_aside_silently(self):
        for mode, name in (("standalone", "data-posthouse-directory-0"), ("distributed", "data-posthouse-standalone-0")):
            code, _, err = upgrade([self.claim(name)], {"deploymentMode": mode})
            self.assertNotEqual(code, 0, mode)
            self.assertIn("the claim %s holds accounts of the other deploymentMode" % name, err)

    def test_kept_claims_of_more_stores_are_not_left_aside_silently(self):
        for service in ("queue", "mailbox"):
            kept = [self.claim("data-posthouse-%s-%d" % (service, n)) for n in range(3)]
            code, _, err = upgrade(kept, {service: {"replicas": 2}})
            self.assertNotEqual(code, 0)
            self.assertIn("the claim data-posthouse-%s-2 of an earlier installation" % service, err)
            self.assertEqual(upgrade(kept, {service: {"replicas": 3}})[0], 0)

    def test_fewer_stores_are_refused_and_more_are_not(self):
        things = chart.render({"queue": {"replicas": 3}, "mailbox": {"replicas": 3}})
        for service in ("queue", "mailbox"):
            values = {"queue": {"replicas": 3}, "mailbox": {"replicas": 3}, service: {"replicas": 2}}
            code, _, err = upgrade(things, values)
            self.assertNotEqual(code, 0)
            self.assertIn("posthouse-%s has 3 replicas and would have 2" % service, err)
            self.assertEqual(upgrade(things, {**values, service: {"replicas": 4}})[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
