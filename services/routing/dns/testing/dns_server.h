// DnsServer: a real DNS server on loopback for tests, UDP and TCP on one port. Answers
// NXDOMAIN, with an SOA, for names that it has no data for. Threads: any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "services/routing/dns/testing/message_writer.h"

namespace posthouse::routing::dns {

class DnsServer {
 public:
  DnsServer();
  ~DnsServer();
  uint16_t port() const;
  std::string address() const;  // "127.0.0.1:<port>"

  void Add(ResourceRecord record);
  void Mx(const std::string& name, uint16_t preference, const std::string& host, uint32_t ttl = 60);
  void A(const std::string& name, const std::string& address, uint32_t ttl = 60);
  void Cname(const std::string& name, const std::string& target, uint32_t ttl = 60);
  void Remove(const std::string& name);
  // Answers every query for `name` with this rcode; 0: as usual.
  void Rcode(const std::string& name, int rcode);
  void Drop(const std::string& name);                        // never answers
  void Garbage(const std::string& name, std::string bytes);  // answers the id and then this
  void SetMaxUdpBytes(size_t bytes);                         // longer answers are truncated
  int udp_queries() const;
  int tcp_queries() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace posthouse::routing::dns
