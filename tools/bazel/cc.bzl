"""How every C++ target of Posthouse is built: flags live here, nowhere else."""

_COPTS = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Werror",
    "-Wshadow",
    "-Wthread-safety",
    "-Wnon-virtual-dtor",
    "-Woverloaded-virtual",
    "-Wimplicit-fallthrough",
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-gnu-zero-variadic-macro-arguments",
    "-fno-strict-aliasing",
]

# ThreadSanitizer cannot see into Debian's absl; this shows it what matters.
_SANITIZER_DEPS = select({
    "//tools/sanitizers:tsan": ["//tools/sanitizers:tsan_absl"],
    "//conditions:default": [],
})

# glibc's allocator took 16 % of the CPU under SMTP load and twice the memory (docs/adr/0005-jemalloc.md).
_MALLOC = select({
    "//tools/sanitizers:sanitized": "@bazel_tools//tools/cpp:malloc",
    "//conditions:default": "@system//:jemalloc",
})

def posthouse_cc_library(name, copts = [], **kwargs):
    native.cc_library(
        name = name,
        copts = _COPTS + copts,
        linkstatic = True,
        **kwargs
    )

def posthouse_cc_binary(name, deps = [], copts = [], **kwargs):
    native.cc_binary(
        name = name,
        deps = deps + _SANITIZER_DEPS,
        copts = _COPTS + copts,
        linkstatic = True,
        malloc = _MALLOC,
        **kwargs
    )

def posthouse_cc_test(name, deps = [], copts = [], size = "small", data = [], **kwargs):
    """A GoogleTest; linked statically with our code, dynamically with Debian's."""
    native.cc_test(
        name = name,
        copts = _COPTS + copts,
        linkstatic = True,
        size = size,
        data = data + ["//tools/sanitizers:suppressions"],
        deps = deps + ["//tools/bazel:gtest_main"] + _SANITIZER_DEPS,
        **kwargs
    )

def posthouse_fuzz_target(name, srcs, corpus, deps = []):
    """A libFuzzer target and, from the same source, a test that replays its corpus.

    Args:
      name: `<name>` is the fuzzer (build it with --config=fuzz), `<name>_corpus_test` the test.
      srcs: one file that defines LLVMFuzzerTestOneInput.
      corpus: list of seed files.
      deps: what the source includes.
    """
    native.cc_binary(
        name = name,
        testonly = True,
        srcs = srcs,
        copts = _COPTS,
        linkopts = ["-fsanitize=fuzzer"],
        linkstatic = True,
        tags = ["manual", "fuzz"],
        deps = deps,
    )
    native.cc_test(
        name = name + "_corpus_test",
        srcs = srcs,
        args = ["$(locations %s)" % c for c in corpus],
        copts = _COPTS,
        data = corpus + ["//tools/sanitizers:suppressions"],
        linkstatic = True,
        size = "small",
        deps = deps + ["//tools/bazel:corpus_main"],
    )
