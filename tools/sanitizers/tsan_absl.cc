// Linked into tests and binaries under --config=tsan only.
//
// Debian's libabsl_synchronization is not instrumented, so ThreadSanitizer cannot
// see that absl::Mutex orders memory and would report every guarded field. These
// definitions stand in front of the library's: they call it, and tell the
// sanitizer what it did. Nothing else changes.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <atomic>
#include <cstdlib>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);

namespace {

void* Real(const char* mangled) {
  void* const symbol = dlsym(RTLD_NEXT, mangled);
  if (symbol == nullptr) std::abort();
  return symbol;
}

template <typename R, typename... Args>
R CallReal(const char* mangled, std::atomic<void*>* cache, Args... args) {
  void* real = cache->load(std::memory_order_relaxed);
  if (real == nullptr) cache->store(real = Real(mangled), std::memory_order_relaxed);
  return reinterpret_cast<R (*)(Args...)>(real)(args...);
}

// The library evaluates Conditions (our code) inside its calls, while it holds the
// mutex but after we said "released": those reads are fine.
class IgnoreReads {
 public:
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

#define PH_REAL(R, mangled, ...)                      \
  [&]() -> R {                                        \
    const IgnoreReads ignore;                         \
    static std::atomic<void*> cache;                  \
    return CallReal<R>(mangled, &cache, __VA_ARGS__); \
  }()

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  PH_REAL(void, "_ZN4absl7debian35Mutex4LockEv", this);
  __tsan_acquire(this);
}
void Mutex::Unlock() {
  __tsan_release(this);
  PH_REAL(void, "_ZN4absl7debian35Mutex6UnlockEv", this);
}
bool Mutex::TryLock() {
  const bool locked = PH_REAL(bool, "_ZN4absl7debian35Mutex7TryLockEv", this);
  if (locked) __tsan_acquire(this);
  return locked;
}
void Mutex::ReaderLock() {
  PH_REAL(void, "_ZN4absl7debian35Mutex10ReaderLockEv", this);
  __tsan_acquire(this);
}
void Mutex::ReaderUnlock() {
  __tsan_release(this);
  PH_REAL(void, "_ZN4absl7debian35Mutex12ReaderUnlockEv", this);
}
void Mutex::Await(const Condition& cond) {
  __tsan_release(this);
  PH_REAL(void, "_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE", this, &cond);
  __tsan_acquire(this);
}
bool Mutex::AwaitWithTimeout(const Condition& cond, Duration timeout) {
  __tsan_release(this);
  const bool held =
      PH_REAL(bool, "_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE", this, &cond, timeout);
  __tsan_acquire(this);
  return held;
}
bool Mutex::AwaitWithDeadline(const Condition& cond, Time deadline) {
  __tsan_release(this);
  const bool held =
      PH_REAL(bool, "_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE", this, &cond, deadline);
  __tsan_acquire(this);
  return held;
}
void Mutex::LockWhen(const Condition& cond) {
  PH_REAL(void, "_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE", this, &cond);
  __tsan_acquire(this);
}
void CondVar::Wait(Mutex* mu) {
  __tsan_release(mu);
  PH_REAL(void, "_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE", this, mu);
  __tsan_acquire(mu);
}
bool CondVar::WaitWithTimeout(Mutex* mu, Duration timeout) {
  __tsan_release(mu);
  const bool timed_out =
      PH_REAL(bool, "_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE", this, mu, timeout);
  __tsan_acquire(mu);
  return timed_out;
}
bool CondVar::WaitWithDeadline(Mutex* mu, Time deadline) {
  __tsan_release(mu);
  const bool timed_out =
      PH_REAL(bool, "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE", this, mu, deadline);
  __tsan_acquire(mu);
  return timed_out;
}
void Notification::Notify() {
  __tsan_release(this);
  PH_REAL(void, "_ZN4absl7debian312Notification6NotifyEv", this);
}
void Notification::WaitForNotification() const {
  PH_REAL(void, "_ZNK4absl7debian312Notification19WaitForNotificationEv", this);
  __tsan_acquire(const_cast<Notification*>(this));
}
bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  const bool notified =
      PH_REAL(bool, "_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE", this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
