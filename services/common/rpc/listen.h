// ServerOptions from the `rpc` part of a process's configuration.
#pragma once

#include <string>

#include "services/common/rpc/server.h"

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::rpc {

// Port: rpc.port, else `default_port`; no TCP with rpc.in_process_only.
ServerOptions ListenOptions(const config::v1::Config& config, const std::string& service, int default_port);

}  // namespace posthouse::rpc
