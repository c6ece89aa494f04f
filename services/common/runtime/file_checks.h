// What --check-config says about the files that a configuration names. They are looked at, as a
// start does it, but a fault is a warning: the files may come later, or be on another machine.
#pragma once

#include <string>
#include <vector>

namespace posthouse::config::v1 {
class Config;
}

namespace posthouse::runtime {

// One sentence for each file that `posthouse-<service>` could not use now, and for each relative path.
std::vector<std::string> FileWarnings(const config::v1::Config& config, const std::string& service);

}  // namespace posthouse::runtime
