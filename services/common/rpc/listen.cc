#include "services/common/rpc/listen.h"

#include "posthouse/config/v1/config.pb.h"

namespace posthouse::rpc {

ServerOptions ListenOptions(const config::v1::Config& config, const std::string& service, int default_port) {
  ServerOptions options;
  const auto& rpc = config.rpc();
  options.service_name = service;
  if (!rpc.address().empty()) options.address = rpc.address();
  options.port = rpc.has_port() ? static_cast<int>(rpc.port()) : default_port;
  if (rpc.in_process_only()) options.port = -1;
  options.tls = {rpc.certificate_file(), rpc.private_key_file(), rpc.ca_file()};
  options.allowed_peers.assign(rpc.allowed_peers().begin(), rpc.allowed_peers().end());
  return options;
}

}  // namespace posthouse::rpc
