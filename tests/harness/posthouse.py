"""Runs Posthouse for a test: `standalone`, or six processes that talk TCP and mTLS.

    with Posthouse.standalone() as mail:            # or Posthouse.six()
        mail.add_account("user@example.org", "secret")
        smtplib.SMTP("127.0.0.1", mail.ports["smtp"]) ...

Binaries are found in the Bazel runfiles (or $POSTHOUSE_BIN). Everything is on 127.0.0.1 and
in a directory of its own below $TEST_TMPDIR; stop() ends exactly the processes this object
started, by pid. kill(name) is kill -9; start(name) starts it again on the same data and ports.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

SERVICES = ["directory", "routing", "mailbox", "queue", "ingress", "gateway"]
MAIL_PORTS = ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"]


def binary(name):
    """Path of a built program, e.g. "posthouse-standalone" or "posthousectl"."""
    bases = [os.environ.get("POSTHOUSE_BIN", ""), "bazel-bin", os.getcwd(),
             os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", "posthouse"))]
    places = {"posthousectl": ["tools/posthousectl/posthousectl", "posthousectl"]}
    service = name.replace("posthouse-", "")
    for base in filter(None, bases):
        for place in places.get(name, ["services/%s/%s" % (service, name), name]):
            path = os.path.join(base, place)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return os.path.abspath(path)
    sys.exit("%s is not built: bazel build //services/... //tools/..." % name)


def free_ports(count):
    """Ports nobody listens on now, below the range that outgoing connections take theirs from.

    From a block of this process's own, so that tests that run side by side do not meet between the look here and
    the listening: gRPC shares a port with whoever has it (SO_REUSEPORT), and says nothing.
    """
    block = range(10000 + os.getpid() % 110 * 200, 10000 + os.getpid() % 110 * 200 + 200)
    ports = []
    for port in random.sample(block, len(block)) + random.sample(range(10000, 32000), 2000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free ports")


def to_yaml(value, indent=0):
    """Just enough YAML: nested dicts, lists, scalars (strings quoted as JSON)."""
    pad = " " * indent
    if isinstance(value, dict):
        return "".join(
            pad + k + ":" + (" " + to_scalar(v) + "\n" if not isinstance(v, (dict, list)) or not v else "\n" + to_yaml(v, indent + 2))
            for k, v in value.items())
    return "".join(
        pad + "- " + (to_scalar(v) + "\n" if not isinstance(v, (dict, list)) else to_yaml(v, indent + 2).lstrip(" "))
        for v in value)


def to_scalar(v):
    return json.dumps(v)


def merge(into, extra):
    for k, v in (extra or {}).items():
        if isinstance(v, dict) and isinstance(into.get(k), dict):
            merge(into[k], v)
        else:
            into[k] = v
    return into


class Posthouse:
    @classmethod
    def standalone(cls, config=None, env=None):
        return cls(["standalone"], config, env)

    @classmethod
    def six(cls, config=None, env=None):
        """Six processes, TCP between them, mTLS with a CA made here."""
        return cls(SERVICES, config, env)

    before_exec = None  # run in each new process, before the program

    def __init__(self, services, config, env):
        self.dir = tempfile.mkdtemp(prefix="posthouse-", dir=os.environ.get("TEST_TMPDIR") or None)
        self.services, self.extra, self.env = services, config or {}, env or {}
        self.processes, self.logs = {}, {}
        n = len(MAIL_PORTS)
        ports = free_ports(n + 2 * len(services))
        self.ports = dict(zip(MAIL_PORTS, ports))
        self.rpc = dict(zip(services, ports[n:n + len(services)]))
        self.http = dict(zip(services, ports[n + len(services):]))
        self.mtls = len(services) > 1
        self._certificates()
        for service in services:
            with open(self.path(service + ".yaml"), "w") as f:
                f.write(to_yaml(self._config(service)))

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def address(self, listener):
        """Host and port of a listener, e.g. "smtp"."""
        return "127.0.0.1", self.ports[listener]

    # ---- set-up

    def _openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.dir)

    def _certificates(self):
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
        self._openssl(*new, "-keyout", "mail.key", "-out", "mail.crt", "-subj", "/CN=mail.example.org",
                      "-addext", "subjectAltName=DNS:mail.example.org,DNS:localhost,IP:127.0.0.1")
        if not self.mtls:
            return
        self._openssl(*new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=Posthouse test CA")
        for name in self.services + ["admin"]:
            with open(self.path(name + ".ext"), "w") as f:
                f.write("subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n" % name)
            self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                          "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name)
            self._openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                          "-days", "30", "-out", name + ".crt", "-extfile", name + ".ext")

    def _config(self, service):
        c = {
            "hostname": "mail.example.org",
            "data_dir": self.path("data-" + service),
            "http": {"port": self.http[service]},
            "rpc": {"port": self.rpc[service]} if self.mtls else {},
            "drain_timeout": "5s",
        }
        if self.mtls:
            c["rpc"].update({"certificate_file": self.path(service + ".crt"), "private_key_file": self.path(service + ".key"),
                             "ca_file": self.path("ca.crt")})
            target = lambda name: "127.0.0.1:%d" % self.rpc[name]
            peers = {"routing": ["directory"], "queue": ["routing", "mailbox"], "ingress": ["directory", "routing", "queue", "mailbox"],
                     "gateway": ["directory", "mailbox"], "mailbox": ["directory"], "directory": ["mailbox"]}.get(service, [])
            shapes = {"directory": target("directory"), "routing": target("routing"), "queue": [target("queue")],
                      "mailbox": [{"name": "", "target": target("mailbox")}]}
            if peers:
                c["peers"] = {name: shapes[name] for name in peers}
        if service in ("standalone", "ingress", "gateway"):
            c["tls"] = {"certificates": [{"certificate_file": self.path("mail.crt"), "private_key_file": self.path("mail.key")}]}
        if service in ("standalone", "ingress"):
            c["ingress"] = {k: {"port": self.ports[k]} for k in ("smtp", "submission", "submissions")}
            c["ingress"]["allow_plaintext_auth"] = True
        if service in ("standalone", "gateway"):
            c["gateway"] = {k: {"port": self.ports[k]} for k in ("imap", "imaps", "pop3", "pop3s")}
            c["gateway"]["allow_plaintext_auth"] = True
        sections = {"standalone": SERVICES + ["store"], "directory": ["directory", "store"], "queue": ["queue", "store"],
                    "mailbox": ["mailbox", "store"]}.get(service, [service])
        extra = {k: v for k, v in self.extra.items() if k in sections or k not in SERVICES + ["store"]}
        return merge(c, json.loads(json.dumps(extra)))

    # ---- processes

    def start(self, name):
        log = open(self.path(name + ".log"), "ab")
        os.makedirs(self.path("data-" + name), exist_ok=True)
        self.processes[name] = subprocess.Popen(
            [binary("posthouse-" + name), "--config", self.path(name + ".yaml")], stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, env=dict(os.environ, **self.env), preexec_fn=self.before_exec)
        log.close()

    def wait_ready(self, name, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            if self.processes[name].poll() is not None:
                raise RuntimeError("%s ended with %d:\n%s" % (name, self.processes[name].returncode, self.log_tail(name)))
            try:
                if urllib.request.urlopen("http://127.0.0.1:%d/readyz" % self.http[name], timeout=2).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError("%s is not ready after %d s:\n%s" % (name, seconds, self.log_tail(name)))

    def start_all(self):
        """Each after those that it calls, so that no channel begins with a failure and a pause."""
        for phase in (["standalone", "directory"], ["routing", "mailbox"], ["queue"], ["ingress", "gateway"]):
            for name in phase:
                if name in self.services:
                    self.start(name)
            for name in phase:
                if name in self.services:
                    self.wait_ready(name)
        return self

    def kill(self, name):
        """kill -9, as a crash."""
        self.processes[name].kill()
        self.processes[name].wait()

    def terminate(self, name, seconds=30):
        """SIGTERM: drain and stop. Returns the exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(seconds)

    def stop(self):
        for p in self.processes.values():
            if p.poll() is None:
                p.terminate()
        for p in self.processes.values():
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def __enter__(self):
        try:
            return self.start_all()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind, *_):
        self.stop()
        if kind is not None:
            for name in self.services:
                sys.stderr.write("---- %s.log (tail)\n%s\n" % (name, self.log_tail(name)))
        shutil.rmtree(self.dir, ignore_errors=True)

    def log_tail(self, name, size=4000):
        try:
            with open(self.path(name + ".log"), "rb") as f:
                f.seek(max(0, os.path.getsize(f.name) - size))
                return f.read().decode(errors="replace")
        except OSError:
            return "(no log)"

    # ---- administration

    def ctl(self, *args, input=None, check=True):
        """posthousectl against this system; returns its standard output."""
        command = [binary("posthousectl")]
        if self.mtls:
            command += ["--ca", self.path("ca.crt"), "--cert", self.path("admin.crt"), "--key", self.path("admin.key"),
                        "--directory", "127.0.0.1:%d" % self.rpc["directory"], "--routing", "127.0.0.1:%d" % self.rpc["routing"],
                        "--queue", "127.0.0.1:%d" % self.rpc["queue"], "--mailbox", "127.0.0.1:%d" % self.rpc["mailbox"],
                        "--edge", "127.0.0.1:%d" % self.rpc["ingress"], "--edge", "127.0.0.1:%d" % self.rpc["gateway"]]
        else:
            command += ["--server", "unix:" + self.path("data-standalone", "posthouse.sock")]
        r = subprocess.run(command + list(args), input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        if check and r.returncode != 0:
            raise RuntimeError("posthousectl %s: exit %d\n%s%s" % (" ".join(args), r.returncode, r.stdout, r.stderr))
        return r.stdout

    def add_account(self, address, password):
        self.ctl("account", "add", address, "--create-domain", "--password-file", "-", input=password + "\n")

    def metrics(self, name):
        """The process's /metrics as {"name{labels}": value}."""
        text = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % self.http[name], timeout=5).read().decode()
        return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")}

    def rss_kib(self, name):
        with open("/proc/%d/status" % self.processes[name].pid) as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1])
