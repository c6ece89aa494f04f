// Dispatcher over a spool in memory, with scripted deliveries and routing, and a clock that
// the test sets.
#include "services/queue/schedule/dispatcher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "services/common/net/event_loop.h"
#include "services/common/status/status.h"
#include "services/common/store/testing/memory_store.h"
#include "services/queue/metrics.h"
#include "services/queue/spool/hold.h"
#include "services/queue/spool/item_record.h"
#include "services/queue/spool/key_schema.h"

namespace posthouse::queue {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

// Set by the test, read by all threads.
class FakeClock {
 public:
  absl::Time Now() const {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = kStart;
};

// Ends attempts for an address as scripted, then delivers. Records the attempts.
class FakeDelivery final : public Delivery {
 public:
  explicit FakeDelivery(Outcome::Kind success) : success_(success) {}

  Task<DeliveryResult> Deliver(const DeliveryAttempt& t) override {
    std::string text;
    const absl::StatusOr<absl::Cord> bytes =
        t.memory != nullptr ? absl::Cord(*t.memory) : co_await t.read(0, t.size_bytes);
    DeliveryResult result;
    // A host that never greets: the attempt hangs, and its thread goes on with others.
    while (absl::StartsWith(t.destination.name(), "silent") && !Released()) co_await Sleep(absl::Milliseconds(20));
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &FakeDelivery::MayGo));
    result.reachability = Reachability::kSuccess;
    for (const Target& target : t.targets) {
      const std::string& address = target.recipient.address();
      const auto& account = target.recipient.resolved().local().account();
      accounts_.push_back(absl::StrCat(account.account_id(), "@", account.home()));
      attempts_.push_back(absl::StrCat(address, "#", target.index));
      std::deque<Outcome>& script = script_[address];
      Outcome outcome = MakeOutcome(success_, 250, "2.0.0", "ok");
      if (!script.empty()) {
        outcome = script.front();
        script.pop_front();
      }
      if (aborted_) outcome = MakeOutcome(Outcome::Kind::kTemporary, 451, "4.4.2", "cut");
      if (bytes.ok()) bodies_[address] = std::string(*bytes);
      if (unreachable_.contains(t.destination.name())) {
        result.reachability = Reachability::kUnreachable;
        outcome = MakeOutcome(Outcome::Kind::kTemporary, 0, "4.4.1", "");
        outcome.attempt.set_error("connection refused");
      }
      result.outcomes.push_back(outcome);
    }
    co_return result;
  }
  void Abort() override {
    absl::MutexLock lock(&mutex_);
    aborted_ = true;
  }

  void Script(const std::string& address, std::deque<Outcome> outcomes) {
    absl::MutexLock lock(&mutex_);
    script_[address] = std::move(outcomes);
  }
  void SetUnreachable(const std::string& destination, bool is) {
    absl::MutexLock lock(&mutex_);
    is ? (void)unreachable_.insert(destination) : (void)unreachable_.erase(destination);
  }
  // Attempts at "silent..." domains end.
  void Release() {
    absl::MutexLock lock(&mutex_);
    released_ = true;
  }
  bool Released() const {
    absl::MutexLock lock(&mutex_);
    return released_ || aborted_;
  }
  void Hold(bool hold) {
    absl::MutexLock lock(&mutex_);
    held_ = hold;
  }
  std::vector<std::string> attempts() const {
    absl::MutexLock lock(&mutex_);
    return attempts_;
  }
  std::vector<std::string> accounts() const {
    absl::MutexLock lock(&mutex_);
    return accounts_;
  }
  std::string body(const std::string& address) const {
    absl::MutexLock lock(&mutex_);
    const auto it = bodies_.find(address);
    return it == bodies_.end() ? "" : it->second;
  }

 private:
  bool MayGo() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !held_ || aborted_; }
  const Outcome::Kind success_;
  mutable absl::Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> attempts_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> accounts_ ABSL_GUARDED_BY(mutex_);  // of the attempts
  std::map<std::string, std::deque<Outcome>> script_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> bodies_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> unreachable_ ABSL_GUARDED_BY(mutex_);
};

// "x@local.example" is an account, other domains are remote; "alias@..." is two recipients.
class FakeRouting final : public Routing {
 public:
  using Response = routing::v1::ResolveRecipientResponse;
  Task<absl::StatusOr<std::shared_ptr<const routing::v1::ResolveDestinationResponse>>> ResolveDestination(
      std::string domain, std::string) override {
    ++asked;
    while (absl::StartsWith(domain, "mute") && !released.load()) co_await Sleep(absl::Milliseconds(1));
    auto response = std::make_shared<routing::v1::ResolveDestinationResponse>();
    response->set_outcome(routing::v1::ResolveDestinationResponse::OUTCOME_HOSTS);
    const auto it = sites.find(domain);
    response->set_site(it == sites.end() ? domain : it->second);
    co_return response;
  }
  std::atomic<int> asked{0};                 // for domains
  std::atomic<bool> released{false};         // until then no answer comes for "mute..." domains
  std::map<std::string, std::string> sites;  // of domains that are not their own site; set before it is used
  Task<absl::StatusOr<Response>> ResolveRecipient(std::string address, std::string) override {
    co_return Answer(address);
  }
  Task<absl::StatusOr<Response>> ResolveLocal(std::string address, std::string) override {
    absl::MutexLock lock(&mutex_);
    const auto it = changed_.find(address);
    co_return it == changed_.end() ? Answer(address) : it->second;
  }
  // What routing answers from now on for an address that was ours.
  void Change(const std::string& address, absl::StatusOr<Response> answer) {
    absl::MutexLock lock(&mutex_);
    changed_.insert_or_assign(address, std::move(answer));
  }
  static Response To(const std::string& address, const std::string& account, const std::string& home) {
    Response response;
    response.set_outcome(Response::OUTCOME_ACCEPT);
    auto* recipient = response.add_recipients();
    recipient->set_address(address);
    recipient->mutable_local()->mutable_account()->set_account_id(account);
    recipient->mutable_local()->mutable_account()->set_home(home);
    return response;
  }
  static Response Refuse(Response::Outcome outcome) {
    Response response;
    response.set_outcome(outcome);
    return response;
  }
  static Response Answer(const std::string& address) {
    Response response;
    response.set_outcome(Response::OUTCOME_ACCEPT);
    if (absl::StartsWith(address, "nobody@")) response.set_outcome(Response::OUTCOME_NO_SUCH_MAILBOX);
    std::vector<std::string> finals = {address};
    if (absl::StartsWith(address, "alias@")) finals = {"one@local.example", "two@remote.example"};
    for (const std::string& final_address : finals) {
      auto* recipient = response.add_recipients();
      recipient->set_address(final_address);
      const std::string domain = final_address.substr(final_address.find('@') + 1);
      if (domain == "local.example") {
        recipient->mutable_local()->mutable_account()->set_home("m1");
      } else {
        recipient->mutable_remote()->set_domain(domain);
      }
    }
    return response;
  }

 private:
  absl::Mutex mutex_;
  std::map<std::string, absl::StatusOr<Response>> changed_ ABSL_GUARDED_BY(mutex_);
};

class DispatcherTest : public ::testing::Test {
 protected:
  DispatcherTest() { Start(); }
  ~DispatcherTest() override { Stop(); }

  void Start() {
    store_ = std::make_unique<store::MemoryStore>(disk_);
    SpoolOptions options;
    options.executor = &loops_.at(0);
    options.linger = absl::Milliseconds(1);
    options.memory_body_budget = body_budget_;
    const auto wall = [this] { return clock_.Now(); };
    options.clock = wall;
    if (use_calm_clock_) {
      calm_ =
          std::make_unique<CalmClock>(CalmClock::Options{.wall = wall, .monotonic = [this] { return steady_.Now(); }});
      options.clock = [this] { return calm_->Now(); };
    }
    absl::StatusOr<std::unique_ptr<Spool>> spool = SyncWait(Spool::Open(*store_, options));
    PH_CHECK(spool.ok());
    spool_ = *std::move(spool);
    local_ = std::make_unique<FakeDelivery>(Outcome::Kind::kDelivered);
    remote_ = std::make_unique<FakeDelivery>(Outcome::Kind::kRelayed);
    DispatcherOptions dispatch = options_;
    dispatch.clock = options.clock;
    dispatch.steady = [this] { return steady_.Now(); };
    dispatch.calm = calm_.get();
    dispatch.random = [] { return 0.5; };
    dispatch.bounce.hostname = "mx.example.net";
    dispatcher_ = Dispatcher::Create({loops_, *spool_, routing_, *local_, *remote_, metrics_}, dispatch);
  }
  void Stop() {
    if (dispatcher_ == nullptr) return;
    dispatcher_->Drain(absl::ZeroDuration());
    dispatcher_ = nullptr;
    SyncWait(spool_->Close());
  }
  // kill -9: uncommitted changes are lost.
  void Crash() {
    disk_->SetCommitHook([](const store::CommitRequest&, bool*) { return absl::UnavailableError("dead"); });
    Stop();
    disk_->SetCommitHook(nullptr);
    Start();
  }

  // Puts a message as Enqueue does. Recipients are resolved unless they begin with "?".
  QueueId Put(std::vector<std::string> recipients, const std::string& body = "Subject: x\r\n\r\nhello\r\n",
              bool hand_over = true) {
    auto record = std::make_shared<ItemRecord>();
    record->item.mutable_envelope()->set_reverse_path(sender_);
    for (std::string& address : recipients) {
      auto* recipient = record->item.add_recipients();
      recipient->set_state(v1::RECIPIENT_STATE_QUEUED);
      const bool unresolved = address[0] == '?';
      if (unresolved) address.erase(0, 1);
      recipient->mutable_recipient()->set_address(address);
      if (!unresolved) {
        *recipient->mutable_recipient()->mutable_resolved() = FakeRouting::Answer(address).recipients(0);
      }
      ToProto(spool_->options().clock(), recipient->mutable_next_attempt());
    }
    ToProto(spool_->options().clock(), record->item.mutable_accepted());
    ToProto(spool_->options().clock() + absl::Hours(120), record->item.mutable_expires());
    RefreshNextAttempt(&record->item);
    std::unique_ptr<BodyWriter> writer = spool_->NewBody();
    PH_CHECK(SyncWait(writer->Append(body)).ok());
    record->resolved = resolved_;
    Body written = *SyncWait(writer->Finish());
    const auto memory = written.memory;
    const absl::Time wake = WakeTime(record->item, absl::Hours(4));
    const PutResult put = *SyncWait(spool_->Put(record, std::move(written), wake));
    if (hand_over) dispatcher_->Accept(record, memory);
    return put.queue_id;
  }

  // Waits in real time, at most a minute, until `condition` holds.
  template <typename Condition>
  void Until(Condition condition, const char* what) {
    const absl::Time give_up = absl::Now() + absl::Seconds(60);
    while (!condition()) {
      ASSERT_LT(absl::Now(), give_up) << "waiting for " << what;
      absl::SleepFor(absl::Milliseconds(1));
    }
  }
  void UntilEmpty() {
    Until([this] { return spool_->ledger().queued() == 0; }, "an empty queue");
  }
  void UntilAttempts(FakeDelivery& delivery, size_t n) {
    Until([&] { return delivery.attempts().size() >= n; }, "attempts");
  }
  void Advance(absl::Duration by) {
    clock_.Advance(by);
    steady_.Advance(by);
    dispatcher_->WakeForTest();
  }
  // Attempts in progress.
  int Running() {
    int running = 0;
    for (const auto& state : dispatcher_->Destinations()) running += state.running;
    return running;
  }
  v1::Item ItemOf(const QueueId& id) {
    absl::StatusOr<std::optional<ItemRecord>> record = SyncWait(spool_->Load(id));
    if (record.ok() && !record->has_value()) record = SyncWait(spool_->LoadDone(id));
    EXPECT_TRUE(record.ok()) << record.status();
    return record.ok() && record->has_value() ? (*record)->item : v1::Item();
  }
  // Stored attempts of the item's first recipient.
  uint32_t SavedAttempts(const QueueId& id) {
    const v1::Item item = ItemOf(id);
    return item.recipients().empty() ? 0 : item.recipients(0).attempts();
  }

  static Outcome Temporary() { return MakeOutcome(Outcome::Kind::kTemporary, 451, "4.3.0", "later"); }
  static Outcome Permanent() { return MakeOutcome(Outcome::Kind::kPermanent, 550, "5.1.1", "no such user"); }

  FakeClock clock_, steady_;
  absl::Time resolved_ = absl::InfinitePast();  // when the recipients of Put() were, by steady_
  bool use_calm_clock_ = false;
  std::unique_ptr<CalmClock> calm_;
  net::EventLoops loops_{2};
  metrics::Registry registry_;
  Metrics metrics_{registry_};
  DispatcherOptions options_;
  std::string sender_ = "sender@local.example";
  size_t body_budget_ = 64 * 1024 * 1024;
  std::shared_ptr<store::MemoryDisk> disk_ = std::make_shared<store::MemoryDisk>();
  std::unique_ptr<store::MemoryStore> store_;
  std::unique_ptr<Spool> spool_;
  FakeRouting routing_;
  std::unique_ptr<FakeDelivery> local_, remote_;
  std::shared_ptr<Dispatcher> dispatcher_;
};

using Strings = std::vector<std::string>;

TEST_F(DispatcherTest, AnAcceptedMessageIsDeliveredFromMemory) {
  // Without reading the due index.
  const QueueId id = Put({"user@local.example"});
  UntilEmpty();
  EXPECT_EQ(local_->attempts(), Strings{"user@local.example#0"});
  EXPECT_EQ(local_->body("user@local.example"), "Subject: x\r\n\r\nhello\r\n");
  EXPECT_EQ(spool_->ledger().delivered, 1u);
  EXPECT_EQ(ItemOf(id).recipients(0).state(), v1::RECIPIENT_STATE_DELIVERED);
}

TEST_F(DispatcherTest, EachDestinationIsItsOwnAttempt) {
  Put({"a@local.example", "b@remote.example", "c@local.example", "d@remote.example", "e@other.example"});
  UntilEmpty();
  EXPECT_EQ(local_->attempts(), (Strings{"a@local.example#0", "c@local.example#2"}));
  const Strings remote = remote_->attempts();
  EXPECT_EQ(remote.size(), 3u);
  EXPECT_EQ(spool_->ledger().relayed, 3u);
}

// Messages that wait for slow hosts do not all stay in memory.
TEST_F(DispatcherTest, WaitingMessagesAreReadAgainWhenMemoryIsShort) {
  Stop();
  body_budget_ = 50000;
  Start();
  remote_->Hold(true);
  for (int i = 0; i < 20; ++i) Put({absl::StrCat("user", i, "@remote.example")}, std::string(10000, 'x') + "\r\n");
  EXPECT_LE(spool_->body_memory(), body_budget_ + 20000);
  remote_->Hold(false);
  UntilEmpty();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(remote_->body(absl::StrCat("user", i, "@remote.example")).size(), 10002u);
}

TEST_F(DispatcherTest, WhatIsDueAfterARestartIsFound) {
  Put({"user@local.example"}, "Subject: x\r\n\r\nhello\r\n", /*hand_over=*/false);
  Crash();
  dispatcher_->Start();
  UntilEmpty();
  EXPECT_EQ(local_->body("user@local.example"), "Subject: x\r\n\r\nhello\r\n");  // from the store
}

TEST_F(DispatcherTest, ATemporaryFailureIsRetriedWhenItsTimeComes) {
  dispatcher_->Start();
  remote_->Script("user@remote.example", {Temporary(), Temporary()});
  const QueueId id = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  EXPECT_EQ(remote_->attempts().size(), 1u);
  Advance(absl::Seconds(80));
  Until([&] { return SavedAttempts(id) == 2; }, "the second");
  Advance(absl::Seconds(160));
  UntilEmpty();
  EXPECT_EQ(remote_->attempts().size(), 3u);
  EXPECT_EQ(ItemOf(id).history_size(), 3);
}

// Hosts reply in any charset; the row must stay readable.
TEST_F(DispatcherTest, ARemoteReplyInLatin1IsKeptReadable) {
  dispatcher_->Start();
  remote_->Script("user@remote.example",
                  {MakeOutcome(Outcome::Kind::kTemporary, 450, "4.2.0", "bo\xeete temporairement indisponible")});
  const QueueId id = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  EXPECT_EQ(ItemOf(id).recipients(0).last().reply().text(), "bo?te temporairement indisponible");
  Advance(absl::Seconds(80));
  UntilEmpty();
}

TEST_F(DispatcherTest, RetriesSurviveARestart) {
  remote_->Script("user@remote.example", {Temporary()});
  const QueueId id = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  Crash();
  dispatcher_->Start();
  Advance(absl::Seconds(80));
  UntilEmpty();
  EXPECT_EQ(SavedAttempts(id), 2u);
}

TEST_F(DispatcherTest, AHeldMessageWaitsForAnOperatorAndThenHasADay) {
  remote_->Script("user@remote.example", {Temporary()});
  const QueueId id = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  Crash();
  const absl::StatusOr<uint64_t> held = SyncWait(HoldAll(*spool_, absl::Hours(4)));
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(*held, 1u);
  dispatcher_->Start();
  Advance(absl::Hours(400));  // no time expires it, and no step of the clock pulls it back
  Put({"other@remote.example"});
  Until([&] { return spool_->ledger().relayed == 1; }, "a new message");
  Advance(absl::Hours(1));
  Put({"other@remote.example"});
  Until([&] { return spool_->ledger().relayed == 2; }, "another");
  EXPECT_EQ(SavedAttempts(id), 1u);
  EXPECT_EQ(FromProto(ItemOf(id).next_attempt()), kHeldUntil);
  ASSERT_TRUE(SyncWait(dispatcher_->Retry(id)).ok());
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().relayed, 3u);
  EXPECT_EQ(spool_->ledger().expired, 0u);
}

// The report is committed together with the failure.
TEST_F(DispatcherTest, AFailureIsReportedToTheSender) {
  remote_->Script("user@remote.example", {Permanent()});
  const QueueId id = Put({"user@remote.example"});
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().failed, 1u);
  EXPECT_EQ(spool_->ledger().accepted, 2u);
  EXPECT_EQ(local_->attempts(), Strings{"sender@local.example#0"});
  const std::string report = local_->body("sender@local.example");
  EXPECT_TRUE(absl::StrContains(report, "Final-Recipient: rfc822; user@remote.example"));
  EXPECT_TRUE(absl::StrContains(report, "Status: 5.1.1"));
  EXPECT_TRUE(absl::StrContains(report, "Subject: x"));
  EXPECT_TRUE(absl::StrContains(report, id.Text()));
}

TEST_F(DispatcherTest, AFailedReportIsNotReported) {
  sender_ = "sender@remote.example";
  remote_->Script("user@remote.example", {Permanent()});
  remote_->Script("sender@remote.example", {Permanent()});
  Put({"user@remote.example"});
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().failed, 2u);
  EXPECT_EQ(spool_->ledger().accepted, 2u);
  // The report has NOTIFY=NEVER, so its failure is not a double bounce. The failure of
  // another message with the null reverse-path is one.
  EXPECT_EQ(metrics_.double_bounces.Value(), 0);
  sender_ = "";
  remote_->Script("user@remote.example", {Permanent()});
  Put({"user@remote.example"});
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().accepted, 3u);
  EXPECT_EQ(metrics_.double_bounces.Value(), 1);
}

TEST_F(DispatcherTest, DelayedAndThenExpired) {
  dispatcher_->Start();
  remote_->Script("user@remote.example", std::deque<Outcome>(500, Temporary()));
  const QueueId id = Put({"user@remote.example"});
  for (uint32_t n = 1; ItemOf(id).recipients(0).state() == v1::RECIPIENT_STATE_QUEUED; ++n) {
    Until([&] { return SavedAttempts(id) >= n || spool_->ledger().expired > 0; }, "an attempt on file");
    Advance(absl::Hours(2));
  }
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().expired, 1u);
  EXPECT_EQ(local_->attempts().size(), 2u);  // one warning, one failure
  EXPECT_TRUE(absl::StrContains(local_->body("sender@local.example"), "Status: 4.4.7"));
}

TEST_F(DispatcherTest, AliasesAreFollowed) {
  const QueueId id = Put({"?alias@anywhere.example"});
  UntilEmpty();
  EXPECT_EQ(local_->attempts(), Strings{"one@local.example#0"});
  EXPECT_EQ(remote_->attempts(), Strings{"two@remote.example#1"});
  EXPECT_EQ(spool_->ledger().accepted, 2u);
  EXPECT_EQ(ItemOf(id).recipients_size(), 2);
}

TEST_F(DispatcherTest, WhoCannotBeResolvedFails) {
  Put({"?nobody@local.example"});
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().failed, 1u);
  EXPECT_EQ(local_->attempts(), Strings{"sender@local.example#0"});
}

TEST_F(DispatcherTest, OneDeadDestinationDelaysNobodyElse) {
  options_.scheduler.max_waiting_per_site = 20;
  options_.window_entries = 30;
  options_.page_rows = 10;
  Crash();
  dispatcher_->Start();
  remote_->SetUnreachable("dead.example", true);
  for (int i = 0; i < 200; ++i) Put({absl::StrCat("u", i, "@dead.example")});
  Put({"user@remote.example"});
  Until([&] { return spool_->ledger().relayed == 1; }, "the live one");
  EXPECT_EQ(spool_->ledger().queued(), 200u);
  // Later messages pass too, also from the due index.
  remote_->Script("late@remote.example", {Temporary()});
  const QueueId late = Put({"late@remote.example"});
  Until([&] { return SavedAttempts(late) == 1; }, "its failure on file");
  Advance(absl::Minutes(2));
  Until([&] { return spool_->ledger().relayed == 2; }, "the live one again");
  // A blocked destination gets probes only.
  EXPECT_LT(remote_->attempts().size(), 30u);
  // When it is reachable again, all messages are delivered.
  remote_->SetUnreachable("dead.example", false);
  for (int i = 0; i < 1000 && spool_->ledger().queued() > 0; ++i) {
    Advance(absl::Minutes(5));  // never so far that a message expires
    absl::SleepFor(absl::Milliseconds(5));
  }
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().relayed, 202u);
}

TEST_F(DispatcherTest, ABlockedDestinationDoesNotStopExpiry) {
  dispatcher_->Start();
  remote_->SetUnreachable("dead.example", true);
  for (int i = 0; i < 30; ++i) Put({absl::StrCat("u", i, "@dead.example")});
  UntilAttempts(*remote_, 1);
  for (int i = 0; i < 1000 && spool_->ledger().expired < 30; ++i) {
    Advance(absl::Hours(10));
    absl::SleepFor(absl::Milliseconds(5));
  }
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().expired, 30u);
}

// ---- local recipients are resolved again before each attempt

using Answers = FakeRouting::Response;

TEST_F(DispatcherTest, AnAccountThatWasDeletedBouncesTheMailThatWaits) {
  dispatcher_->Start();
  local_->Script("user@local.example", {Temporary()});
  const QueueId id = Put({"user@local.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  routing_.Change("user@local.example", FakeRouting::Refuse(Answers::OUTCOME_NO_SUCH_MAILBOX));
  Advance(absl::Seconds(80));
  UntilEmpty();
  EXPECT_EQ(ItemOf(id).recipients(0).state(), v1::RECIPIENT_STATE_FAILED);
  EXPECT_EQ(local_->attempts(), (Strings{"user@local.example#0", "sender@local.example#0"}));
  EXPECT_TRUE(absl::StrContains(local_->body("sender@local.example"), "Status: 5.1.1"));
}

TEST_F(DispatcherTest, AnAccountThatWasDeletedBeforeTheFirstAttemptBounces) {
  routing_.Change("user@local.example", FakeRouting::Refuse(Answers::OUTCOME_NO_SUCH_MAILBOX));
  Put({"user@local.example"});
  UntilEmpty();
  EXPECT_EQ(local_->attempts(), Strings{"sender@local.example#0"});
}

// What ingress asked a moment ago is not asked again for the first attempt; for each later one it is.
TEST_F(DispatcherTest, ARecipientThatWasResolvedJustNowIsNotResolvedAgainAtOnce) {
  dispatcher_->Start();
  local_->Script("user@local.example", {Temporary()});
  routing_.Change("user@local.example", FakeRouting::To("user@local.example", "a2", "m2"));
  resolved_ = steady_.Now() - absl::Milliseconds(400);
  const QueueId id = Put({"user@local.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  EXPECT_EQ(local_->accounts(), Strings{"@m1"});
  ASSERT_TRUE(SyncWait(dispatcher_->Retry(id)).ok());
  UntilEmpty();
  EXPECT_EQ(local_->accounts(), (Strings{"@m1", "a2@m2"}));
}

TEST_F(DispatcherTest, ARecipientThatWasResolvedLongerAgoIsResolvedAgain) {
  routing_.Change("user@local.example", FakeRouting::To("user@local.example", "a2", "m2"));
  resolved_ = steady_.Now() - absl::Milliseconds(500);
  Put({"user@local.example"});
  UntilEmpty();
  EXPECT_EQ(local_->accounts(), Strings{"a2@m2"});
}

// With the same delivery id: the old store may have stored the message before it lost the answer.
TEST_F(DispatcherTest, AnAccountThatWasMovedOrMadeAgainGetsItsMailThere) {
  dispatcher_->Start();
  local_->Script("user@local.example", {Temporary(), Temporary()});
  const QueueId id = Put({"user@local.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  routing_.Change("user@local.example", FakeRouting::To("user@local.example", "a2", "m1"));
  ASSERT_TRUE(SyncWait(dispatcher_->Retry(id)).ok());
  Until([&] { return SavedAttempts(id) == 2; }, "the second");
  routing_.Change("user@local.example", FakeRouting::To("user@local.example", "a2", "m2"));
  ASSERT_TRUE(SyncWait(dispatcher_->Retry(id)).ok());
  UntilEmpty();
  EXPECT_EQ(local_->accounts(), (Strings{"@m1", "a2@m1", "a2@m2"}));
  EXPECT_EQ(local_->attempts()[2], "user@local.example#0");
  EXPECT_EQ(ItemOf(id).recipients(0).recipient().resolved().local().account().home(), "m2");
}

// Also when the mailbox process of the old home is down: it is not asked.
TEST_F(DispatcherTest, MailLeavesADeadHomeWithItsAccounts) {
  dispatcher_->Start();
  local_->SetUnreachable("m1", true);
  for (int i = 0; i < 5; ++i) Put({absl::StrCat("u", i, "@local.example")});
  UntilAttempts(*local_, 1);
  for (int i = 0; i < 5; ++i) {
    const std::string address = absl::StrCat("u", i, "@local.example");
    routing_.Change(address, FakeRouting::To(address, "a", "m2"));
  }
  for (int i = 0; i < 1000 && spool_->ledger().queued() > 0; ++i) {
    Advance(absl::Seconds(2));
    absl::SleepFor(absl::Milliseconds(5));
  }
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().delivered, 5u);
}

TEST_F(DispatcherTest, AMailboxThatDoesNotKnowTheAccountHasItResolvedAgainSoon) {
  dispatcher_->Start();
  Outcome unknown = MakeOutcome(Outcome::Kind::kTemporary, 450, "4.2.1", "mailbox is not at this store");
  unknown.resolve_again = true;
  local_->Script("user@local.example", {unknown});
  const QueueId id = Put({"user@local.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  routing_.Change("user@local.example", FakeRouting::Refuse(Answers::OUTCOME_NO_SUCH_MAILBOX));
  Advance(absl::Seconds(1));
  UntilEmpty();
  EXPECT_EQ(ItemOf(id).recipients(0).state(), v1::RECIPIENT_STATE_FAILED);
}

TEST_F(DispatcherTest, RoutingThatDoesNotAnswerDoesNotStopLocalMail) {
  routing_.Change("a@local.example", absl::UnavailableError("down"));
  routing_.Change("b@local.example", FakeRouting::Refuse(Answers::OUTCOME_TEMPORARY));
  Put({"a@local.example", "b@local.example"});
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().delivered, 2u);
}

TEST_F(DispatcherTest, ASuspendedAccountGetsItsMailLater) {
  dispatcher_->Start();
  routing_.Change("user@local.example", FakeRouting::Refuse(Answers::OUTCOME_SUSPENDED));
  const QueueId id = Put({"user@local.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the refusal on file");
  EXPECT_TRUE(local_->attempts().empty());
  EXPECT_EQ(ItemOf(id).recipients(0).last().reply().enhanced(), "4.2.1");
  routing_.Change("user@local.example", FakeRouting::Answer("user@local.example"));
  Advance(absl::Seconds(80));
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().delivered, 1u);
}

// The first answer that fails does not keep the others from being asked for.
TEST_F(DispatcherTest, EachUnresolvedRecipientIsResolvedInOneGo) {
  Put({"?nobody@local.example", "?nobody@other.example", "?user@local.example"});
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().failed, 2u);
  EXPECT_EQ(spool_->ledger().delivered, 2u);  // and one report on both
  EXPECT_EQ(spool_->ledger().accepted, 4u);
}

// ---- hosts that do not answer

// Also after a restart: routing is asked before the first attempt.
TEST_F(DispatcherTest, ManyDomainsOfOneSilentHostGetTheConnectionsOfOneHost) {
  for (int i = 0; i < 1500; ++i) {
    const std::string domain = absl::StrCat("silent", i, ".example");
    routing_.sites[domain] = "mx.silent.example";
    Put({absl::StrCat("u@", domain)}, "Subject: x\r\n\r\n", /*hand_over=*/false);
  }
  Crash();
  dispatcher_->Start();
  Until([&] { return dispatcher_->Destinations().size() == 1 && Running() == 1; }, "one connection");
  Put({"user@live.example"});
  Until([&] { return spool_->ledger().relayed == 1; }, "the live one");
  EXPECT_EQ(dispatcher_->Destinations().size(), 1u);
  EXPECT_EQ(Running(), 1);
  remote_->Release();
  UntilEmpty();
}

// After a restart the site of no domain is known: the lookups for all that waits must not delay new mail.
TEST_F(DispatcherTest, LookupsForTheBacklogLeaveRoomForNewMail) {
  for (int i = 0; i < 1100; ++i) {
    Put({absl::StrCat("u@mute", i, ".example")}, "Subject: x\r\n\r\n", /*hand_over=*/false);
  }
  Crash();
  dispatcher_->Start();
  Until([&] { return routing_.asked >= 300; }, "the lookups of the backlog");
  Put({"user@live.example"});
  Until([&] { return spool_->ledger().relayed == 1; }, "the live one");
  routing_.released = true;
  UntilEmpty();
}

TEST_F(DispatcherTest, ManySilentHostsLeaveRoomForOthers) {
  dispatcher_->Start();
  for (int i = 0; i < 600; ++i) Put({absl::StrCat("u", i, "@silent", i % 150, ".example")});
  Until([&] { return Running() == 150; }, "one connection to each");
  Put({"user@live.example"});
  Until([&] { return spool_->ledger().relayed == 1; }, "the live one");
  EXPECT_EQ(Running(), 150);
  remote_->Release();
  UntilEmpty();
}

// What waits for a blocked destination says so to the sender.
TEST_F(DispatcherTest, ADelayWarningNamesTheReasonOfTheBlock) {
  dispatcher_->Start();
  remote_->SetUnreachable("dead.example", true);
  const QueueId first = Put({"u1@dead.example"});
  Until([&] { return SavedAttempts(first) == 1; }, "the attempt that blocks it");
  const QueueId second = Put({"u2@dead.example"});
  const std::vector<DestinationScheduler::SiteState> states = dispatcher_->Destinations();
  ASSERT_EQ(states.size(), 1u);
  EXPECT_EQ(states[0].site, Destination::Remote("dead.example"));
  EXPECT_EQ(states[0].blocked_until, clock_.Now() + absl::Minutes(1));
  EXPECT_EQ(states[0].failing_since, clock_.Now());
  EXPECT_EQ(states[0].last_failure.error(), "connection refused");
  for (int i = 0; i < 1000 && !ItemOf(second).recipients(0).delay_warned(); ++i) {
    Advance(absl::Minutes(10));
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_EQ(ItemOf(second).recipients(0).last().error(), "connection refused");
  Until([&] { return absl::StrContains(local_->body("sender@local.example"), "connection refused"); }, "the warning");
}

// ---- steps of the clock

class SteppedClockTest : public DispatcherTest {
 protected:
  SteppedClockTest() {
    Stop();
    use_calm_clock_ = true;
    Start();
    dispatcher_->Start();
  }
  ~SteppedClockTest() override { Stop(); }
};

TEST_F(SteppedClockTest, AStepNeitherStopsRetriesNorExpiresMail) {
  for (const absl::Duration step : {absl::Hours(-1), absl::Hours(240)}) {
    remote_->Script("user@remote.example", std::deque<Outcome>(100, Temporary()));
    const QueueId id = Put({"user@remote.example"});
    Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
    clock_.Advance(step);
    for (uint32_t n = 2; n < 8; ++n) {
      Advance(absl::Minutes(2) * (1 << (n - 2)));  // the waits double
      Until([&] { return SavedAttempts(id) >= n; }, "a retry");
    }
    EXPECT_EQ(ItemOf(id).recipients(0).state(), v1::RECIPIENT_STATE_QUEUED) << step;
    clock_.Advance(-step);
    remote_->Script("user@remote.example", {});
    ASSERT_TRUE(SyncWait(dispatcher_->Retry(id)).ok());
    UntilEmpty();
  }
  EXPECT_EQ(spool_->ledger().expired, 0u);
}

// The clock was wrong when the message came, and is set right.
TEST_F(SteppedClockTest, AnItemOfTheFutureIsTriedAgain) {
  clock_.Advance(absl::Hours(240));
  Stop();
  Start();
  remote_->Script("user@remote.example", {Temporary()});
  const QueueId id = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  Stop();
  clock_.Advance(absl::Hours(-240));
  Start();
  dispatcher_->Start();
  UntilEmpty();
}

// ---- crashes: between any two steps, at most a repeated attempt, never a loss

TEST_F(DispatcherTest, KilledAtEachCommit) {
  for (int step = 0; step < 6; ++step) {
    const uint64_t before = spool_->ledger().accepted;
    const std::string user = absl::StrCat("user", step, "@remote.example");
    remote_->Script(user, {Permanent()});
    const QueueId id = Put({user}, "Subject: x\r\n\r\nhello\r\n", /*hand_over=*/false);
    int calls = 0;
    disk_->SetCommitHook([&calls, step](const store::CommitRequest&, bool*) -> absl::Status {
      return calls++ < step ? absl::OkStatus() : absl::UnavailableError("killed");
    });
    dispatcher_->Start();
    Until([&] { return !remote_->attempts().empty(); }, "an attempt");
    Stop();
    disk_->SetCommitHook(nullptr);
    Start();
    remote_->Script(user, {Permanent()});
    dispatcher_->Start();
    UntilEmpty();
    // Failed once, reported once.
    EXPECT_EQ(spool_->ledger().accepted, before + 2) << step;
    EXPECT_EQ(ItemOf(id).recipients(0).state(), v1::RECIPIENT_STATE_FAILED);
    Crash();
  }
}

TEST_F(DispatcherTest, AnOutcomeThatCannotBeSavedIsNotTriedAgain) {
  // The remote host has accepted the message: it must not get it twice because a commit fails.
  std::atomic<int> refused{0};
  const QueueId id = Put({"user@remote.example"}, "Subject: x\r\n\r\nhello\r\n", /*hand_over=*/false);
  disk_->SetCommitHook([&refused](const store::CommitRequest&, bool*) -> absl::Status {
    return refused++ < 2 ? absl::UnavailableError("busy") : absl::OkStatus();
  });
  dispatcher_->Start();
  UntilEmpty();
  EXPECT_EQ(remote_->attempts().size(), 1u);
  EXPECT_EQ(ItemOf(id).recipients(0).state(), v1::RECIPIENT_STATE_RELAYED);
  disk_->SetCommitHook(nullptr);
}

// Else mail that a host deferred would never leave the disk that it fills.
TEST_F(DispatcherTest, OnAFullStoreDeferredMailIsTriedAgainFromHalfOfTheReserve) {
  remote_->Script("user@remote.example", {Temporary(), Temporary()});
  const QueueId id = Put({"user@remote.example"}, "Subject: x\r\n\r\nhello\r\n", /*hand_over=*/false);
  disk_->SetFreeBytes(/*free_bytes=*/700, /*min_free_bytes=*/1000);
  dispatcher_->Start();
  UntilAttempts(*remote_, 1);
  Until([&] { return SavedAttempts(id) == 1; }, "the outcome");
  // The other half is for what makes room.
  disk_->SetFreeBytes(400, 1000);
  Advance(absl::Minutes(10));
  UntilAttempts(*remote_, 2);
  Until([&] { return registry_.Serialize().find("posthouse_queue_save_failures_total 0") == std::string::npos; },
        "an outcome that is not saved");
  EXPECT_EQ(SavedAttempts(id), 1u);
  disk_->SetFreeBytes(700, 1000);
  Until([&] { return SavedAttempts(id) == 2; }, "the outcome");
  Advance(absl::Hours(2));
  UntilEmpty();
  EXPECT_EQ(remote_->attempts().size(), 3u);
}

TEST_F(DispatcherTest, AStaleDueRowIsRemoved) {
  Change change;
  change.Set(DueKey(clock_.Now(), NewQueueId(clock_.Now())), EncodeValue(v1::DueRow()));
  ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  dispatcher_->Start();
  Until([&] { return SyncWait(spool_->ReadDue("", 10))->entries.empty(); }, "the row's removal");
}

TEST_F(DispatcherTest, ADueRowAtTheWrongTimeIsRefiled) {
  remote_->Script("user@remote.example", {Temporary()});
  const QueueId id = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  const absl::Time due = FromProto(ItemOf(id).next_attempt());
  Stop();
  Start();
  Change change;
  change.Remove(DueKey(due, id));
  change.Set(DueKey(kStart, id), EncodeValue(v1::DueRow()));
  ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  dispatcher_->Start();
  Until(
      [&] {
        const DuePage page = *SyncWait(spool_->ReadDue("", 10));
        return page.entries.size() == 1 && page.entries[0].due == due;
      },
      "the row at its place");
  EXPECT_TRUE(remote_->attempts().empty());
}

TEST_F(DispatcherTest, ALostBodyFailsWithAReport) {
  const QueueId id = Put({"user@remote.example"}, "Subject: x\r\n\r\nhello\r\n", /*hand_over=*/false);
  Change change;
  change.Remove(BodyKey(id));
  ASSERT_TRUE(SyncWait(spool_->Commit(std::move(change))).ok());
  remote_->Script("user@remote.example", {OutcomeForUnreadable(absl::NotFoundError("no body"))});
  dispatcher_->Start();
  UntilEmpty();
  EXPECT_TRUE(absl::StrContains(local_->body("sender@local.example"), "Status: 5.3.0"));
}

// ---- draining

TEST_F(DispatcherTest, DrainWaitsForWhatRuns) {
  remote_->Hold(true);
  std::thread put([this] { Put({"user@remote.example"}); });
  put.join();
  std::thread drain([this] { dispatcher_->Drain(absl::Seconds(60)); });
  remote_->Hold(false);
  drain.join();
  EXPECT_EQ(spool_->ledger().relayed + spool_->ledger().queued(), 1u);
  const QueueId later = Put({"later@remote.example"});
  EXPECT_EQ(ItemOf(later).recipients(0).state(), v1::RECIPIENT_STATE_QUEUED);
}

TEST_F(DispatcherTest, DrainCutsWhatHangsAndLeavesItDue) {
  remote_->Hold(true);
  const QueueId id = Put({"user@remote.example"}, "Subject: x\r\n\r\nhello\r\n", /*hand_over=*/false);
  dispatcher_->Start();
  dispatcher_->Drain(absl::Milliseconds(50));
  EXPECT_EQ(SavedAttempts(id), 0u);
  Stop();
  Start();
  dispatcher_->Start();
  UntilEmpty();
}

// ---- operators

TEST_F(DispatcherTest, RetryNow) {
  dispatcher_->Start();
  remote_->Script("user@remote.example", {Temporary()});
  const QueueId id = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  ASSERT_TRUE(SyncWait(dispatcher_->Retry(id)).ok());
  UntilEmpty();
  EXPECT_EQ(SyncWait(dispatcher_->Retry(id)).code(), absl::StatusCode::kNotFound);
}

// The same for a retry that becomes due.
TEST_F(DispatcherTest, ARetryDoesNotWaitForAnotherDestinationsLine) {
  Stop();
  options_.scheduler.max_remote = 0;
  Start();
  dispatcher_->Start();
  local_->Script("user@local.example", {Temporary(), Temporary()});
  const QueueId id = Put({"user@local.example", "waits@remote.example"});
  for (uint32_t n = 1; n <= 2; ++n) {
    Until([&] { return SavedAttempts(id) == n; }, "an attempt on file");
    Advance(absl::Minutes(4));
  }
  Until([&] { return spool_->ledger().delivered == 1; }, "the third");
  EXPECT_EQ(local_->attempts().size(), 3u);
}

// A recipient that waits in a line does not delay the retry of the others.
TEST_F(DispatcherTest, RetryNowReachesTheRecipientsBesideOneInALine) {
  Stop();
  options_.scheduler.max_remote = 0;
  Start();
  dispatcher_->Start();
  local_->Script("user@local.example", {Temporary()});
  const QueueId id = Put({"user@local.example", "waits@remote.example"});
  Until([&] { return SavedAttempts(id) == 1; }, "the first attempt on file");
  ASSERT_TRUE(SyncWait(dispatcher_->Retry(id)).ok());
  Until([&] { return spool_->ledger().delivered == 1; }, "the second");
  EXPECT_EQ(local_->attempts().size(), 2u);
  EXPECT_EQ(spool_->ledger().queued(), 1u);
}

TEST_F(DispatcherTest, RetryOfADestinationOpensItAgain) {
  dispatcher_->Start();
  remote_->SetUnreachable("dead.example", true);
  for (int i = 0; i < 10; ++i) Put({absl::StrCat("u", i, "@dead.example")});
  Put({"x@dead.example", "y@local.example"});
  UntilAttempts(*remote_, 1);
  remote_->SetUnreachable("dead.example", false);
  const absl::StatusOr<uint32_t> count = SyncWait(dispatcher_->RetryDestination("dead.example"));
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_LE(*count, 11u);     // some may have gone before they were asked
  Advance(absl::Seconds(2));  // a scan that was in progress is repeated after a second
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().relayed, 11u);
}

// Also when the host fails again meanwhile: a message has one turn a call, and the host one probe.
TEST_F(DispatcherTest, RetryOfADestinationCountsEachMessageOnceAndProbesOnce) {
  Stop();
  options_.page_rows = 10;
  Start();
  remote_->SetUnreachable("dead.example", true);
  for (int i = 0; i < 60; ++i) Put({absl::StrCat("u", i, "@dead.example")}, "Subject: x\r\n\r\n", /*hand_over=*/false);
  dispatcher_->Start();
  UntilAttempts(*remote_, 1);
  Advance(absl::Seconds(30));  // the rows lie in the past
  for (size_t call = 1; call <= 3; ++call) {
    const absl::StatusOr<uint32_t> count = SyncWait(dispatcher_->RetryDestination("dead.example"));
    ASSERT_TRUE(count.ok()) << count.status();
    EXPECT_EQ(*count, 60u);
    Advance(absl::Seconds(2));  // a scan that was in progress is repeated after a second
    UntilAttempts(*remote_, 1 + call);
    EXPECT_LE(remote_->attempts().size(), 1 + 4 * call);  // four may start before the first one fails
  }
}

// The other recipients of such messages wait for their own time.
TEST_F(DispatcherTest, RetryOfADestinationLeavesOtherRecipientsAsTheyAre) {
  dispatcher_->Start();
  remote_->Script("a@one.example", {Temporary(), Temporary()});
  remote_->Script("b@two.example", {Temporary()});
  const QueueId id = Put({"a@one.example", "b@two.example"});
  Until([&] { return ItemOf(id).attempts() == 2; }, "both attempts on file");
  ASSERT_EQ(*SyncWait(dispatcher_->RetryDestination("two.example")), 1u);
  Until([&] { return spool_->ledger().relayed == 1; }, "the retry");
  EXPECT_EQ(SavedAttempts(id), 1u);
}

TEST_F(DispatcherTest, DeleteWithAndWithoutABounce) {
  dispatcher_->Start();
  remote_->Script("user@remote.example", {Temporary(), Temporary()});
  const auto removed = [this](const QueueId& id, bool bounce) { return SyncWait(dispatcher_->Delete(id, bounce)); };
  const QueueId quiet = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(quiet) == 1; }, "the first attempt on file");
  EXPECT_TRUE(removed(quiet, false).ok());
  EXPECT_EQ(spool_->ledger().deleted, 1u);
  EXPECT_EQ(ItemOf(quiet).recipients(0).state(), v1::RECIPIENT_STATE_DELETED);
  const QueueId told = Put({"user@remote.example"});
  Until([&] { return SavedAttempts(told) == 1; }, "the first attempt on file");
  EXPECT_TRUE(removed(told, true).ok());
  UntilEmpty();
  EXPECT_EQ(spool_->ledger().deleted, 2u);
  EXPECT_EQ(local_->attempts(), Strings{"sender@local.example#0"});
  EXPECT_EQ(removed(told, true).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace posthouse::queue
