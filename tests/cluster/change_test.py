"""What changes in a cluster that works, under load: more and fewer pods, new certificates, a new configuration, killed processes, a lost node.

SEED=n repeats a run's choices.
"""
import base64
import hashlib
import os
import smtplib
import socket
import ssl
import subprocess
import time
import unittest

from cluster import Cluster, merged
from counted_mail import PASSWORD, connect
from load import MENDED, TEMPORARY, VALUES, Load

SEED = int(os.environ.get("SEED", str(int(time.time()))))
COMPONENTS = ["ingress", "routing", "directory", "queue", "mailbox", "gateway"]


def shown(address, port, certificate=None):
    """SHA-256 of the certificate that a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((address, port), 10) as plain, context.wrap_socket(plain) as sock:
        return hashlib.sha256(sock.getpeercert(True)).hexdigest()


def wait(what, seconds=20):
    end = time.time() + seconds
    while not what():
        if time.time() > end:
            raise AssertionError("not after %d s" % seconds)
        time.sleep(0.1)


class Change(unittest.TestCase):
    def test_pods_come_go_and_die_certificates_and_configuration_change_and_no_mail_is_lost(self):
        with Cluster(VALUES) as cluster:
            self.cluster = cluster
            self.load = Load(cluster, SEED)
            for step in (self.scale_out_and_in, self.add_a_store, self.new_certificates, self.new_configuration, self.kill_each_store, self.kill_a_gateway_and_an_ingress,
                         self.lose_a_node):
                begin = time.time()
                step()
                print("%-28s %.1f s" % (step.__name__, time.time() - begin))
            self.load.phase("end")
            time.sleep(1)
            self.load.finish(self, 200)

    def scale_out_and_in(self):
        self.load.phase("scale")
        for name in ("posthouse-ingress", "posthouse-gateway", "posthouse-routing"):
            self.cluster.scale(name, 4)
            self.cluster.scale(name, 1)
            self.cluster.scale(name, 2)
        self.assertLessEqual(self.load.seen("scale"), MENDED)

    def add_a_store(self):
        """A third mailbox store and a third shard of the queue, in the ConfigMaps of all that call them: no process restarts for it."""
        self.load.phase("add a store")
        before = {p.name: p.process.pid for p in self.cluster.pods}
        self.cluster.apply(merged(VALUES, {"queue": {"replicas": 3}, "mailbox": {"replicas": 3}}))
        for name in ("posthouse-queue", "posthouse-mailbox"):
            self.cluster.grow(name)
        self.cluster.sync_volumes()
        for pod in [p for p in self.cluster.pods if p.component in ("ingress", "gateway", "queue") and p.name in before]:
            wait(lambda: '"event":"peers_changed"' in pod.tail(200000))
        directory = next(p for p in self.cluster.pods if p.component == "directory")
        wait(lambda: '"event":"reloaded"' in directory.tail(200000))
        self.cluster.ctl("account", "add", "five@example.org", "--home", "posthouse-mailbox-2", "--password-file", "-", input=PASSWORD + "\n")
        sent = time.time()
        with smtplib.SMTP(*self.cluster.address("smtp")) as c:
            c.sendmail("sender@example.net", ["five@example.org"], "Subject: to the new store\r\n\r\nbody\r\n")
        mailbox = connect(self.cluster, "five@example.org")
        wait(lambda: mailbox.select("INBOX", readonly=True)[1] == [b"1"])
        print("mail is in a new store after %.1f s" % (time.time() - sent))
        mailbox.logout()
        self.assertEqual({p.name: p.process.pid for p in self.cluster.pods if p.name in before}, before)
        self.assertLessEqual(self.load.seen("add a store"), MENDED)

    def new_certificates(self):
        """The same authority signs new certificates of all services, and mail clients get a new one, as cert-manager renews them."""
        self.load.phase("certificates")
        places = [(p, port["containerPort"], port["name"]) for p in self.cluster.pods for port in p.container["ports"]
                  if port["name"] in ("rpc", "imaps", "pop3s", "submissions")]
        before = {(p.name, name): shown(p.address, port) for p, port, name in places}
        for component in COMPONENTS:
            self.sign("posthouse-%s-mtls" % component, "posthouse-ca")
        self.sign("posthouse-tls", None)
        self.cluster.sync_volumes()
        for pod, port, name in places:
            wait(lambda: shown(pod.address, port) != before[pod.name, name])
        time.sleep(2)  # work with them
        self.assertLessEqual(self.load.seen("certificates"), MENDED)

    def sign(self, secret, authority):
        """A new key and certificate with the names of the old one, in the Secret."""
        data = self.cluster.object("Secret", secret)["data"]
        folder = os.path.join(self.cluster.dir, "sign")
        os.makedirs(folder, exist_ok=True)

        def openssl(*args):
            return subprocess.run(["openssl", *args], check=True, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout

        def put(name, value):
            with open(os.path.join(folder, name), "wb") as f:
                f.write(base64.b64decode(value))

        put("old.crt", data["tls.crt"])
        names = openssl("x509", "-in", "old.crt", "-noout", "-ext", "subjectAltName").split("\n")[1].strip()
        with open(os.path.join(folder, "ext"), "w") as f:
            f.write("subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n" % names)
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "new.key", "-subj", "/CN=renewed"]
        if authority:
            for key, value in self.cluster.object("Secret", authority)["data"].items():
                put("ca-" + key, value)
            openssl(*new, "-out", "new.csr")
            openssl("x509", "-req", "-in", "new.csr", "-CA", "ca-tls.crt", "-CAkey", "ca-tls.key", "-CAcreateserial", "-days", "9",
                    "-out", "new.crt", "-extfile", "ext")
        else:
            openssl(*new, "-x509", "-days", "9", "-addext", "subjectAltName=" + names, "-out", "new.crt")
        for key, name in (("tls.crt", "new.crt"), ("tls.key", "new.key")):
            with open(os.path.join(folder, name), "rb") as f:
                data[key] = base64.b64encode(f.read()).decode()

    def new_configuration(self):
        """A ConfigMap changes, and the processes load it without a restart; one that is wrong changes nothing."""
        self.load.phase("configuration")
        pod = next(p for p in self.cluster.pods if p.component == "ingress")
        port = next(p["containerPort"] for p in pod.container["ports"] if p["name"] == "smtp")

        def size():
            with socket.create_connection((pod.address, port), 10) as s:
                s.sendall(b"EHLO client.example.net\r\nQUIT\r\n")
                text = b""
                while b"221 " not in text:
                    more = s.recv(4096)
                    if not more:
                        break
                    text += more
            return next((line for line in text.split(b"\r\n") if b"SIZE" in line), None)

        self.assertEqual(size(), b"250-SIZE 52428800")
        pids = {p.name: p.process.pid for p in self.cluster.pods}
        values = self.cluster.values
        self.cluster.apply(merged(values, {"config": {"ingress": {"max_message_bytes": "7MiB"}}}))
        self.cluster.sync_volumes()
        wait(lambda: size() == b"250-SIZE 7340032")
        self.cluster.object("ConfigMap", "posthouse-ingress")["data"]["config.yaml"] += "no_such_key: 1\n"
        self.cluster.sync_volumes()
        time.sleep(3)
        self.assertEqual(size(), b"250-SIZE 7340032")
        self.cluster.apply(values)
        self.cluster.sync_volumes()
        wait(lambda: size() == b"250-SIZE 52428800")
        self.assertEqual(pids, {p.name: p.process.pid for p in self.cluster.pods})
        self.assertLessEqual(self.load.seen("configuration"), MENDED)

    def kill_each_store(self):
        self.load.phase("kill stores")
        for name in ("posthouse-queue-0", "posthouse-mailbox-1", "posthouse-directory-0", "posthouse-queue-1", "posthouse-mailbox-0"):
            pod = self.cluster.kill(name)
            wait(lambda: pod.restarts > 0 and pod.ready, 60)
            pod.restarts = 0
        self.load.phase("after kill")
        time.sleep(2)
        self.assertLessEqual(self.load.seen("kill stores"), TEMPORARY)

    def kill_a_gateway_and_an_ingress(self):
        self.load.phase("kill edges")
        for component in ("ingress", "gateway", "routing"):
            pod = self.cluster.kill(next(p.name for p in self.cluster.pods if p.component == component))
            wait(lambda: pod.restarts > 0 and pod.ready, 60)
            pod.restarts = 0
        time.sleep(1)
        self.assertLessEqual(self.load.seen("kill edges"), TEMPORARY)

    def lose_a_node(self):
        """A node with one pod of each service but directory; every one of them comes back elsewhere, with another address."""
        self.load.phase("lose a node")
        one = {p.component: p.name for p in self.cluster.pods}
        self.cluster.lose_node([n for c, n in one.items() if c != "directory"])
        time.sleep(1)
        self.load.phase("after the node")
        time.sleep(1)
        self.assertLessEqual(self.load.seen("lose a node"), TEMPORARY)
        self.assertEqual(self.load.seen("after the node"), set())


if __name__ == "__main__":
    print("SEED=%d" % SEED)
    unittest.main(verbosity=2)
