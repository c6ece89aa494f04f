#include "services/common/async/executor.h"

#include <utility>

namespace posthouse {
namespace {
thread_local Executor* current_executor = nullptr;
}  // namespace

Executor* Executor::Current() { return current_executor; }
Executor::Scope::Scope(Executor* executor) : previous_(std::exchange(current_executor, executor)) {}
Executor::Scope::~Scope() { current_executor = previous_; }

}  // namespace posthouse
