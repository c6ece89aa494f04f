// A Runtime for tests.
#pragma once

#include <memory>

#include "services/common/runtime/runtime.h"

namespace posthouse::runtime {

// `threads` event loops, a registry of its own, and the given config.
std::unique_ptr<Runtime> NewTestRuntime(const config::v1::Config& config, int threads = 2);

}  // namespace posthouse::runtime
