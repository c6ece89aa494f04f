#include "services/common/rpc/certificate_watch.h"

#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/common/log/log.h"
#include "services/common/rpc/credentials.h"

namespace posthouse::rpc {
namespace {

void AppendStamp(const std::string& path, std::string* stamp) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) info = {};
  absl::StrAppend(stamp, info.st_ino, "/", info.st_size, "/", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec, ";");
}

}  // namespace

CertificateWatch::CertificateWatch(TlsFiles files, metrics::Registry& registry)
    : files_(std::move(files)),
      not_after_(registry.AddGauge("posthouse_rpc_certificate_not_after_timestamp_seconds",
                                   "When the certificate for other services expires, Unix time; 0 without one.")),
      failures_(registry.AddCounter("posthouse_rpc_certificate_reload_failures_total",
                                    "Changed certificate files for other services that could not be used.")) {}

void CertificateWatch::Look() {
  if (files_.certificate_chain.empty()) return;
  std::string stamp;
  for (const std::string* path : {&files_.certificate_chain, &files_.private_key, &files_.ca}) {
    AppendStamp(*path, &stamp);
  }
  if (stamp == seen_) return;
  seen_ = std::move(stamp);
  const absl::Status usable = CheckTlsFiles(files_);
  if (usable.ok()) {
    not_after_.Set(static_cast<double>(absl::ToUnixSeconds(CertificateNotAfter(files_.certificate_chain))));
    return;
  }
  failures_.Add();
  LOG_EVENT(kError, "rpc_certificate_reload_failed").Err(usable);
}

}  // namespace posthouse::rpc
