#include "services/common/runtime/file_checks.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/net/tls.h"
#include "services/common/rpc/listen.h"

namespace posthouse::runtime {

std::vector<std::string> FileWarnings(const config::v1::Config& config, const std::string& service) {
  std::vector<std::string> warnings;
  const auto relative = [&warnings](const std::string& key, const std::string& path) {
    if (path.empty() || absl::StartsWith(path, "/")) return;
    warnings.push_back(absl::StrCat(key, ": ", path, " is relative to the directory in which the process starts"));
  };
  const auto add = [&warnings](const std::string& key, const absl::Status& status) {
    if (!status.ok()) warnings.push_back(absl::StrCat(key, ": ", status.message()));
  };
  const config::v1::Rpc& rpc = config.rpc();
  relative("data_dir", config.data_dir());
  relative("rpc.certificate_file", rpc.certificate_file());
  relative("rpc.private_key_file", rpc.private_key_file());
  relative("rpc.ca_file", rpc.ca_file());
  relative("rpc.token_file", rpc.token_file());
  add("rpc", rpc::CheckRpcFiles(config));
  if (!rpc.token_file().empty()) add("rpc.token_file", rpc::ReadToken(rpc.token_file()).status());
  if (service != "standalone" && service != "ingress" && service != "gateway") return warnings;
  for (int i = 0; i < config.tls().certificates_size(); ++i) {
    const config::v1::Certificate& certificate = config.tls().certificates(i);
    const std::string key = absl::StrCat("tls.certificates[", i, "]");
    relative(key + ".certificate_file", certificate.certificate_file());
    relative(key + ".private_key_file", certificate.private_key_file());
    add(key,
        net::TlsServerContext::Create({{certificate.certificate_file(), certificate.private_key_file()}}).status());
  }
  return warnings;
}

}  // namespace posthouse::runtime
