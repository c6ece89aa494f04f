#include "services/common/runtime/mail_tls.h"

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "posthouse/config/v1/config.pb.h"
#include "services/common/log/log.h"
#include "services/common/private_dir/private_dir.h"
#include "services/common/status/status.h"

namespace posthouse::runtime {
namespace {

constexpr int kSelfSignedDays = 825;  // the longest validity that clients accept

absl::StatusOr<net::CertificateFiles> SelfSigned(const config::v1::Config& config) {
  if (config.data_dir().empty()) return absl::InvalidArgumentError("tls.self_signed needs data_dir");
  const std::filesystem::path dir = std::filesystem::path(config.data_dir()) / "tls";
  PH_RETURN_IF_ERROR(OpenPrivateDirectory(dir.string()));
  const net::CertificateFiles files{(dir / "self-signed.crt").string(), (dir / "self-signed.key").string()};
  std::error_code error;
  const bool present = std::filesystem::exists(files.certificate_chain, error);
  const absl::Status usable = net::TlsServerContext::Create({files}).status();
  if (!usable.ok()) {
    // Absent, half written by a process that was killed, or expired: write a new one.
    if (present) LOG_EVENT(kWarning, "self_signed_certificate_renewed").Err(usable);
    const std::string name = config.hostname().empty() ? "localhost" : config.hostname();
    std::vector<std::string> names = {name};
    if (name != "localhost") names.push_back("localhost");
    PH_RETURN_IF_ERROR(net::WriteSelfSigned(files, names, kSelfSignedDays));
  }
  return files;
}

}  // namespace

absl::StatusOr<std::shared_ptr<net::TlsServerContext>> LoadMailTls(const config::v1::Config& config) {
  std::vector<net::CertificateFiles> certificates;
  for (const config::v1::Certificate& certificate : config.tls().certificates()) {
    certificates.push_back({certificate.certificate_file(), certificate.private_key_file()});
  }
  if (certificates.empty() && config.tls().self_signed()) {
    PH_ASSIGN_OR_RETURN(const net::CertificateFiles files, SelfSigned(config));
    certificates.push_back(files);
  }
  if (certificates.empty()) return std::shared_ptr<net::TlsServerContext>();
  return net::TlsServerContext::Create(std::move(certificates));
}

}  // namespace posthouse::runtime
