"""Runs what the chart renders, without Kubernetes: a process for each pod, and the parts of a cluster that pods notice.

    with Cluster(values) as cluster:            # renders helm/posthouse, starts all pods, waits until they are ready
        cluster.add_account("user@example.org", "secret")
        smtplib.SMTP(*cluster.address("smtp"))  # as through the Service: one of the ready pods
        cluster.rollout("posthouse-ingress")    # as `kubectl rollout restart`
        cluster.scale("posthouse-gateway", 3)
        cluster.kill("posthouse-queue-0")       # the process; lose_node() for all pods of a node

What comes from the rendering: configuration files and Secrets, command, environment, ports, probes, preStop, grace periods, strategy of
the rollout, Services, publishNotReadyAddresses. What is replaced in a configuration file, and nothing else:

- paths of mounts by folders of the pod, since a process has no file system of its own;
- 0.0.0.0 by the address of the pod: each instance of a pod has a new one, in 127/8;
- "dns:///" by "dns://SERVER/": the DNS server of the test instead of that of the machine.

Volumes change as the kubelet changes them: a new folder, then one rename of the symlink ..data.
"""
import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import yaml

sys.path.insert(0, "tests/helm")
import chart  # noqa: E402
from dns_server import DnsServer  # noqa: E402
from posthouse import binary  # noqa: E402

ORDER = ["directory", "routing", "mailbox", "queue", "ingress", "gateway"]
# Time until a change of a pod's readiness is in DNS and in the Services: kube-proxy and CoreDNS are not immediate.
PROPAGATION = 0.5
DNS_TTL = 5


def write_volume(path, files):
    """The files of a ConfigMap or Secret, replaced at once as the kubelet does it."""
    os.makedirs(path, exist_ok=True)
    own = tempfile.mkdtemp(prefix="..", dir=path)
    for name, content in files.items():
        with open(os.path.join(own, name), "wb") as f:
            f.write(content)
    data = os.path.join(path, "..data")
    old = os.path.realpath(data) if os.path.islink(data) else None
    os.symlink(os.path.basename(own), data + ".new")
    os.rename(data + ".new", data)
    for name in files:
        if not os.path.islink(os.path.join(path, name)):
            os.symlink(os.path.join("..data", name), os.path.join(path, name))
    if old:
        shutil.rmtree(old)


class Pod:
    """One instance of a pod: a folder, an address, a process, and its kubelet. States: starting, ready, unready, terminating, gone."""

    def __init__(self, cluster, workload, name, address):
        self.cluster, self.workload, self.name, self.address = cluster, workload, name, address
        self.spec = workload["spec"]["template"]["spec"]
        self.container = self.spec["containers"][0]
        self.component = workload["metadata"]["labels"]["app.kubernetes.io/component"]
        self.dir = tempfile.mkdtemp(prefix=self.component[:2], dir=cluster.dir)
        self.ready, self.terminating, self.gone, self.started_at, self.ready_after = False, False, False, time.time(), None
        self.restarts, self.killed = 0, False
        self.process = None
        self.mounts = self._mount()
        self.write_volumes()
        self._start()
        self.kubelet = threading.Thread(target=self._probe, daemon=True)
        self.kubelet.start()

    def _mount(self):
        """{path in the container: folder here}."""
        mounts = {}
        claims = {c["metadata"]["name"] for c in self.workload["spec"].get("volumeClaimTemplates", [])}
        for mount in self.container["volumeMounts"]:
            folder = os.path.join(self.dir, mount["name"])
            if mount["name"] in claims:
                folder = os.path.join(self.cluster.dir, "pv", self.name)
            os.makedirs(folder, exist_ok=True)
            mounts[mount["mountPath"]] = folder
        return mounts

    def _here(self, text):
        paths = "|".join(re.escape(p) for p in sorted(self.mounts, key=len, reverse=True))
        text = re.sub("(?<![^\\s=\"])(%s)(?=/|$)" % paths, lambda m: self.mounts[m[1]], text, flags=re.M)
        return text.replace("0.0.0.0", self.address).replace("dns:///", "dns://%s/" % self.cluster.dns.address)

    def write_volumes(self):
        """From the ConfigMaps and Secrets as they are now."""
        by_name = {v["name"]: v for v in self.spec["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume = by_name.get(mount["name"], {})
            if "configMap" in volume:
                data = self.cluster.object("ConfigMap", volume["configMap"]["name"])["data"]
                files = {k: self._here(v).encode() for k, v in data.items()}
            elif "secret" in volume:
                data = self.cluster.object("Secret", volume["secret"]["secretName"])["data"]
                files = {k: base64.b64decode(v) for k, v in data.items()}
            else:
                continue
            write_volume(self.mounts[mount["mountPath"]], files)

    def _start(self):
        command = list(self.container["command"])
        assert command[0] == "/usr/bin/posthouse", command
        command = [binary("posthouse")] + [self._here(word) for word in command[1:]]
        fields = {"metadata.name": self.name, "metadata.namespace": chart.NAMESPACE}
        env = {e["name"]: e["value"] if "value" in e else fields[e["valueFrom"]["fieldRef"]["fieldPath"]] for e in self.container["env"]}
        self.log = os.path.join(self.cluster.dir, "log-" + self.name)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir)

    # ---- kubelet

    def _get(self, probe):
        port = next(p["containerPort"] for p in self.container["ports"] if p["name"] == probe["httpGet"]["port"])
        try:
            url = "http://%s:%d%s" % (self.address, port, probe["httpGet"]["path"])
            return urllib.request.urlopen(url, timeout=probe.get("timeoutSeconds", 1)).status == 200
        except OSError:
            return False

    def _probe(self):
        """Start-up, then readiness; restarts a container that ended by itself. The test's processes have no liveness probe: a machine that
        is busy with a test is not a dead process."""
        started, failures = False, 0
        while not self.gone:
            if self.process.poll() is not None and not self.terminating:
                self._set_ready(False)
                if not self.killed:
                    self.cluster.surprises.append("%s ended with %s by itself:\n%s" % (self.name, self.process.returncode, self.tail()))
                self.killed, started, self.restarts = False, False, self.restarts + 1
                time.sleep(0.2)
                self._start()
            if not started:
                started = self._get(self.container["startupProbe"])
                time.sleep(0.1)  # sooner than the kubelet, which would only make the test slow
                continue
            probe = self.container["readinessProbe"]
            if self._get(probe):
                failures = 0
                self._set_ready(not self.terminating)
            else:
                failures += 1
                if failures >= probe.get("failureThreshold", 3):
                    self._set_ready(False)
            time.sleep(probe["periodSeconds"] if self.ready else 0.1)

    def _set_ready(self, ready):
        if ready and self.ready_after is None:
            self.ready_after = time.time() - self.started_at
            self.ready_at = time.time()
        if ready != self.ready:
            self.ready = ready
            self.cluster.changed()

    def delete(self):
        """As `kubectl delete pod`: leaves the endpoints, preStop, SIGTERM, at the end of the grace period SIGKILL. Returns the seconds."""
        begin = time.time()
        self.terminating = True
        self._set_ready(False)
        self.cluster.changed()
        time.sleep(self.container["lifecycle"]["preStop"]["sleep"]["seconds"])
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(max(1, self.spec["terminationGracePeriodSeconds"] - (time.time() - begin)))
            if code != 0:
                self.cluster.surprises.append("%s: exit code %d after SIGTERM:\n%s" % (self.name, code, self.tail()))
        except subprocess.TimeoutExpired:
            self.cluster.surprises.append("%s: still there after its grace period" % self.name)
            self.process.kill()
            self.process.wait()
        self.remove()
        return time.time() - begin

    def remove(self):
        self.terminating = self.gone = True
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.ready = False
        self.cluster.forget(self)
        self.kubelet.join(10)

    def tail(self, size=3000):
        with open(self.log, "rb") as f:
            f.seek(max(0, os.path.getsize(self.log) - size))
            return f.read().decode(errors="replace")

    def rss_kib(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


class Cluster:
    def __init__(self, values):
        # Below /tmp: a Unix socket's path has at most 107 characters.
        self.dir = tempfile.mkdtemp(prefix="phc", dir="/tmp")
        self.values = values
        self.surprises = []  # what no pod should do; a test fails on them at its end
        self.pods = []
        self.replicas = {}
        self._lock = threading.RLock()
        self._next = 0
        self._number = 0
        self.dns = DnsServer(ttl=DNS_TTL)
        self.objects = []

    # ---- the API server

    def object(self, kind, name):
        return next(t for t in self.objects if t["kind"] == kind and t["metadata"]["name"] == name)

    def apply(self, values=None):
        """Renders anew, as `helm upgrade`; keeps the Secrets that the chart made before, as its lookups do. Starts and stops nothing."""
        values = values if values is not None else self.values
        kept = {chart.key(t): t for t in self.objects if t["kind"] == "Secret"}
        self.objects = [kept.get(chart.key(t), t) for t in chart.render(values)]
        self.values = values

    def sync_volumes(self):
        """What the kubelet does within a minute after ConfigMaps or Secrets changed."""
        for pod in list(self.pods):
            if not pod.terminating:
                pod.write_volumes()

    def workloads(self):
        return [t for t in self.objects if t["kind"] in ("Deployment", "StatefulSet")]

    def workload(self, name):
        return next(t for t in self.workloads() if t["metadata"]["name"] == name)

    def pods_of(self, name):
        return [p for p in list(self.pods) if p.workload["metadata"]["name"] == name and not p.terminating]

    # ---- DNS and Services

    def changed(self):
        """A pod's readiness changed: the names follow a little later."""
        timer = threading.Timer(PROPAGATION, self._publish)
        timer.daemon = True
        timer.start()

    def forget(self, pod):
        with self._lock:
            if pod in self.pods:
                self.pods.remove(pod)
        self.changed()

    def _publish(self):
        with self._lock:
            for service in (t for t in self.objects if t["kind"] == "Service" and t["spec"].get("clusterIP") == "None"):
                host = "%s.%s.svc.cluster.local" % (service["metadata"]["name"], chart.NAMESPACE)
                component = service["spec"]["selector"]["app.kubernetes.io/component"]
                pods = [p for p in self.pods if p.component == component and not p.gone]
                if not service["spec"]["publishNotReadyAddresses"]:
                    pods = [p for p in pods if p.ready and not p.terminating]
                self.dns.replace_a(host, *[p.address for p in pods])
                if pods and pods[0].workload["kind"] == "StatefulSet":
                    for pod in pods:
                        self.dns.replace_a("%s.%s" % (pod.name, host), pod.address)

    def address(self, listener):
        """Address of a ready pod behind the Service with this port, in turn, as kube-proxy chooses. Port of the pod: nothing maps it here."""
        service = next(t for t in self.objects if t["kind"] == "Service" and t["spec"].get("clusterIP") != "None"
                       and listener in [p["name"] for p in t["spec"]["ports"]])
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        ready = [p for p in list(self.pods) if p.component == component and p.ready and not p.terminating]
        if not ready:
            raise ConnectionRefusedError("no endpoint of %s" % listener)
        self._next += 1
        pod = ready[self._next % len(ready)]
        return pod.address, next(p["containerPort"] for p in pod.container["ports"] if p["name"] == listener)

    # ---- controllers

    def _new_pod(self, workload, name):
        with self._lock:
            self._number += 1
            number = self._number
        # A network of this process's own: tests that run side by side do not meet.
        address = "127.%d.%d.%d" % (2 + os.getpid() % 250, 1 + number // 250, 1 + number % 250)
        pod = Pod(self, workload, name, address)
        with self._lock:
            self.pods.append(pod)
        self.changed()
        return pod

    def _name(self, workload):
        name = workload["metadata"]["name"]
        if workload["kind"] == "StatefulSet":
            taken = {p.name for p in self.pods_of(name)}
            return next(n for n in ("%s-%d" % (name, i) for i in range(1000)) if n not in taken)
        return "%s-%05x" % (name, self._number + 1)

    def wait_ready(self, pods, seconds=90):
        end = time.time() + seconds
        while not all(p.ready for p in pods):
            if time.time() > end or any(p.restarts > 3 for p in pods):
                late = next(p for p in pods if not p.ready)
                raise RuntimeError("%s is not ready after %d s:\n%s" % (late.name, seconds, late.tail()))
            time.sleep(0.05)
        time.sleep(PROPAGATION)

    def scale(self, name, replicas):
        """Of a Deployment: more pods, or fewer."""
        workload = self.workload(name)
        self.replicas[name] = replicas
        pods = self.pods_of(name)
        new = [self._new_pod(workload, self._name(workload)) for _ in range(replicas - len(pods))]
        self.wait_ready(new)
        self._all([p.delete for p in pods[replicas:]])

    def grow(self, name):
        """Of a StatefulSet whose rendering has more replicas now."""
        workload = self.workload(name)
        new = [self._new_pod(workload, self._name(workload)) for _ in range(workload["spec"]["replicas"] - len(self.pods_of(name)))]
        self.wait_ready(new)

    def rollout(self, name):
        """As `kubectl rollout restart`. Returns for each pod (seconds to its end, seconds until its successor was ready, when that was)."""
        workload, times = self.workload(name), []
        if workload["kind"] == "Deployment":
            assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
            for old in self.pods_of(name):
                new = self._new_pod(workload, self._name(workload))
                self.wait_ready([new])
                times.append((old.delete(), new.ready_after, new.ready_at))
        else:
            for old in sorted(self.pods_of(name), key=lambda p: int(p.name.rsplit("-", 1)[1]), reverse=True):
                gone = old.delete()
                new = self._new_pod(workload, old.name)
                self.wait_ready([new])
                times.append((gone, new.ready_after, new.ready_at))
        return times

    def kill(self, name):
        """kill -9 of the pod's process; the kubelet starts it again in the same pod."""
        pod = next(p for p in self.pods if p.name == name and not p.terminating)
        pod.killed = True
        pod.process.kill()
        return pod

    def lose_node(self, names, away=3.0):
        """The node of these pods is gone without a word: their processes, and a while later new pods elsewhere with the same volumes."""
        lost = [p for p in list(self.pods) if p.name in names and not p.terminating]
        for pod in lost:
            pod.terminating = True
            pod.process.kill()
        for pod in lost:
            pod.remove()
        time.sleep(away)
        new = [self._new_pod(p.workload, p.name if p.workload["kind"] == "StatefulSet" else self._name(p.workload)) for p in lost]
        self.wait_ready(new)

    @staticmethod
    def _all(calls):
        threads = [threading.Thread(target=c) for c in calls]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    # ---- administration

    def ctl(self, *args, input=None, check=True):
        """posthousectl with the certificate and the targets that the pods of the administrator have."""
        pod = chart.pod_spec(self.object("Pod", "posthouse-test-ping"))
        flags = []
        for word in pod["containers"][0]["command"][2:]:
            name, value = word.split("=", 1)
            if name == "--wait":
                continue  # of ping alone
            if "/run/posthouse/mtls/" in value:
                value = value.replace("/run/posthouse/mtls", os.path.join(self.dir, "admin"))
            else:
                value = "dns://%s/%s" % (self.dns.address, value)
            flags.append("%s=%s" % (name, value))
        done = subprocess.run([binary("posthouse"), "ctl", *flags, *args], input=input, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and done.returncode != 0:
            raise RuntimeError("posthousectl %s: exit %d\n%s%s" % (" ".join(args), done.returncode, done.stdout, done.stderr))
        return done.stdout

    def add_account(self, address, password):
        self.ctl("account", "add", address, "--create-domain", "--password-file", "-", input=password + "\n")

    # ---- from begin to end

    def start(self):
        self.apply()
        secret = self.object("Secret", "posthouse-admin-mtls")["data"]
        write_volume(os.path.join(self.dir, "admin"), {k: base64.b64decode(v) for k, v in secret.items()})
        # All at once, as podManagementPolicy Parallel and a Deployment do: the order must not matter.
        pods = []
        for workload in self.workloads():
            for _ in range(workload["spec"].get("replicas", 1)):
                pods.append(self._new_pod(workload, self._name(workload)))
        self.wait_ready(pods, 180)
        return self

    def stop(self):
        with self._lock:
            pods = list(self.pods)
            for pod in pods:
                pod.terminating = True
        for pod in pods:
            pod.process.send_signal(signal.SIGTERM)
        end = time.time() + 20
        for pod in pods:
            try:
                pod.process.wait(max(0.1, end - time.time()))
            except subprocess.TimeoutExpired:
                pass
            pod.remove()

    def __enter__(self):
        self.dns.__enter__()
        try:
            return self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def __exit__(self, kind, *_):
        pods = list(self.pods)
        self.stop()
        self.dns.__exit__()
        if kind is not None:
            for pod in pods:
                sys.stderr.write("---- %s (end of its log)\n%s\n" % (pod.name, pod.tail(1500)))
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)


def merged(base, extra):
    """Values over values, as Helm merges them."""
    out = dict(base)
    for key, value in extra.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return yaml.safe_load(yaml.safe_dump(out))
