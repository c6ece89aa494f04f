// Measures the group committer: commits a second of a RocksStore, against
// RocksDB's own Put(sync) from as many threads, in one run on one disk.
//
//   store_bench [directory] [seconds for each line] [value bytes]
//
// "commit"   one row, guarded by its absence
// "update"   read, then compare-and-set of the client's head row with a new row
//            (the shape of an append to a folder)
// "message"  a blob, then a row that names it
#include <rocksdb/db.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/task.h"
#include "services/common/async/when_all.h"
#include "services/common/log/log.h"
#include "services/common/metrics/metrics.h"
#include "services/common/net/event_loop.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/rocks_store.h"

namespace posthouse::store {
namespace {

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double CpuSeconds() {
  timespec t = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

struct Result {
  double per_second = 0, cpu_micros = 0, p50_micros = 0, p99_micros = 0;
  double per_batch = 0;  // requests that shared one write
};

Result Summarise(std::vector<std::vector<float>> latencies, double seconds, double cpu) {
  std::vector<float> all;
  for (const auto& one : latencies) all.insert(all.end(), one.begin(), one.end());
  std::sort(all.begin(), all.end());
  if (all.empty()) return {};
  const auto count = static_cast<double>(all.size());
  return {count / seconds, cpu / count * 1e6, all[all.size() / 2] * 1e6, all[all.size() * 99 / 100] * 1e6};
}

// The value of the metric `name` in `text`, whatever its labels.
double Sample(const std::string& text, const std::string& name) {
  const size_t at = text.find("\n" + name + "{");
  const size_t value = at == std::string::npos ? at : text.find("} ", at);
  return value == std::string::npos ? 0 : std::atof(text.c_str() + value + 2);
}

struct Bench {
  std::string directory = "/var/tmp/posthouse_store_bench";
  double seconds = 3;
  size_t value_bytes = 4096;
  std::string noise;  // incompressible; values are windows of it

  std::string Value(uint64_t n) const { return noise.substr(n % 4096, value_bytes); }

  Result PlainPut(int threads) const {
    const std::string path = directory + "/plain";
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.write_buffer_size = 64 << 20;
    rocksdb::DB* raw = nullptr;
    PH_CHECK(rocksdb::DB::Open(options, path, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    std::vector<std::vector<float>> latencies(static_cast<size_t>(threads));
    std::vector<std::thread> running;
    const double start = Now(), end = start + seconds, cpu = CpuSeconds();
    for (int i = 0; i < threads; ++i) {
      running.emplace_back([&, i] {
        rocksdb::WriteOptions sync;
        sync.sync = true;
        double t = 0;
        for (uint64_t n = 0; (t = Now()) < end; ++n) {
          const std::string key = absl::StrCat(i, "/", n);
          PH_CHECK(db->Put(sync, key, rocksdb::Slice(noise.data() + n % 4096, value_bytes)).ok());
          latencies[static_cast<size_t>(i)].push_back(static_cast<float>(Now() - t));
        }
      });
    }
    for (std::thread& thread : running) thread.join();
    return Summarise(std::move(latencies), Now() - start, CpuSeconds() - cpu);
  }

  using Work = std::function<Task<void>(Store&, int client, uint64_t n)>;

  static Task<bool> Client(net::EventLoop* loop, const Bench* bench, Store* store, const Work* work, int client,
                           double end, std::vector<float>* latencies) {
    co_await SwitchTo(*loop);
    double t = 0;
    for (uint64_t n = 0; (t = Now()) < end; ++n) {
      co_await (*work)(*store, client, n);
      latencies->push_back(static_cast<float>(Now() - t));
    }
    co_return true;
  }

  Result RunOn(int clients, const Work& work) const {
    const std::string path = directory + "/store";
    std::filesystem::remove_all(path);
    metrics::Registry registry;
    RocksOptions options;
    options.path = path;
    options.name = "bench";
    absl::StatusOr<std::unique_ptr<RocksStore>> store = RocksStore::Open(options, registry);
    if (!store.ok()) CheckFailed(__FILE__, __LINE__, store.status().ToString());
    net::EventLoops loops(1);
    std::vector<std::vector<float>> latencies(static_cast<size_t>(clients));
    const double start = Now(), end = start + seconds, cpu = CpuSeconds();
    std::vector<Task<bool>> tasks;
    for (int i = 0; i < clients; ++i) {
      tasks.push_back(Client(&loops.at(0), this, store->get(), &work, i, end, &latencies[static_cast<size_t>(i)]));
    }
    SyncWait(WhenAll(std::move(tasks)));
    Result result = Summarise(std::move(latencies), Now() - start, CpuSeconds() - cpu);
    const std::string text = registry.Serialize();
    result.per_batch = Sample(text, "posthouse_store_batch_requests_sum") /
                       std::max(1.0, Sample(text, "posthouse_store_batch_requests_count"));
    loops.Stop();
    return result;
  }
};

Task<void> CommitOne(const Bench* bench, Store& store, int client, uint64_t n) {
  const std::string key = absl::StrCat(client, "/", n);
  CommitRequest request{{"t", "p"}, {{key, std::nullopt}}, {{key, bench->Value(n)}}};
  const absl::Status committed = co_await store.Commit(std::move(request));
  PH_CHECK(committed.ok());
}

Task<void> UpdateOne(const Bench* bench, Store& store, int client, uint64_t n) {
  const Partition partition{"t", absl::StrCat("mb/", client)};
  const absl::StatusOr<ReadResult> read = co_await store.Read({partition, {"H"}});
  PH_CHECK(read.ok());
  CommitRequest request{partition, {{"H", read->values[0]}}, {{"H", absl::StrCat("head of ", n)}}};
  request.mutations.push_back({absl::StrCat("m/", n), bench->Value(n)});
  const absl::Status committed = co_await store.Commit(std::move(request));
  PH_CHECK(committed.ok());
}

Task<void> MessageOne(const Bench* bench, Store& store, int client, uint64_t n) {
  const std::string name = absl::StrCat(client, "-", n);
  const std::string body = bench->Value(n);
  const absl::Status put = co_await store.blobs().Put("t", name, absl::Cord(absl::string_view(body)));
  PH_CHECK(put.ok());
  CommitRequest request{{"t", "q/0"}, {}, {{name, "row"}}};
  const absl::Status committed = co_await store.Commit(std::move(request));
  PH_CHECK(committed.ok());
}

void Print(const char* what, int clients, const Result& r, double against) {
  std::printf("%-8s clients %4d  %8.0f/s  cpu %6.1f us  p50 %7.0f us  p99 %7.0f us", what, clients, r.per_second,
              r.cpu_micros, r.p50_micros, r.p99_micros);
  if (against > 0) std::printf("  %5.1f a write  %.2f x plain", r.per_batch, r.per_second / against);
  std::printf("\n");
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  log::SetLevel(log::Level::kError);
  Bench bench;
  if (argc > 1) bench.directory = argv[1];
  if (argc > 2) bench.seconds = std::atof(argv[2]);
  if (argc > 3) bench.value_bytes = static_cast<size_t>(std::atol(argv[3]));
  std::mt19937_64 random(1);
  bench.noise.resize(bench.value_bytes + 4096);
  for (char& c : bench.noise) c = static_cast<char>(random());
  const Bench* const b = &bench;
  const std::pair<const char*, Bench::Work> works[] = {
      {"commit", [b](Store& store, int client, uint64_t n) { return CommitOne(b, store, client, n); }},
      {"update", [b](Store& store, int client, uint64_t n) { return UpdateOne(b, store, client, n); }},
      {"message", [b](Store& store, int client, uint64_t n) { return MessageOne(b, store, client, n); }},
  };
  for (const int clients : {1, 20, 100}) {
    const double plain = [&] {
      const Result r = bench.PlainPut(clients);
      Print("plain", clients, r, 0);
      return r.per_second;
    }();
    for (const auto& [name, work] : works) Print(name, clients, bench.RunOn(clients, work), plain);
  }
  std::filesystem::remove_all(bench.directory);
  return 0;
}

}  // namespace
}  // namespace posthouse::store

int main(int argc, char** argv) { return posthouse::store::Main(argc, argv); }
