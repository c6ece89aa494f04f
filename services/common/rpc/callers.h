// Callers: who may call which method. The one table of the system; rpc::Access applies it to each call.
//
// A new method needs a row. callers_test.cc compares the table with the methods of all protos.
// A light header, without gRPC. Threads: stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace posthouse::rpc {

// The kinds of callers.
enum class Caller : uint8_t {
  kNobody,  // not known: no method allows it
  kAdmin,   // posthousectl
  kIngress,
  kRouting,
  kDirectory,
  kQueue,
  kMailbox,
  kGateway,
  kProcess,  // code of the serving process itself that names no service: may call every method
};

// "admin", "ingress", ...; "nobody", "process".
absl::string_view CallerName(Caller caller);
// kNobody for a name that is none of "admin" to "gateway".
Caller CallerNamed(absl::string_view name);
// The caller that the name of a certificate stands for: its first label, without "posthouse-" before it
// and "-<number>" after it. "queue-0.queue.posthouse.svc" is the queue; "admin" and "posthousectl" are kAdmin.
Caller CallerOfCertificate(absl::string_view name);

// The callers of one method. Others get kPermissionDenied.
struct MethodCallers {
  absl::string_view service;  // "posthouse.queue.v1.QueueService"
  absl::string_view method;   // "Enqueue"
  std::vector<Caller> callers;
};

// The table.
absl::Span<const MethodCallers> AllMethodCallers();
// Whether `caller` may call `method` ("posthouse.queue.v1.QueueService/Enqueue"). A method without a row: kProcess
// only.
bool MayCall(Caller caller, absl::string_view method);
// The gRPC services of a process ("queue"), as the table has them; of all processes for "standalone".
std::vector<std::string> ServicesOf(absl::string_view process);

}  // namespace posthouse::rpc
