#include "protocol/trust_check.h"

#include <gtest/gtest.h>

#include "codec/trust_fixture.h"

namespace tidelock {
namespace {

TEST(TrustCheck, TellsTheOperatorWhatEveryGatewayWouldSay) {  // X2
  Publisher p;
  const Trust root_only = *Trust::anchor(p.signed_root());
  Trust whole = root_only;
  ASSERT_TRUE(accept(whole, p.set()));
  const std::uint64_t fresh = kTrustNow + 1, late = kTrustNow + 2 * kTrustDayMs;
  struct Case {
    const char* why;
    std::optional<Bytes> held;
    const char *name, *version, *manifest;
    std::uint64_t wall_ms;
    TrustUse use;
    Code code;
    const char* says;
  };
  const Case cases[] = {
      {"no trust files: nothing is asked", {}, "any", "1.0.0", "thing", fresh, TrustUse::kNew, Code::kOk, ""},
      {"in the catalogue", whole.save(), "camera", "1.0.0", "camera one", fresh, TrustUse::kNew, Code::kOk, ""},
      {"not in it", whole.save(), "camera", "2.0.0", "camera two", fresh, TrustUse::kNew, Code::kDenied,
       "withdrawn or never signed (arbitrary install)"},
      {"other bytes under its number", whole.save(), "camera", "1.0.0", "camera onE", fresh, TrustUse::kNew,
       Code::kDenied, "arbitrary install"},
      {"a model of nobody", whole.save(), "radar", "1.0.0", "radar one", fresh, TrustUse::kNew, Code::kDenied,
       "no namespace of the root speaks of 'radar'"},
      {"expired", whole.save(), "camera", "1.0.0", "camera one", late, TrustUse::kNew, Code::kStale, "(freeze)"},
      {"expired: back all the same", whole.save(), "camera", "1.0.0", "camera one", late, TrustUse::kBack, Code::kOk,
       ""},
      {"withdrawn: not even back", whole.save(), "camera", "0.9.0", "old", late, TrustUse::kBack, Code::kDenied,
       "withdrawn or never signed"},
      {"a root alone allows nothing new", root_only.save(), "camera", "1.0.0", "camera one", fresh, TrustUse::kNew,
       Code::kStale, "push timestamp, snapshot and targets"},
      {"and takes nothing back", root_only.save(), "camera", "1.0.0", "camera one", fresh, TrustUse::kBack, Code::kOk,
       ""},
      {"a state that does not load", Bytes("torn"), "camera", "1.0.0", "camera one", fresh, TrustUse::kBack,
       Code::kCorrupt, "kept trust"},
  };
  for (const Case& c : cases) {
    const TrustRead read = [&](const std::string& key) -> std::pair<std::optional<Bytes>, Index> {
      EXPECT_EQ(key, kTrustStateKey);
      return {c.held, Index{1}};
    };
    const auto checked = check_release_trust(read, c.name, c.version, c.manifest, c.wall_ms, c.use);
    EXPECT_EQ(checked ? Code::kOk : checked.error().code, c.code) << c.why;
    if (checked) continue;
    EXPECT_NE(checked.error().message.find(c.says), std::string::npos) << c.why << ": " << checked.error().message;
  }
}

}  // namespace
}  // namespace tidelock
