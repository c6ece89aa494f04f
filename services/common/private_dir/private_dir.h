// Directories whose contents only their owner may read: stores and keys below data_dir.
//
// The processes create files with the mask 077. Directories of earlier releases, and copies that
// an operator made, may be open to others. They are repaired, not refused: every release before
// this one made such directories, and no other user needs these permissions.
// Only when the permissions cannot be taken away is the directory refused.
//
// Threads: any.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace posthouse {

// Creates `path` and its missing parents with mode 0700, and syncs each one's entry in its
// parent, so that they survive a power loss. Then takes the permissions of group and others off
// `path` and everything in it; symbolic links in it are not followed. Logs a warning
// when others could enter `path`. kFailedPrecondition: the message says which file, and what to do.
absl::Status OpenPrivateDirectory(const std::string& path);
// The part that creates. `sync` makes the entries of a directory durable; tests have one of their own.
absl::Status CreatePrivateDirectory(const std::string& path,
                                    const std::function<absl::Status(const std::string&)>& sync);

// The same for the directory that holds others: only itself is repaired, and only when the
// process owns it and it holds nothing but `expected` names and sockets. A data_dir that is
// /var/lib by mistake stays as it is.
absl::Status OpenPrivateParent(const std::string& path, const std::vector<std::string>& expected);

}  // namespace posthouse
