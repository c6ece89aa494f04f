// FileStamp: shows whether a file has changed. Files that are loaded again after a change are certificates and the
// configuration. FileStamp() follows links, so its result also changes when a link leads to another file: Kubernetes
// changes the files of a mounted ConfigMap or Secret in this way.
#pragma once

#include <string>

namespace posthouse {

// The same text as long as the file is the same, "absent" when it cannot be found. One stat().
std::string FileStamp(const std::string& path);

}  // namespace posthouse
