// FakeResolver: a Resolver over data. What is not there does not exist.
//
//   FakeResolver dns;
//   dns.Mx("example.org", {{10, "mx.example.org"}});
//   dns.A("mx.example.org", {"192.0.2.1"});
//   dns.Fail("broken.example", absl::UnavailableError("SERVFAIL"));
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "services/routing/dns/resolver.h"

namespace posthouse::routing::dns {

class FakeResolver final : public Resolver {
 public:
  void Mx(const std::string& name, std::vector<MxRecord> records, absl::Duration ttl = absl::Minutes(5)) {
    Answer answer;
    answer.mx = std::move(records);
    Set(name, RecordType::kMx, std::move(answer), ttl);
  }
  void A(const std::string& name, std::vector<std::string> addresses, absl::Duration ttl = absl::Minutes(5)) {
    Answer answer;
    answer.addresses = std::move(addresses);
    Set(name, RecordType::kA, std::move(answer), ttl);
  }
  void Aaaa(const std::string& name, std::vector<std::string> addresses, absl::Duration ttl = absl::Minutes(5)) {
    Answer answer;
    answer.addresses = std::move(addresses);
    Set(name, RecordType::kAaaa, std::move(answer), ttl);
  }
  // An answer as it is.
  void Put(const std::string& name, RecordType type, Answer answer) {
    absl::MutexLock lock(&mutex_);
    answers_[{name, type}] = std::move(answer);
  }
  // The name exists, without records.
  void Exists(const std::string& name) {
    absl::MutexLock lock(&mutex_);
    names_[name] = absl::OkStatus();
  }
  // Every query for the name fails.
  void Fail(const std::string& name, absl::Status status) {
    absl::MutexLock lock(&mutex_);
    names_[name] = std::move(status);
  }
  // Everything fails, until OK.
  void FailAll(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    all_ = std::move(status);
  }
  int queries() const {
    absl::MutexLock lock(&mutex_);
    return queries_;
  }

  Task<absl::StatusOr<Answer>> Query(std::string name, RecordType type) override { co_return Find(name, type); }

 private:
  void Set(const std::string& name, RecordType type, Answer answer, absl::Duration ttl) {
    answer.outcome = Answer::Outcome::kRecords;
    answer.ttl = ttl;
    absl::MutexLock lock(&mutex_);
    names_.try_emplace(name, absl::OkStatus());
    answers_[{name, type}] = std::move(answer);
  }
  absl::StatusOr<Answer> Find(const std::string& name, RecordType type) {
    absl::MutexLock lock(&mutex_);
    ++queries_;
    if (!all_.ok()) return all_;
    const auto known = names_.find(name);
    if (known != names_.end() && !known->second.ok()) return known->second;
    const auto it = answers_.find({name, type});
    if (it != answers_.end()) return it->second;
    Answer answer;
    answer.outcome = known == names_.end() ? Answer::Outcome::kNoSuchName : Answer::Outcome::kNoData;
    answer.ttl = absl::Minutes(1);
    return answer;
  }

  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, RecordType>, Answer> answers_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::Status> names_ ABSL_GUARDED_BY(mutex_);
  absl::Status all_ ABSL_GUARDED_BY(mutex_);
  int queries_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace posthouse::routing::dns
