// The work that crash tests give to a store until it dies, and the check of what must
// be there afterwards. Tests only.
//
// Each client stores messages: a blob, then one commit of two rows that name the blob
// and of the client's counter (compare-and-set). Afterwards each acknowledged message
// is there, whole; every other message is there whole or not at all.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <utility>

#include "services/common/async/task.h"
#include "services/common/store/store.h"

namespace posthouse::store {

// "client/round" of a message.
using Acks = std::set<std::pair<int, int>>;

struct CrashWorkload {
  int clients = 8;
  int rounds = 40;

  // Runs all clients at once until each has had an error or is done. `acknowledged`
  // is called for each message whose commit was OK, from several threads.
  void Run(Store& store, const std::function<void(int client, int round)>& acknowledged) const;

  // Adds a gtest failure for each broken promise; returns the messages that are there.
  int Verify(Store& store, const Acks& acks) const;
};

}  // namespace posthouse::store
