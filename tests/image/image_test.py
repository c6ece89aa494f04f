#!/usr/bin/env python3
"""The image: same inputs, same digest; no shell; and it starts as the chart starts it.

The chart's security context is made here with the kernel's own calls, without a container engine: a mount namespace with the
image's files as a read-only root, uid and gid 65532, no capabilities, no new privileges. image_test.py IMAGE-TOOL PROGRAM
"""
import ctypes
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import urllib.request

TOOL, PROGRAM = [os.path.abspath(p) for p in sys.argv[1:3]]
UID = 65532
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID = 1, 32, 4096, 16384, 1 << 18, 2
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    if getattr(libc, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), "%s: %s" % (name, os.strerror(ctypes.get_errno())))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def mount(source, target, kind, flags, data=None):
    call("mount", source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), data and data.encode())


def enter(root, data, config):
    """In the child: what the kubelet and the runtime do for the chart's pods."""
    call("unshare", CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount(root, root, None, MS_BIND)
    mount(data, root + "/var/lib/posthouse", None, MS_BIND)  # the volume
    mount(config, root + "/etc/posthouse", None, MS_BIND)  # the ConfigMap
    mount("tmpfs", root + "/tmp", "tmpfs", MS_NOSUID, "size=64m,mode=1777")  # the emptyDir
    mount("/proc", root + "/proc", None, MS_BIND | MS_REC)
    mount("/dev", root + "/dev", None, MS_BIND | MS_REC)
    mount(root, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chroot(root)
    os.chdir("/")
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # those above the kernel's last one fail
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class ImageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="image-", dir=os.environ.get("TEST_TMPDIR") or None)
        os.chmod(cls.dir, 0o755)
        for name in ("one", "two"):
            done = subprocess.run([sys.executable, TOOL, "--posthouse", PROGRAM, "--output", cls.path(name + ".tar"), "--sbom", cls.path(name + ".spdx.json")],
                                  env=dict(os.environ, SOURCE_DATE_EPOCH="1700000000"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280)
            if done.returncode != 0:
                raise RuntimeError(done.stdout)
            print(done.stdout.replace(cls.dir + "/", ""), end="")
        # As a registry client reads it: index, manifest, config, layers.
        with tarfile.open(cls.path("one.tar")) as archive:
            files = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}
        cls.blobs = {n.split("/")[-1]: d for n, d in files.items() if n.startswith("blobs/sha256/")}
        cls.layout = json.loads(files["oci-layout"])
        cls.index = json.loads(files["index.json"])
        cls.manifest = json.loads(cls.blob(cls.index["manifests"][0]))
        cls.config = json.loads(cls.blob(cls.manifest["config"]))
        cls.root = cls.path("root")
        os.mkdir(cls.root)
        for layer in cls.manifest["layers"]:
            with open(cls.path("layer.tar.gz"), "wb") as f:
                f.write(cls.blob(layer))
            with tarfile.open(cls.path("layer.tar.gz")) as tar:
                tar.extractall(cls.root, numeric_owner=True)

    @classmethod
    def path(cls, *parts):
        return os.path.join(cls.dir, *parts)

    @classmethod
    def blob(cls, descriptor):
        data = cls.blobs[descriptor["digest"].removeprefix("sha256:")]
        assert len(data) == descriptor["size"], descriptor
        return data

    def test_the_same_inputs_give_the_same_bytes(self):
        for end in (".tar", ".spdx.json"):
            sums = {hashlib.sha256(pathlib.Path(self.path(name + end)).read_bytes()).hexdigest() for name in ("one", "two")}
            self.assertEqual(len(sums), 1, end)

    def test_the_archive_is_an_oci_image_layout(self):
        self.assertEqual(self.layout, {"imageLayoutVersion": "1.0.0"})
        for name, data in self.blobs.items():
            self.assertEqual(hashlib.sha256(data).hexdigest(), name)
        self.assertEqual(len(self.config["rootfs"]["diff_ids"]), len(self.manifest["layers"]))
        config = self.config["config"]
        self.assertEqual((config["User"], config["Entrypoint"]), ("65532:65532", ["/usr/bin/posthouse"]))
        for label in ("title", "version", "created", "licenses"):
            self.assertTrue(config["Labels"]["org.opencontainers.image." + label])
        self.assertLess(sum(layer["size"] for layer in self.manifest["layers"]), 40e6, "the image is to stay small")

    def test_it_has_no_shell_and_no_program_but_its_own(self):
        programs = []
        for folder, _, names in os.walk(self.root):
            programs += [os.path.join(folder, n) for n in names if "/bin" in folder]
        self.assertEqual(sorted(os.path.basename(p) for p in programs), ["posthouse", "posthousectl"])
        for folder, _, names in os.walk(self.root):
            for name in names:
                mode = os.lstat(os.path.join(folder, name)).st_mode
                self.assertEqual(mode & 0o6000, 0, name + " is setuid or setgid")
                self.assertTrue(os.path.islink(os.path.join(folder, name)) or mode & 0o022 == 0, name + " can be written by others")

    def test_the_sbom_names_every_package(self):
        with open(self.path("one.spdx.json"), encoding="utf-8") as f:
            sbom = json.load(f)
        self.assertEqual(sbom["spdxVersion"], "SPDX-2.3")
        names = {p["name"] for p in sbom["packages"]}
        self.assertTrue({"posthouse", "libc6", "libssl3", "librocksdb7.8", "ca-certificates"} <= names, names)
        self.assertTrue(set(os.listdir(self.root + "/var/lib/dpkg/status.d")) <= names)
        for relation in sbom["relationships"]:
            self.assertIn(relation["relatedSpdxElement"], {p["SPDXID"] for p in sbom["packages"]})

    def start(self, *args):
        data, config = self.path("data"), self.path("config")
        for path in (data, config):
            os.makedirs(path, exist_ok=True)
        os.chown(data, UID, UID)
        return subprocess.Popen(["/usr/bin/posthouse", *args], env={"PATH": "/usr/bin"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                preexec_fn=lambda: enter(self.root, data, config))

    def test_it_starts_under_the_security_context_of_the_chart(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to mount and to change users")
        version = self.start("--version")
        self.assertRegex(version.communicate(timeout=60)[0], r"posthouse\S* \d+\.\d+\.\d+")
        self.assertEqual(version.returncode, 0)
        http = free_port()
        off = {"disabled": True}
        config = {"hostname": "mail.example.org", "data_dir": "/var/lib/posthouse", "http": {"port": http},
                  "ingress": {"smtp": {"port": 0}, "submission": off, "submissions": off},
                  "gateway": {"imap": {"port": 0}, "imaps": off, "pop3": off, "pop3s": off}}
        os.makedirs(self.path("config"), exist_ok=True)
        with open(self.path("config", "posthouse.yaml"), "w", encoding="utf-8") as f:
            json.dump(config, f)  # JSON is YAML
        # The multi-call program takes the service first; one service's own program does not.
        first = ["standalone"] if os.path.basename(PROGRAM) == "posthouse" else []
        process = self.start(*first, "--config", "/etc/posthouse/posthouse.yaml")
        try:
            end = time.time() + 60
            while True:
                self.assertIsNone(process.poll(), process.stdout.read() if process.poll() is not None else "")
                try:
                    if urllib.request.urlopen("http://127.0.0.1:%d/readyz" % http, timeout=2).status == 200:
                        break
                except OSError:
                    pass
                self.assertLess(time.time(), end, "not ready")
                time.sleep(0.1)
            with open("/proc/%d/status" % process.pid, encoding="ascii") as f:
                status = dict(re.findall(r"^(\w+):\s*(.*)$", f.read(), re.M))
            self.assertEqual(status["Uid"].split(), [str(UID)] * 4)
            self.assertEqual(status["Gid"].split(), [str(UID)] * 4)
            for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(status[kind], 16), 0, kind)
            self.assertEqual(status["NoNewPrivs"], "1")
        finally:
            process.send_signal(signal.SIGTERM)
            out = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 0, out)
        # Its root is read-only: everything it wrote is in the volume.
        self.assertTrue(os.path.isdir(self.path("data", "mailbox")))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
