// M3: who is told of whom, and what is refused.
#include "hub/site_table.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "codec/archive.h"

namespace tidelock {
namespace {

const PeerIdentity kOne{NodeRole::kEdge, "edge-1"}, kTwo{NodeRole::kEdge, "edge-2"}, kFar{NodeRole::kEdge, "edge-3"},
    kOperator{NodeRole::kClient, "operator"};

EdgeView edge(const NodeId& id, const std::string& site, bool connected = true) {
  EdgeView view;
  view.edge = id;
  view.site = site;
  view.connected = connected;
  return view;
}
std::string names(const Result<SiteView>& view) {
  if (!view) return std::string(code_name(view.error().code));
  std::string text;
  for (const SiteMember& member : view->members) text += member.edge + "=" + member.address + " ";
  return text;
}

TEST(SiteTable, NamesThoseOfTheSiteThatHaveASession) {
  SiteTable table;
  const std::vector<ModelBytes> bytes{{"detector", "1.0.0", "hub-1", 7}};
  ASSERT_TRUE(table.take(kOne, {"10.0.0.1:7430", bytes}));
  ASSERT_TRUE(table.take(kTwo, {"10.0.0.2:7430", {}}));
  ASSERT_TRUE(table.take(kFar, {"10.0.0.3:7430", {}}));
  const std::vector<EdgeView> all{edge("edge-1", "north"), edge("edge-2", "north"), edge("edge-3", "south")};
  EXPECT_EQ(names(table.view(kOne, all)), "edge-1=10.0.0.1:7430 edge-2=10.0.0.2:7430 ");
  EXPECT_TRUE(table.view(kTwo, all)->members[0].bytes.empty()) << "a neighbour needs no report";
  EXPECT_EQ(names(table.view(kFar, all)), "edge-3=10.0.0.3:7430 ") << "of its own site only";
  EXPECT_EQ(names(table.view(kOperator, all)), "edge-1=10.0.0.1:7430 edge-2=10.0.0.2:7430 edge-3=10.0.0.3:7430 ");
  EXPECT_EQ(table.view(kOperator, all)->members[0].bytes, bytes);
  // X1: removed, its certificate is good but nobody is told of it, nor it of anybody.
  const std::vector<EdgeView> removed{edge("edge-1", "north"), edge("edge-3", "south")};
  EXPECT_EQ(names(table.view(kOne, removed)), "edge-1=10.0.0.1:7430 ");
  EXPECT_EQ(names(table.view(kTwo, removed)), "not_active");
  const std::vector<EdgeView> away{edge("edge-1", "north"), edge("edge-2", "north", false)};
  EXPECT_EQ(names(table.view(kOne, away)), "edge-1=10.0.0.1:7430 ");
  ASSERT_TRUE(table.take(kTwo, {"", {}}));
  EXPECT_EQ(names(table.view(kOne, all)), "edge-1=10.0.0.1:7430 edge-2= ") << "it serves nobody, and may be served";
}

TEST(SiteTable, RefusesWhatHasNoBound) {  // I11
  SiteTable table;
  EXPECT_EQ(table.take({NodeRole::kHub, "hub-2"}, {}).error().code, Code::kDenied);
  EXPECT_EQ(table.take(kOne, {std::string(262, 'a'), {}}).error().message, "address has 262 bytes, at most 261");
  EXPECT_EQ(table.take(kOne, {"", std::vector<ModelBytes>(65)}).error().message, "65 sources of bytes: at most 64");
  EXPECT_EQ(table.take(kOne, {"", {{std::string(257, 'm'), "", "", 1}}}).error().code, Code::kInvalid);
  EXPECT_TRUE(table.take(kOne, {std::string(261, 'a'), std::vector<ModelBytes>(64)}));
}

TEST(SiteTable, AnswersWhatTheHubKnowsOrItsRefusal) {
  SiteTable table;
  const auto answered = [&](const PeerIdentity& peer, const SiteCall& call, const Result<Bytes>& described) {
    std::optional<Result<Bytes>> got;
    table.answer(
        peer, call, [&](const Reply& reply) { reply(described); }, [&](Result<Bytes> raw) { got = std::move(raw); });
    return got.value();
  };
  AdminAnswer cluster;
  cluster.edges = {edge("edge-1", "north")};
  const auto told = decode<AdminAnswer>(answered(kOne, {"a:1", {}}, encode(cluster)).value(), "answer");
  ASSERT_TRUE(told && told->value);
  EXPECT_EQ(names(decode<SiteView>(*told->value, "site")), "edge-1=a:1 ");
  EXPECT_EQ(decode<AdminAnswer>(answered(kTwo, {}, encode(cluster)).value(), "answer")->code, Code::kNotActive);
  EXPECT_EQ(decode<AdminAnswer>(answered(kTwo, {std::string(300, 'a'), {}}, encode(cluster)).value(), "answer")->code,
            Code::kInvalid);
  EXPECT_EQ(answered(kOne, {}, fail(Code::kUnavailable, "stopping")).error().code, Code::kUnavailable);
  EXPECT_EQ(answered(kOne, {}, Bytes("no answer")).error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace tidelock
