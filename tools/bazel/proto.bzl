"""Protobuf and gRPC code from protoc and grpc_cpp_plugin of Debian."""

def posthouse_proto_library(name, srcs, deps = [], grpc = False, visibility = None):
    """C++ for .proto files below //protos.

    Include by the path below //protos: "posthouse/<area>/v1/<file>.pb.h" (and .grpc.pb.h when `grpc`).

    Args:
      name: the C++ library; `<name>_srcs` is the filegroup of .proto files.
      srcs: .proto files of this package.
      deps: other posthouse_proto_library targets.
      grpc: whether the files define services.
      visibility: None: as the package says.
    """
    native.filegroup(name = name + "_srcs", srcs = srcs, visibility = visibility)
    outs_h = []
    outs_cc = []
    for src in srcs:
        base = src[:-len(".proto")]
        outs_h.append(base + ".pb.h")
        outs_cc.append(base + ".pb.cc")
        if grpc:
            outs_h.append(base + ".grpc.pb.h")
            outs_cc.append(base + ".grpc.pb.cc")
    cmd = "/usr/bin/protoc -Iprotos --cpp_out=$(GENDIR)/protos"
    if grpc:
        cmd += " --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin --grpc_out=$(GENDIR)/protos"
    cmd += " " + " ".join(["$(locations %s)" % s for s in srcs])
    native.genrule(
        name = name + "_gen",
        srcs = srcs + ["//protos:all_protos"],
        outs = outs_h + outs_cc,
        cmd = cmd,
        message = "Generating protos",
    )
    native.cc_library(
        name = name,
        srcs = outs_cc,
        hdrs = outs_h,
        # Generated code is not held to our warnings, and is not worth optimising hard.
        copts = ["-w", "-O1"],
        linkstatic = True,
        strip_include_prefix = "/protos",
        visibility = visibility,
        deps = deps + (["@system//:grpc"] if grpc else ["@system//:protobuf"]),
    )
