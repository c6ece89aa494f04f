// MemoryBudget: a limit for the bytes that several holders keep in memory together, such as
// messages in transit. A holder counts what it keeps in a Share, and asks HasRoom() before
// it takes more.
//
// Holders that ask at the same moment may pass the limit by what each of them takes.
// Threads: any; a Share: one at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace posthouse {

class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit_bytes) : limit_(static_cast<int64_t>(limit_bytes)) {}
  MemoryBudget(const MemoryBudget&) = delete;

  bool HasRoom(uint64_t more) const { return used_ + static_cast<int64_t>(more) <= limit_; }
  // At most half is used: copies, which only help, may be kept.
  bool HasRoomForCopies() const { return used_ <= limit_ / 2; }
  uint64_t used() const { return static_cast<uint64_t>(used_); }
  uint64_t limit() const { return static_cast<uint64_t>(limit_); }

  // What one holder keeps; the destructor gives it back.
  class Share {
   public:
    explicit Share(std::shared_ptr<MemoryBudget> budget) : budget_(std::move(budget)) {}
    ~Share() { Set(0); }
    Share(const Share&) = delete;
    void Set(uint64_t bytes) {
      const auto now = static_cast<int64_t>(bytes);
      budget_->used_ += now - bytes_;
      bytes_ = now;
    }

   private:
    const std::shared_ptr<MemoryBudget> budget_;
    int64_t bytes_ = 0;
  };

 private:
  const int64_t limit_;
  std::atomic<int64_t> used_{0};
};

}  // namespace posthouse
