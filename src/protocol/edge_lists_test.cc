// What an edge asks its hub for TL.FLUSH: which keys a namespace has.

#include <gtest/gtest.h>

#include "protocol/edge_core_fixture.h"

namespace tidelock::edge_core_fixture {
namespace {

TEST(EdgeLists, AreAskedForAgainInTheNextSessionAndAnsweredOnce) {  // I10
  Bench bench;
  bench.step(EdgeListKeys{ReadToken{1}, "plain:", "plain:a"});
  EXPECT_EQ(bench.count<ListKeys>(), 0) << "no session yet";
  bench.open();
  ASSERT_EQ(bench.count<ListKeys>(), 1);
  const RequestNo first = bench.last<ListKeys>()->request;
  bench.disconnect();
  bench.open();
  ASSERT_EQ(bench.count<ListKeys>(), 2);
  EXPECT_EQ(bench.last<ListKeys>()->after, "plain:a");
  bench.hub(KeysListed{first, {"plain:old"}, {}, {}});
  EXPECT_TRUE(bench.lists.empty()) << "F1: an answer of the session before";
  bench.hub(KeysListed{bench.last<ListKeys>()->request, {"plain:b"}, "plain:b", {}});
  ASSERT_TRUE(bench.lists.contains(1));
  EXPECT_EQ(bench.lists[1].keys, (std::vector<std::string>{"plain:b"}));
  EXPECT_EQ(bench.lists[1].last, "plain:b");
  bench.lists.clear();
  bench.hub(KeysListed{bench.last<ListKeys>()->request, {"plain:b"}, {}, {}});
  EXPECT_TRUE(bench.lists.empty());
}

TEST(EdgeLists, EndWithAnErrorWhenNoHubCanTell) {  // I10
  struct Case {
    const char* why;
    std::uint32_t version;
    bool answers_the_same;
    const char* says;
  };
  for (const Case& c : {Case{"it never answers", kProtocolVersion, false, "no hub told in time"},
                        Case{"it is older than the question", 2, false, "update all hubs first"},
                        Case{"it turns in circles", kProtocolVersion, true, "listed the same keys again"}}) {
    Bench bench;
    bench.protocol_version = c.version;
    bench.open();
    bench.step(EdgeListKeys{ReadToken{1}, "plain:", "plain:b"});
    EXPECT_EQ(bench.count<ListKeys>(), c.version >= 3 ? 1 : 0) << c.why;
    if (c.answers_the_same) bench.hub(KeysListed{bench.last<ListKeys>()->request, {"plain:a"}, "plain:b", {}});
    for (int i = 0; i < 12 && bench.lists.empty(); ++i) bench.tick(500 * kMs);
    ASSERT_TRUE(bench.lists.contains(1)) << c.why;
    EXPECT_EQ(bench.lists[1].code, Code::kUnavailable) << c.why;
    EXPECT_NE(bench.lists[1].message.find(c.says), std::string::npos) << bench.lists[1].message;
  }
  Bench full;
  for (std::uint64_t i = 1; i <= 65; ++i) full.step(EdgeListKeys{ReadToken{i}, "plain:", ""});
  ASSERT_TRUE(full.lists.contains(65)) << "X6";
  EXPECT_EQ(full.lists[65].message, "too many listings are waiting at this edge");
}

TEST(EdgeG8, WhatIsDeletedAfterAListingIsStampedBehindAllThatItNamed) {
  Bench bench;
  bench.open();
  bench.step(EdgeListKeys{ReadToken{1}, "feat:", ""});
  bench.hub(KeysListed{bench.last<ListKeys>()->request, {"feat:x"}, {}, Stamp{1'300, 7, 9}});
  bench.write(2, "feat:x", std::nullopt);  // its own wall clock shows 1,000
  ASSERT_TRUE(bench.store.rows.contains("feat:x"));
  EXPECT_GT(bench.store.rows["feat:x"].stamp, (Stamp{1'300, 7, 9}));
}

}  // namespace
}  // namespace tidelock::edge_core_fixture
