#include "services/common/store/testing/crash_workload.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/thread_pool.h"
#include "services/common/async/when_all.h"

namespace posthouse::store {
namespace {

std::string Name(int client, int round) { return absl::StrCat("m", client, "-", round); }

Partition HomeOf(int client) { return {"t", absl::StrCat("mb/", client % 3)}; }

// Small, above the blob file limit, above the lazy limit, and in pieces.
std::string BodyOf(int client, int round) {
  constexpr size_t kSizes[] = {900, 40'000, 3000, 300'000, 2000, 1'500'000};
  return std::string(kSizes[static_cast<size_t>(client + round) % 6], static_cast<char>('a' + (client + round) % 26));
}

Task<bool> RunClient(Executor* executor, Store* store, const CrashWorkload* load, int client,
                     const std::function<void(int, int)>* acknowledged) {
  co_await SwitchTo(*executor);
  const std::string counter = absl::StrCat("counter", client);
  std::optional<std::string> count;
  for (int round = 0; round < load->rounds; ++round) {
    const std::string name = Name(client, round);
    const std::string body = BodyOf(client, round);
    const absl::Status put = co_await store->blobs().Put("t", name, absl::Cord(absl::string_view(body)));
    if (!put.ok()) co_return false;
    CommitRequest request{HomeOf(client), {{counter, count}}, {{counter, absl::StrCat(round)}}};
    request.mutations.push_back({"a/" + name, absl::StrCat(body.size())});
    request.mutations.push_back({"b/" + name, std::string(1, body[0])});
    request.needs_blobs.push_back({"t", name});
    const absl::Status committed = co_await store->Commit(std::move(request));
    if (!committed.ok()) co_return false;
    count = absl::StrCat(round);
    (*acknowledged)(client, round);
  }
  co_return true;
}

}  // namespace

void CrashWorkload::Run(Store& store, const std::function<void(int client, int round)>& acknowledged) const {
  ThreadPool pool(2);
  std::vector<Task<bool>> tasks;
  for (int i = 0; i < clients; ++i) tasks.push_back(RunClient(&pool, &store, this, i, &acknowledged));
  SyncWait(WhenAll(std::move(tasks)));
}

int CrashWorkload::Verify(Store& store, const Acks& acks) const {
  int present = 0;
  for (int client = 0; client < clients; ++client) {
    const std::string counter = absl::StrCat("counter", client);
    int last = -1;
    for (int round = 0; round < rounds; ++round) {
      const std::string name = Name(client, round);
      const absl::StatusOr<ReadResult> rows =
          SyncWait(store.Read({HomeOf(client), {"a/" + name, "b/" + name, counter}}));
      if (!rows.ok()) {
        ADD_FAILURE() << rows.status();
        return present;
      }
      const bool a = rows->values[0].has_value(), b = rows->values[1].has_value();
      EXPECT_EQ(a, b) << name << " is half there";
      EXPECT_TRUE(a || !acks.contains({client, round})) << name << " was acknowledged and is lost";
      if (a) last = round;
      const absl::StatusOr<absl::Cord> body = SyncWait(store.blobs().Get("t", name, 0, kMaxBlobPieceBytes * 16));
      // A blob may exist without rows, but rows never without a blob, and no blob is half there.
      EXPECT_TRUE(body.ok() || (absl::IsNotFound(body.status()) && !a)) << name << ": " << body.status();
      if (body.ok()) EXPECT_TRUE(*body == BodyOf(client, round)) << name << " has another body";
      if (!a) continue;
      ++present;
      EXPECT_EQ(*rows->values[0], absl::StrCat(BodyOf(client, round).size()));
      EXPECT_EQ(*rows->values[1], std::string(1, BodyOf(client, round)[0]));
    }
    const absl::StatusOr<ReadResult> count = SyncWait(store.Read({HomeOf(client), {counter}}));
    EXPECT_TRUE(count.ok());
    if (count.ok()) EXPECT_EQ(count->values[0].value_or("-1"), absl::StrCat(last)) << counter;
  }
  return present;
}

}  // namespace posthouse::store
