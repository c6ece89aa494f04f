#include "services/routing/dns/testing/dns_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "services/common/status/status.h"

namespace posthouse::routing::dns {
namespace {

// A socket of `type` on loopback; `port` 0 picks one.
int Bind(int type, uint16_t port) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  PH_CHECK(fd >= 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

uint16_t PortOf(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  PH_CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  return ntohs(address.sin_port);
}

}  // namespace

struct DnsServer::Impl {
  int udp = -1, tcp = -1, stop = -1;
  std::thread thread;
  mutable absl::Mutex mutex;
  std::vector<ResourceRecord> records ABSL_GUARDED_BY(mutex);
  std::map<std::string, int> rcodes ABSL_GUARDED_BY(mutex);
  std::map<std::string, std::string> garbage ABSL_GUARDED_BY(mutex);
  std::map<std::string, bool> dropped ABSL_GUARDED_BY(mutex);
  size_t max_udp ABSL_GUARDED_BY(mutex) = 1232;
  int udp_queries ABSL_GUARDED_BY(mutex) = 0, tcp_queries ABSL_GUARDED_BY(mutex) = 0;

  // "" says nothing.
  std::string Respond(const std::string& message, bool over_tcp) {
    const absl::StatusOr<Question> question = ParseQuestion(message);
    absl::MutexLock lock(&mutex);
    ++(over_tcp ? tcp_queries : udp_queries);
    if (!question.ok() || dropped.contains(question->name)) return "";
    if (const auto it = garbage.find(question->name); it != garbage.end()) return message.substr(0, 2) + it->second;
    AnswerHeader header;
    if (const auto it = rcodes.find(question->name); it != rcodes.end() && it->second != 0) {
      header.rcode = it->second;
      return WriteAnswer(*question, header, {}, {});
    }
    std::vector<ResourceRecord> answers, authority;
    bool exists = false;
    for (const ResourceRecord& record : records) {
      if (record.name != question->name) continue;
      exists = true;
      if (static_cast<uint16_t>(record.type) == question->type || record.type == RecordType::kCname) {
        answers.push_back(record);
      }
    }
    if (answers.empty()) {
      header.rcode = exists ? 0 : 3;
      authority.push_back({"", RecordType::kSoa, 30, SoaData(30)});
    }
    std::string out = WriteAnswer(*question, header, answers, authority);
    if (over_tcp || out.size() <= max_udp) return out;
    header.truncated = true;
    return WriteAnswer(*question, header, {}, {});
  }

  void ServeUdp() {
    char buffer[4096];
    sockaddr_in peer{};
    socklen_t size = sizeof(peer);
    const ssize_t got = recvfrom(udp, buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&peer), &size);
    if (got <= 0) return;
    const std::string out = Respond(std::string(buffer, static_cast<size_t>(got)), false);
    if (!out.empty()) sendto(udp, out.data(), out.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
  }

  void ServeTcp() {
    const int fd = accept4(tcp, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    // A client that hangs must not hang the test.
    const timeval limit{5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    unsigned char length[2];
    while (recv(fd, length, 2, MSG_WAITALL) == 2) {
      std::string message(static_cast<size_t>(length[0] << 8 | length[1]), '\0');
      if (recv(fd, message.data(), message.size(), MSG_WAITALL) != static_cast<ssize_t>(message.size())) break;
      const std::string out = Respond(message, true);
      if (out.empty()) break;
      const std::string framed = {static_cast<char>(out.size() >> 8), static_cast<char>(out.size() & 0xFF)};
      const std::string all = framed + out;
      if (send(fd, all.data(), all.size(), MSG_NOSIGNAL) < 0) break;
      break;
    }
    close(fd);
  }

  void Run() {
    while (true) {
      pollfd fds[] = {{stop, POLLIN, 0}, {udp, POLLIN, 0}, {tcp, POLLIN, 0}};
      if (poll(fds, 3, -1) < 0) continue;
      if (fds[0].revents != 0) return;
      if (fds[1].revents != 0) ServeUdp();
      if (fds[2].revents != 0) ServeTcp();
    }
  }
};

DnsServer::DnsServer() : impl_(std::make_unique<Impl>()) {
  // The port that UDP got may be taken on TCP: try again.
  for (int tries = 0; tries < 50 && impl_->tcp < 0; ++tries) {
    if (impl_->udp >= 0) close(impl_->udp);
    impl_->udp = Bind(SOCK_DGRAM, 0);
    impl_->tcp = Bind(SOCK_STREAM, PortOf(impl_->udp));
  }
  PH_CHECK(impl_->tcp >= 0 && listen(impl_->tcp, 16) == 0);
  impl_->stop = eventfd(0, EFD_CLOEXEC);
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

DnsServer::~DnsServer() {
  const uint64_t one = 1;
  PH_CHECK(write(impl_->stop, &one, sizeof(one)) == sizeof(one));
  impl_->thread.join();
  for (const int fd : {impl_->udp, impl_->tcp, impl_->stop}) close(fd);
}

uint16_t DnsServer::port() const { return PortOf(impl_->udp); }
std::string DnsServer::address() const { return absl::StrCat("127.0.0.1:", port()); }

void DnsServer::Add(ResourceRecord record) {
  absl::MutexLock lock(&impl_->mutex);
  impl_->records.push_back(std::move(record));
}
void DnsServer::Mx(const std::string& name, uint16_t preference, const std::string& host, uint32_t ttl) {
  Add({name, RecordType::kMx, ttl, MxData(preference, host)});
}
void DnsServer::A(const std::string& name, const std::string& address, uint32_t ttl) {
  Add({name, RecordType::kA, ttl, AddressData(address)});
}
void DnsServer::Cname(const std::string& name, const std::string& target, uint32_t ttl) {
  Add({name, RecordType::kCname, ttl, EncodeName(target)});
}
void DnsServer::Remove(const std::string& name) {
  absl::MutexLock lock(&impl_->mutex);
  std::erase_if(impl_->records, [&name](const ResourceRecord& record) { return record.name == name; });
}
void DnsServer::Rcode(const std::string& name, int rcode) {
  absl::MutexLock lock(&impl_->mutex);
  impl_->rcodes[name] = rcode;
}
void DnsServer::Drop(const std::string& name) {
  absl::MutexLock lock(&impl_->mutex);
  impl_->dropped[name] = true;
}
void DnsServer::Garbage(const std::string& name, std::string bytes) {
  absl::MutexLock lock(&impl_->mutex);
  impl_->garbage[name] = std::move(bytes);
}
void DnsServer::SetMaxUdpBytes(size_t bytes) {
  absl::MutexLock lock(&impl_->mutex);
  impl_->max_udp = bytes;
}
int DnsServer::udp_queries() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->udp_queries;
}
int DnsServer::tcp_queries() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->tcp_queries;
}

}  // namespace posthouse::routing::dns
