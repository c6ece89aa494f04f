#include "services/common/rpc/listen.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/rpc/credentials.h"
#include "services/common/status/status.h"

namespace posthouse::rpc {
namespace {

constexpr size_t kShortestToken = 32, kLongestToken = 4096;

bool KnowsCallers(const config::v1::Rpc& rpc) { return !rpc.ca_file().empty() || !rpc.token_file().empty(); }

}  // namespace

ServerOptions ListenOptions(const config::v1::Config& config, const std::string& service, int default_port) {
  ServerOptions options;
  const auto& rpc = config.rpc();
  if (!rpc.address().empty()) options.address = rpc.address();
  options.port = rpc.has_port() ? static_cast<int>(rpc.port()) : default_port;
  options.tls = {rpc.certificate_file(), rpc.private_key_file(), rpc.ca_file()};
  options.allowed_peers.assign(rpc.allowed_peers().begin(), rpc.allowed_peers().end());
  if (rpc.in_process_only()) {
    options.port = -1;
    return options;
  }
  options.socket = rpc.socket();
  if (service == "standalone") {
    if (options.socket.empty()) options.socket = absl::StrCat(config.data_dir(), "/posthouse.sock");
    if (!KnowsCallers(rpc)) options.port = -1;
  }
  return options;
}

absl::StatusOr<AccessOptions> AccessOf(const config::v1::Config& config, const std::string& service) {
  AccessOptions options;
  if (service == "directory") options.shard = config.directory().shard();
  if (service == "mailbox") options.shard = config.mailbox().shard();
  if (service == "queue") options.shard = config.queue().shard().empty() ? "0" : config.queue().shard();
  for (const config::v1::Identity& identity : config.rpc().identities()) {
    options.identities[identity.certificate()] = CallerNamed(identity.caller());
  }
  if (!config.rpc().token_file().empty()) {
    absl::StatusOr<std::string> token = ReadToken(config.rpc().token_file());
    if (!token.ok()) return Annotate(token.status(), "rpc.token_file");
    options.token = *std::move(token);
  }
  return options;
}

absl::StatusOr<ChannelMetadata> CallerMetadata(const config::v1::Config& config, const std::string& service) {
  ChannelMetadata metadata;
  if (config.rpc().token_file().empty()) return metadata;
  absl::StatusOr<std::string> token = ReadToken(config.rpc().token_file());
  if (!token.ok()) return Annotate(token.status(), "rpc.token_file");
  metadata.emplace_back(kTokenKey, absl::StrCat(kTokenPrefix, *token));
  metadata.emplace_back(kCallerKey, service);
  return metadata;
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is no file that can be read"));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(path, " can be used by others than its owner: chmod 600 ", path));
  }
  std::ifstream file(path);
  std::string token(kLongestToken + 3, '\0');
  file.read(token.data(), static_cast<std::streamsize>(token.size()));
  token.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  if (file.bad() || token.size() < kShortestToken || token.size() > kLongestToken ||
      !std::all_of(token.begin(), token.end(), [](unsigned char c) { return absl::ascii_isgraph(c); })) {
    return absl::FailedPreconditionError(absl::StrCat(path, " must have one line of ", kShortestToken, " to ",
                                                      kLongestToken, " characters without blanks"));
  }
  return token;
}

absl::Status CheckRpcFiles(const config::v1::Config& config) {
  const config::v1::Rpc& rpc = config.rpc();
  return CheckTlsFiles({rpc.certificate_file(), rpc.private_key_file(), rpc.ca_file()});
}

std::string ListenWarning(const config::v1::Config& config, const std::string& service) {
  const config::v1::Rpc& rpc = config.rpc();
  if (KnowsCallers(rpc) || rpc.in_process_only()) return "";
  if (service == "standalone") {
    if (!rpc.has_port() && rpc.address().empty()) return "";
    return absl::StrCat(
        "rpc.port: the port stays closed, as callers need mTLS (rpc.certificate_file) or a secret "
        "(rpc.token_file); posthousectl uses the socket ",
        ListenOptions(config, service, 0).socket);
  }
  return "rpc: callers need mTLS (rpc.certificate_file) or a secret (rpc.token_file); without one of them the port "
         "answers health checks only";
}

}  // namespace posthouse::rpc
