// Files that survive a power loss: what a process writes beside its stores (marks, manifests of backups).
//
// Errors have the code of errno and name the step and the path. Threads: any. All of these block.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace posthouse {

// Writes all of `bytes` to `fd`; `path` is for the error. Nothing is synced.
absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& path);
// Makes the names in `directory` durable.
absl::Status SyncDirectory(const std::string& directory);
// Writes a file durably, with mode 0600: after a crash it is as before, or whole.
absl::Status WriteDurably(const std::string& path, const std::string& content);

}  // namespace posthouse
