// How a caller asks whether a peer is the service and the store that it means, and how it learns that a call was
// refused for another reason than its contents. A light header, without gRPC.
#pragma once

namespace posthouse::rpc {

// Metadata of a call that asks no more than whether it would run: rpc::Access answers kAborted with the text
// kAdmitted, or the refusal (kFailedPrecondition: another store), and the method does not run.
inline constexpr char kAdmissionKey[] = "posthouse-admission";
inline constexpr char kAdmitted[] = "admitted";

// The payload of the status that a client gets for a call that the called service refused: the method did not run.
// ToGrpc() does not pass it on.
inline constexpr char kWasRefusedPayload[] = "posthouse.rpc.was_refused";

}  // namespace posthouse::rpc
