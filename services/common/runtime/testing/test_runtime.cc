#include "services/common/runtime/testing/test_runtime.h"

#include "services/common/runtime/process_runtime.h"

namespace posthouse::runtime {

std::unique_ptr<Runtime> NewTestRuntime(const config::v1::Config& config, int threads) {
  return std::make_unique<ProcessRuntime>(config, threads);
}

}  // namespace posthouse::runtime
