// File descriptors of a process: connections and files of stores take them.
// Threads: stateless; RaiseDescriptorLimit() is for the main thread, before others start.
#pragma once

#include <cstdint>
#include <string>

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::runtime {

// Raises the limit (RLIMIT_NOFILE) as far as the system allows; returns it, or 0 when it is not known.
uint64_t RaiseDescriptorLimit();

// The descriptors that `service` needs when all its listeners have max_connections.
uint64_t DescriptorsNeeded(const config::v1::Config& config, const std::string& service);

// The connections that the mail listeners of a process may have open together with this limit. The rest is for stores,
// other services, other hosts and HTTP: 2048 descriptors, but at most half of the limit.
uint64_t MailConnections(uint64_t limit);

// Logs few_descriptors when `limit` is less than what is needed. Connections over MailConnections(limit) are refused.
void WarnOfFewDescriptors(const config::v1::Config& config, const std::string& service, uint64_t limit);

}  // namespace posthouse::runtime
