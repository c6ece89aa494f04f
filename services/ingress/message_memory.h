// MessageMemory: the bytes of messages in transit that the sessions of a process hold,
// together. A session counts what it keeps in a Share.
//
// Above half of the limit no session keeps a copy for a second try; at the limit none
// takes more bytes. The limit is checked before bytes are counted, so sessions that
// check at the same moment may pass it by one piece each. Threads: any; a Share: one session.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace posthouse::ingress {

class MessageMemory {
 public:
  explicit MessageMemory(uint64_t limit_bytes) : limit_(static_cast<int64_t>(limit_bytes)) {}
  MessageMemory(const MessageMemory&) = delete;

  bool HasRoom(uint64_t more) const { return used_ + static_cast<int64_t>(more) <= limit_; }
  bool HasRoomForCopies() const { return used_ <= limit_ / 2; }
  uint64_t used() const { return static_cast<uint64_t>(used_); }
  uint64_t limit() const { return static_cast<uint64_t>(limit_); }

  // What one message holds; given back by the destructor.
  class Share {
   public:
    explicit Share(std::shared_ptr<MessageMemory> memory) : memory_(std::move(memory)) {}
    ~Share() { Set(0); }
    Share(const Share&) = delete;
    void Set(uint64_t bytes) {
      const auto now = static_cast<int64_t>(bytes);
      memory_->used_ += now - bytes_;
      bytes_ = now;
    }

   private:
    const std::shared_ptr<MessageMemory> memory_;
    int64_t bytes_ = 0;
  };

 private:
  const int64_t limit_;
  std::atomic<int64_t> used_{0};
};

}  // namespace posthouse::ingress
