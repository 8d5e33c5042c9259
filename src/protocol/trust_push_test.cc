#include "protocol/trust_push.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "codec/trust_fixture.h"

namespace tidelock {
namespace {

// A ledger that carries writes out: the version of a key is the index of the write.
struct Ledger {
  std::map<std::string, std::pair<Bytes, Index>> keys;
  std::uint64_t index = 0;

  TrustRead reader() const {
    return [this](const std::string& key) -> std::pair<std::optional<Bytes>, Index> {
      const auto found = keys.find(key);
      if (found == keys.end()) return {};
      return {found->second.first, found->second.second};
    };
  }
  Result<void> push(const PushTrust& what) {
    const auto put = plan_trust_push(what, reader());
    if (!put) return fail(put.error());
    ++index;
    for (const KeyWrite& write : put->writes) keys[write.key] = {*write.value, Index{index}};
    return {};
  }
};
PushTrust catalogue(const TrustSet& set) { return {{}, set.timestamp, set.snapshot, set.targets}; }

TEST(TrustPush, KeepsTheStateAndEveryRoot) {  // X2
  Publisher p;
  Ledger ledger;
  const Bytes first = p.signed_root();
  PushTrust all = catalogue(p.set());
  all.roots = {first};
  ASSERT_TRUE(ledger.push(all));
  ++p.root.head.version;
  const Bytes second = p.signed_root();
  ASSERT_TRUE(ledger.push({{second}, {}, {}, {}}));
  EXPECT_EQ(ledger.keys.at(trust_root_key(1)).first, first);
  EXPECT_EQ(ledger.keys.at(trust_root_key(2)).first, second);
  const auto files = Trust::files_in(ledger.keys.at(kTrustStateKey).first);
  EXPECT_EQ(files->root, second);
  EXPECT_EQ(files->timestamp, all.timestamp) << "no key changed: the catalogue stays";

  const auto put = plan_trust_push({{second}, {}, {}, {}}, ledger.reader());
  ASSERT_TRUE(put);
  ASSERT_EQ(put->writes.size(), 1u) << "the root that is held is not written again";
  EXPECT_EQ(put->writes[0].condition, Condition::kVersionIs);
  EXPECT_EQ(put->writes[0].expected, Index{2}) << "of two pushes at once one is told to look again";
}

TEST(TrustPush, RefusesWhatNoEdgeWouldTake) {  // X2
  Publisher p;
  Ledger ledger;
  EXPECT_EQ(ledger.push(catalogue(p.set())).error().code, Code::kInvalid) << "no root is trusted yet";
  ASSERT_TRUE(ledger.push({{p.signed_root()}, {}, {}, {}}));
  const TrustSet old = p.set();
  p.advance();
  ASSERT_TRUE(ledger.push(catalogue(p.set())));
  Publisher other;
  other.root.head.version = 2;
  struct Case {
    const char* why;
    PushTrust push;
    Code code;
    const char* part;
  };
  const Case cases[] = {
      {"nothing", {}, Code::kInvalid, "it is empty"},
      {"half a catalogue", {{}, old.timestamp, {}, {}}, Code::kDenied, "(rollback)"},
      {"the catalogue before", catalogue(old), Code::kDenied, "(rollback)"},
      {"another publisher's root", {{other.signed_root()}, {}, {}, {}}, Code::kDenied, "signed by 0 of 2"},
      {"nine roots", {std::vector<Bytes>(9, p.signed_root()), {}, {}, {}}, Code::kInvalid, "at most 8 at a time"},
      {"no root at all", {{"hello"}, {}, {}, {}}, Code::kCorrupt, "trust file"}};
  for (const Case& c : cases) {
    const auto before = ledger.keys;
    const auto done = ledger.push(c.push);
    ASSERT_FALSE(done) << c.why;
    EXPECT_EQ(done.error().code, c.code) << c.why << ": " << done.error().message;
    EXPECT_NE(done.error().message.find(c.part), std::string::npos) << c.why << ": " << done.error().message;
    EXPECT_EQ(ledger.keys, before) << c.why;
  }
  ledger.keys[kTrustStateKey].first = "torn";
  EXPECT_EQ(ledger.push(catalogue(p.set())).error().code, Code::kCorrupt);
}

TEST(TrustPush, ACatalogueLargerThanAValueMayBeIsRefused) {  // X6
  Publisher p;
  p.root.namespaces.clear();
  std::vector<TrustTargetsFile> lists;
  for (const char* pattern : {"a*", "b*", "c*", "d*"}) {  // about 160 KiB each
    p.root.namespaces.push_back({pattern, trust_keys({p.camera_key}, 1)});
    lists.push_back(p.camera);
    lists.back().pattern = pattern;
    lists.back().releases.clear();
    for (int i = 0; i < 1000; ++i) {
      lists.back().releases.push_back(Publisher::release(std::string(1, pattern[0]) + std::string(63, 'x'),
                                                         "1." + std::to_string(1000 + i) + ".0-" + std::string(55, 'v'),
                                                         "m"));
    }
  }
  const auto set_of = [&](std::size_t count) {
    std::vector<Bytes> files;
    p.snapshot.targets.clear();
    for (std::size_t i = 0; i < count; ++i) {
      const SignedTrust file = sign_trust(lists[i], {p.camera_key});
      p.snapshot.targets.push_back({lists[i].pattern, *trust_file_ref(file)});
      files.push_back(encode(file));
    }
    return p.with_snapshot(sign_trust(p.snapshot, {p.snapshot_key}), files);
  };
  Ledger ledger;
  ASSERT_TRUE(ledger.push({{p.signed_root()}, {}, {}, {}}));
  ASSERT_TRUE(ledger.push(catalogue(set_of(3)))) << "three long lists fit";
  ++p.snapshot.head.version;
  ++p.timestamp.head.version;
  const auto refused = ledger.push(catalogue(set_of(4)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_NE(refused.error().message.find("at most 524288: withdraw releases"), std::string::npos)
      << refused.error().message;
}

}  // namespace
}  // namespace tidelock
