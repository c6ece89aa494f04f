"""Tests of the whole system, written in Python (standard library only)."""

def posthouse_system_test(name, script, data = [], size = "medium", args = [], **kwargs):
    """Runs `script` with tests/harness importable and every binary built.

    Args:
      name: the test.
      script: the Python file; exits non-zero on failure.
      data: other files it needs.
      size: Bazel test size; the default allows 5 minutes.
      args: arguments of the script.
      **kwargs: of sh_test.
    """
    native.sh_test(
        name = name,
        srcs = ["//tests/harness:run_python.sh"],
        args = ["$(location %s)" % script] + args,
        data = data + [
            script,
            "//tests/harness",
            "//services/directory:posthouse-directory",
            "//services/gateway:posthouse-gateway",
            "//services/ingress:posthouse-ingress",
            "//services/mailbox:posthouse-mailbox",
            "//services/queue:posthouse-queue",
            "//services/routing:posthouse-routing",
            "//services/standalone:posthouse-standalone",
            "//tools/posthousectl",
        ],
        size = size,
        **kwargs
    )
