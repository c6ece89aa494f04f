// Config: the YAML file of a process as a posthouse.config.v1.Config message.
//
// The proto is the reference manual (protos/posthouse/config/v1/config.proto). The loader
// walks it by reflection, so a new field needs no code here. An unknown or repeated key, a
// wrong type or a value out of range is an error that names file, line, key, value and
// what is allowed. Durations are written "30s", "1h30m", "2d"; sizes (fields that end in
// _bytes) also "50MiB". In values, ${POD_NAME} and ${POD_NAMESPACE} stand for these two variables of
// the environment, since pods of one StatefulSet share a file; another "${" is an error. Threads: stateless.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/cli/cli.h"

namespace posthouse::config {

namespace v1 {
class Config;
}

// kInvalidArgument: "mail.yaml:12:3: ingress.smtp.prot: unknown key (did you mean \"port\"?)".
// kNotFound: no such file.
absl::StatusOr<v1::Config> LoadFile(const std::string& path);
// The same for a text; messages use `name` as the file's name.
absl::StatusOr<v1::Config> Parse(absl::string_view yaml, absl::string_view name,
                                 const cli::Environment& environment = cli::ProcessEnvironment);

// `text` with the values of ${POD_NAME} and ${POD_NAMESPACE}. kInvalidArgument, with the variable's name: one of them
// is not set, or is empty; or `text` has another "${".
absl::StatusOr<std::string> ReplaceVariables(absl::string_view text, const cli::Environment& environment);

// Writes out the shards of a range in config->peers(): {name: "m-{0..1}", target: "m-{0..1}.m:7403"} becomes m-0 and
// m-1. LoadFile() and Parse() do this. kInvalidArgument, with the key: no range, or more than one in a shard.
absl::Status ExpandOrdinals(v1::Config* config);

// Checks keys that need or contradict each other, for the process `service` ("standalone",
// "queue", ...). The message names the key and what to do.
absl::Status Validate(const v1::Config& config, absl::string_view service);

// The error of Validate(), or of a service's settings, with the place in the file: its message
// begins with the key ("queue.source_address: ...", "routing.dns_servers is \"x\": ..."), and
// becomes "mail.yaml:12:3: queue.source_address: ...". In a list, the place of the element
// whose text is the first one in quotes. Without a place when the file does not have the key.
absl::Status Locate(const absl::Status& error, const std::string& path);

// YAML of the keys that are set, for /config. Secrets are in files that the configuration
// names, not in it; the userinfo of URLs is left out.
std::string Redacted(const v1::Config& config);

// Keys whose values differ, in the order of the proto: "log_level",
// "ingress.smtp.port"; a list is one key.
std::vector<std::string> ChangedKeys(const v1::Config& before, const v1::Config& after);

// Whether a running process applies a change of `key` ("ingress.max_errors"; a list is one key); else the change needs
// a restart. The comments of config.proto say which keys are reloadable: the table is made from them.
bool Reloadable(absl::string_view key);

// "1h30m", "250ms", "2d"; nanosecond resolution, not negative.
absl::StatusOr<int64_t> ParseDurationNanos(absl::string_view text);
// "512", "64KiB", "1.5GiB".
absl::StatusOr<uint64_t> ParseSize(absl::string_view text);

}  // namespace posthouse::config
