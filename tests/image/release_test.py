#!/usr/bin/env python3
"""tools/release: all files, their checksums and one version. release_test.py RELEASE-TOOL PROGRAM"""
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unittest

TOOL, PROGRAM = [os.path.abspath(p) for p in sys.argv[1:3]]


class ReleaseTest(unittest.TestCase):
    def test_a_release_is_complete_and_of_one_version(self):
        dist = pathlib.Path(tempfile.mkdtemp(prefix="dist-", dir=os.environ.get("TEST_TMPDIR") or None))
        done = subprocess.run([sys.executable, TOOL, "--posthouse", PROGRAM, "--output", dist], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280)
        self.assertEqual(done.returncode, 0, done.stdout)
        version = pathlib.Path("VERSION").read_text().strip()
        name = "posthouse-" + version
        files = {name + ".oci.tar", name + ".spdx.json", name + ".tgz", "CHANGES-%s.md" % version}
        self.assertEqual({p.name for p in dist.iterdir()}, files | {"SHA256SUMS"})
        for line in (dist / "SHA256SUMS").read_text().splitlines():
            checksum, file = line.split("  ")
            files.remove(file)
            self.assertEqual(hashlib.sha256((dist / file).read_bytes()).hexdigest(), checksum)
        self.assertEqual(files, set())
        with tarfile.open(dist / (name + ".tgz")) as chart:
            names = chart.getnames()
            self.assertIn("version: " + version, chart.extractfile("posthouse/Chart.yaml").read().decode())
        self.assertTrue({"posthouse/values.yaml", "posthouse/values.schema.json", "posthouse/templates/workloads.yaml", "posthouse/files/rules/store.yaml"} <= set(names))
        self.assertTrue(all(n.startswith("posthouse/") and "BUILD" not in n for n in names))
        sbom = json.loads((dist / (name + ".spdx.json")).read_text())
        self.assertEqual([p["versionInfo"] for p in sbom["packages"] if p["name"] == "posthouse"], [version])
        with tarfile.open(dist / (name + ".oci.tar")) as image:
            index = json.load(io.TextIOWrapper(image.extractfile("index.json")))
        self.assertEqual(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], version)
        self.assertTrue((dist / ("CHANGES-%s.md" % version)).read_text().startswith("# Posthouse " + version))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
