#include "services/gateway/imap/operation_id.h"

#include <sys/random.h>

#include "services/common/status/status.h"

namespace posthouse::gateway {

std::string NewOperationId() {
  std::string id(16, '\0');
  PH_CHECK(getrandom(id.data(), id.size(), 0) == static_cast<ssize_t>(id.size()));
  return id;
}

}  // namespace posthouse::gateway
