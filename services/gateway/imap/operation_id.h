// A random id for a change, so that the mailbox service knows a repetition.
#pragma once

#include <string>

namespace posthouse::gateway {

std::string NewOperationId();  // 16 bytes

}  // namespace posthouse::gateway
