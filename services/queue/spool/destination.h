// Destination: where a recipient's mail goes next. Row t/ keeps it as text.
//
//   kUnresolved  ""              routing must be asked first (or, of a whole item, its
//                                recipients go to several places)
//   kLocal       "local/<home>"  the mailbox process that is the account's home
//   kRemote      "<domain>"      another system: an A-label domain. Where several
//                                domains have the same hosts, the scheduler gives them
//                                one line, a kRemote destination that names the hosts
//
// Threads: immutable.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"

namespace posthouse::queue {

class Destination {
 public:
  enum class Kind { kUnresolved, kLocal, kRemote };

  Destination() = default;  // unresolved
  static Destination Local(const Home& home) { return {Kind::kLocal, home.value()}; }
  static Destination Remote(std::string domain) { return {Kind::kRemote, std::move(domain)}; }
  // Reads what ToString() wrote. Every text is some destination.
  static Destination FromString(absl::string_view text);
  std::string ToString() const;

  Kind kind() const { return kind_; }
  bool resolved() const { return kind_ != Kind::kUnresolved; }
  bool remote() const { return kind_ == Kind::kRemote; }
  // The home of a kLocal, the domain of a kRemote, "" of a kUnresolved destination.
  const std::string& name() const { return name_; }
  // name() of a kLocal destination.
  Home home() const { return Home(name_); }

  friend bool operator==(const Destination&, const Destination&) = default;
  friend auto operator<=>(const Destination&, const Destination&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Destination& d) {
    return H::combine(std::move(h), d.kind_, d.name_);
  }

 private:
  Destination(Kind kind, std::string name) : kind_(kind), name_(std::move(name)) {}

  Kind kind_ = Kind::kUnresolved;
  std::string name_;
};

}  // namespace posthouse::queue
