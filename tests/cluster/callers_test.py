"""Each certificate that the chart makes against each method of each service: exactly the rows of services/common/rpc/callers.cc.

The chart is rendered and started; then a client with the certificate of each service, of the administrator, of nobody (signed by the same
authority under another name) and of another authority calls every method with an empty request.
"""
import base64
import os
import re
import ssl
import subprocess
import unittest

from cluster import Cluster, chart
from grpc_call import call

CALLERS = ["ingress", "routing", "directory", "queue", "mailbox", "gateway", "admin"]
HOSTS = CALLERS[:-1]
PERMISSION_DENIED, UNIMPLEMENTED = 7, 12
SERVER = {"directory": "posthouse-directory-0", "queue": "posthouse-queue-0", "mailbox": "posthouse-mailbox-0"}


def table():
    """{"package.Service/Method": set of callers}, read from the source."""
    with open("services/common/rpc/callers.cc", encoding="utf-8") as f:
        text = re.sub(r"//[^\n]*", "", f.read())
    names = dict(re.findall(r'(k\w+Service) = "([\w.]+)"', text))
    callers = lambda words: {w[1:].lower() for w in re.findall(r"k[A-Z]\w+", words)}
    rows = {"%s/%s" % (names[s], m): callers(c) for s, m, c in re.findall(r'\{(k\w+Service), "(\w+)", \{([\w, ]+)\}\}', text)}
    for methods, service, words in re.findall(r"for \(const absl::string_view method :\s*\{([^}]*)\}\) \{\s*table.push_back\(\{(k\w+), method, \{([\w, ]+)\}\}\)", text):
        rows.update({"%s/%s" % (names[service], m): callers(words) for m in re.findall(r'"(\w+)"', methods)})
    return rows


class Callers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster({})
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)

    def path(self, *parts):
        return os.path.join(self.cluster.dir, *parts)

    def secret(self, name):
        """The files of a Secret: (certificate, key, authority)."""
        folder = self.path("identity-" + name)
        os.makedirs(folder, exist_ok=True)
        for key, value in self.cluster.object("Secret", name)["data"].items():
            with open(os.path.join(folder, key), "wb") as f:
                f.write(base64.b64decode(value))
        return tuple(os.path.join(folder, f) for f in ("tls.crt", "tls.key", "ca.crt"))

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, cwd=self.cluster.dir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def signed(self, name, common_name, authority):
        """A certificate with this name, by the authority in this Secret, or by itself without one."""
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", name + ".key", "-subj", "/CN=" + common_name]
        if authority is None:
            self.openssl(*new, "-x509", "-days", "2", "-out", name + ".crt")
        else:
            crt, key, _ = self.secret(authority)
            self.openssl(*new, "-out", name + ".csr")
            self.openssl("x509", "-req", "-in", name + ".csr", "-CA", crt, "-CAkey", key, "-CAcreateserial", "-days", "2", "-out", name + ".crt")
        return self.path(name + ".crt"), self.path(name + ".key")

    def place(self, method):
        """(address, port, host) of the process that has the method, and its name."""
        component = re.match(r"posthouse\.(\w+)\.v1\.", method)[1]
        component = {"sessions": "gateway"}.get(component, component)
        component = component if component in HOSTS else "directory"  # what several services have
        pod = next(p for p in self.cluster.pods if p.component == component)
        port = next(p["containerPort"] for p in pod.container["ports"] if p["name"] == "rpc")
        host = "posthouse-%s.%s.svc.cluster.local" % (component, chart.NAMESPACE)
        return (pod.address, port, "%s.%s" % (SERVER[component], host) if component in SERVER else host)

    def test_each_certificate_may_call_the_methods_of_its_rows_and_no_others(self):
        rows = table()
        self.assertGreater(len(rows), 45)
        self.assertEqual({c for row in rows.values() for c in row} - set(CALLERS), set())
        allowed, absent = 0, set()
        for caller in CALLERS:
            certificate, key, ca = self.secret("posthouse-%s-mtls" % caller)
            for method, callers in rows.items():
                status = call(*self.place(method), method, certificate, key, ca)
                if status == UNIMPLEMENTED:
                    absent.add(method.split("/")[0])
                elif caller in callers:
                    self.assertNotEqual(status, PERMISSION_DENIED, "%s may call %s" % (caller, method))
                    allowed += 1
                else:
                    self.assertEqual(status, PERMISSION_DENIED, "%s may not call %s" % (caller, method))
        self.assertLessEqual(absent, {"posthouse.backup.v1.BackupService"}, "services that nobody serves")
        print("%d calls, %d of them allowed" % (len(CALLERS) * len(rows), allowed))

    def test_a_name_that_is_no_service_may_call_nothing(self):
        certificate, key = self.signed("stranger", "posthouse-stranger.mail.svc", "posthouse-ca")
        ca = self.secret("posthouse-ingress-mtls")[2]
        for method in table():
            status = call(*self.place(method), method, certificate, key, ca)
            self.assertIn(status, (PERMISSION_DENIED, UNIMPLEMENTED), method)

    def test_another_authority_gets_no_connection(self):
        certificate, key = self.signed("admin", "posthouse-admin.mail.svc", None)
        ca = self.secret("posthouse-ingress-mtls")[2]
        for method in sorted(table())[::7]:
            with self.assertRaises((ConnectionError, ssl.SSLError), msg=method):
                call(*self.place(method), method, certificate, key, ca)

    def test_the_public_certificate_is_no_identity(self):
        certificate, key, _ = self.secret("posthouse-tls")
        ca = self.secret("posthouse-ingress-mtls")[2]
        with self.assertRaises((ConnectionError, ssl.SSLError)):
            method = "posthouse.directory.v1.DirectoryService/GetAccount"
            call(*self.place(method), method, certificate, key, ca)


if __name__ == "__main__":
    unittest.main(verbosity=2)
