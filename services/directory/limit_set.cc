#include "services/directory/limit_set.h"

#include "posthouse/directory/v1/directory.pb.h"

namespace posthouse::directory {
namespace {

template <typename T>
T FirstSet(T own, T wider) {
  return own != 0 ? own : wider;
}

}  // namespace

LimitSet LimitSet::From(const v1::Limits& limits) {
  LimitSet set;
  set.storage_bytes = limits.storage_bytes();
  set.messages = limits.messages();
  set.message_bytes = limits.message_bytes();
  set.recipients_per_message = limits.recipients_per_message();
  set.sends_per_hour = limits.sends_per_hour();
  set.sends_per_day = limits.sends_per_day();
  return set;
}

void LimitSet::To(v1::Limits* limits) const {
  limits->set_storage_bytes(storage_bytes);
  limits->set_messages(messages);
  limits->set_message_bytes(message_bytes);
  limits->set_recipients_per_message(recipients_per_message);
  limits->set_sends_per_hour(sends_per_hour);
  limits->set_sends_per_day(sends_per_day);
}

LimitSet LimitSet::Or(const LimitSet& wider) const {
  LimitSet set;
  set.storage_bytes = FirstSet(storage_bytes, wider.storage_bytes);
  set.messages = FirstSet(messages, wider.messages);
  set.message_bytes = FirstSet(message_bytes, wider.message_bytes);
  set.recipients_per_message = FirstSet(recipients_per_message, wider.recipients_per_message);
  set.sends_per_hour = FirstSet(sends_per_hour, wider.sends_per_hour);
  set.sends_per_day = FirstSet(sends_per_day, wider.sends_per_day);
  return set;
}

}  // namespace posthouse::directory
