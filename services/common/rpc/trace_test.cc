#include "services/common/rpc/trace.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace posthouse::rpc {
namespace {

TEST(TraceTest, NewContextsAreValidAndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const TraceContext trace = TraceContext::New();
    EXPECT_TRUE(TraceContext::Parse(trace.ToHeader()).has_value()) << trace.ToHeader();
    EXPECT_TRUE(seen.insert(trace.trace_id).second);
  }
}

TEST(TraceTest, RoundTrip) {
  const std::string header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
  const auto trace = TraceContext::Parse(header);
  ASSERT_TRUE(trace.has_value());
  EXPECT_EQ(trace->trace_id, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(trace->parent_id, "b7ad6b7169203331");
  EXPECT_FALSE(trace->sampled);
  EXPECT_EQ(trace->ToHeader(), header);
}

TEST(TraceTest, AChildKeepsTheTraceAndChangesTheParent) {
  const TraceContext trace = TraceContext::New();
  const TraceContext child = trace.Child();
  EXPECT_EQ(child.trace_id, trace.trace_id);
  EXPECT_NE(child.parent_id, trace.parent_id);
}

TEST(TraceTest, WhatIsValid) {
  struct Case {
    const char* header;
    bool valid;
  };
  const Case cases[] = {
      {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
      {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", true},
      {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true},
      {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more", false},
      {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false},
      {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
      {"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
      {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
      {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
      {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false},
      {"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
      {"", false},
  };
  for (const Case& c : cases) EXPECT_EQ(TraceContext::Parse(c.header).has_value(), c.valid) << c.header;
}

}  // namespace
}  // namespace posthouse::rpc
