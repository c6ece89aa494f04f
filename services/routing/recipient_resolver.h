// RecipientResolver: from an address in RCPT TO to the accounts and forwards that take
// its mail.
//
//   not an address                                      -> bad address
//   the directory knows it -> its accounts and forwards -> accept, no such mailbox, suspended
//   postmaster, or MAILER-DAEMON, of this host's name   -> the postmaster (RFC 5321 §4.5.1)
//   an address literal that is not global               -> relay denied, with may_relay too
//   a foreign domain, with may_relay                    -> accept, remote
//   a foreign domain, without                           -> relay denied (no open relay)
//   the directory does not answer                       -> its last answer, else temporary
//
// Answers of the directory are cached, negative ones too. While the change stream is up,
// an answer is good until a change names something that it depends on; without the
// stream, for its TTL. While the directory is away, an answer of the last two hours is
// used, unless it is known to have changed.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/async/task.h"
#include "services/mail_formats/address/address.h"
#include "services/routing/cache.h"
#include "services/routing/destination_networks.h"

namespace posthouse::routing {

class RecipientResolver {
 public:
  using Lookup = std::function<Task<absl::StatusOr<directory::v1::LookupAddressResponse>>(std::string address,
                                                                                          std::string traceparent)>;
  using Clock = absl::AnyInvocable<absl::Time() const>;
  // How a question was answered; for metrics.
  enum class Source { kCache, kDirectory, kStale, kNone };
  using Observer = absl::AnyInvocable<void(Source) const>;

  struct Options {
    std::string hostname;    // of this system; its postmaster exists even if it is no domain
    std::string postmaster;  // who that is; "": as the directory says of a bare "postmaster"
    bool allow_private_literals = false;
    DestinationNetworks destinations;  // of literals
  };

  RecipientResolver(Lookup lookup, size_t cache_entries, Clock clock, Observer observer, Options options);

  // Never fails: an unknown answer is OUTCOME_TEMPORARY.
  Task<v1::ResolveRecipientResponse> Resolve(v1::ResolveRecipientRequest request, std::string traceparent = "");

  // From the change stream, one at a time.
  void OnChanged(uint64_t revision, const directory::v1::WatchResponse& changes);
  void OnLost();   // changes were missed: any cached answer may be wrong
  void OnAlive();  // the stream is up

  bool followed();  // whether the stream is up
  size_t cached() const { return cache_.size(); }

 private:
  struct Entry {
    directory::v1::LookupAddressResponse response;
    uint64_t epoch = 0;  // of the stream; see epoch_
  };
  using Cache = TtlCache<Entry>;
  enum class Freshness { kGood, kOld, kChanged };

  Task<absl::StatusOr<directory::v1::LookupAddressResponse>> Ask(std::string key, std::string address,
                                                                 std::string traceparent);
  bool IsPostmasterOfHost(const Address& address) const;
  Freshness Judge(const Cache::Hit& hit, absl::Time now);

  const Lookup lookup_;
  const Clock clock_;
  const Observer observer_;
  const Options options_;
  Cache cache_;
  absl::Mutex mutex_;
  // Counts the times that changes were missed; an entry with an older epoch may be wrong.
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time alive_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  // By name, the newest revision that changed it. Bounded: see OnChanged.
  absl::flat_hash_map<std::string, uint64_t> changed_at_ ABSL_GUARDED_BY(mutex_);
  uint64_t newest_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace posthouse::routing
