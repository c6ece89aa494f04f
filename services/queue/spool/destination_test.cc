#include "services/queue/spool/destination.h"

#include <gtest/gtest.h>

namespace posthouse::queue {
namespace {

using Kind = Destination::Kind;

// The text is in rows t/ of every queue: it never changes.
TEST(DestinationTest, TheTextOfARow) {
  const struct {
    Destination destination;
    Kind kind;
    const char* name;
    const char* text;
  } kCases[] = {
      {Destination(), Kind::kUnresolved, "", ""},
      {Destination::Local(Home("m1")), Kind::kLocal, "m1", "local/m1"},
      {Destination::Local(Home("")), Kind::kLocal, "", "local/"},  // the only home
      {Destination::Remote("example.com"), Kind::kRemote, "example.com", "example.com"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(c.destination.kind(), c.kind) << c.text;
    EXPECT_EQ(c.destination.name(), c.name) << c.text;
    EXPECT_EQ(c.destination.ToString(), c.text);
    EXPECT_EQ(Destination::FromString(c.text), c.destination) << c.text;
  }
}

}  // namespace
}  // namespace posthouse::queue
