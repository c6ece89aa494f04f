// FileStamp: tells whether a file has changed, for files that are loaded again when they do (certificates, the
// configuration). It follows links, so it also sees a link that leads to another file: Kubernetes changes the files of
// a mounted ConfigMap or Secret in this way.
#pragma once

#include <string>

namespace posthouse {

// The same text as long as the file is the same, "absent" when it cannot be found. One stat().
std::string FileStamp(const std::string& path);

}  // namespace posthouse
