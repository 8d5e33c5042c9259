#include "protocol/policy.h"

#include <gtest/gtest.h>

#include <functional>

namespace tidelock {
namespace {

TEST(Policy, WhatShipsIsValid) {
  EXPECT_TRUE(validate_namespaces(default_namespaces()).has_value());
  EXPECT_TRUE(validate_settings(ClusterSettings{}).has_value());
}

TEST(Policy, WhatShipsIsWhatTheDesignSays) {
  const auto all = default_namespaces();
  const Namespace& model = namespace_of(all, "model:yolo:current@default");
  EXPECT_EQ(model.consistency, Consistency::kStrong);
  EXPECT_EQ(model.scope, Scope::kRegion);
  EXPECT_EQ(model.write_mode, WriteMode::kThrough);
  const Namespace& feature = namespace_of(all, "feature:7");
  EXPECT_EQ(feature.consistency, Consistency::kBounded);
  EXPECT_EQ(feature.bound_ns, 5 * kSecond);
  EXPECT_EQ(feature.bound_floor_ns, 500 * kMillisecond);
  EXPECT_EQ(feature.write_mode, WriteMode::kBehind);
  EXPECT_EQ(feature.flush_age_ns, 1 * kSecond);
  const Namespace& bulk = namespace_of(all, "bulk:x");
  EXPECT_EQ(bulk.consistency, Consistency::kEventual);
  EXPECT_EQ(bulk.scope, Scope::kSite);
  EXPECT_EQ(bulk.ttl_ns, 30 * kSecond);
  EXPECT_EQ(bulk.flush_age_ns, 5 * kSecond);
  const Namespace& other = namespace_of(all, "anything");
  EXPECT_EQ(other.consistency, Consistency::kEventual);
  EXPECT_EQ(other.scope, Scope::kGateway);
  EXPECT_EQ(other.write_mode, WriteMode::kLocal);
}

TEST(Policy, TheLongestMatchingPrefixWins) {
  std::vector<Namespace> all(4);
  all[0].prefix = "a:";
  all[1].prefix = "";
  all[2].prefix = "a:b:";
  all[3].prefix = "a:b:c";
  struct Case {
    const char* why;
    const char* key;
    int number;
  };
  const Case cases[] = {{"no prefix matches but the empty one", "x", 1},
                        {"shorter than a prefix", "a", 1},
                        {"the prefix itself", "a:", 0},
                        {"longest of two", "a:b:x", 2},
                        {"longest of three", "a:b:cd", 3},
                        {"prefixes are case sensitive", "A:", 1}};
  for (const Case& c : cases) EXPECT_EQ(namespace_number(all, c.key), c.number) << c.why;
}

TEST(Policy, BadNamespacesAreRefusedByName) {
  using Change = std::function<void(std::vector<Namespace>&)>;
  struct Case {
    const char* message;
    Change change;
  };
  const Case cases[] = {
      {"number of namespaces is 0; it must be 1 to 64", [](auto& n) { n.clear(); }},
      {"number of namespaces is 68; it must be 1 to 64", [](auto& n) { n.resize(68); }},
      {"namespace 'feature:' is defined twice; each prefix must be unique", [](auto& n) { n[2] = n[1]; }},
      {"no namespace has the empty prefix; one must, for every key that matches no other",
       [](auto& n) { n.pop_back(); }},
      {"namespace 'model:': write_mode is behind; it must be through for a strong namespace: its writer waits for "
       "every reader",
       [](auto& n) { n[0].write_mode = WriteMode::kBehind; }},
      {"namespace 'model:': scope is site; it must be region for a strong or bounded namespace",
       [](auto& n) { n[0].scope = Scope::kSite; }},
      {"namespace 'model:': bound_ns is 1 s; it must be 0: only a bounded namespace has a bound",
       [](auto& n) { n[0].bound_ns = kSecond; }},
      {"namespace 'feature:': bound_ns is 0 s; it must be 1 ms to 86400 s", [](auto& n) { n[1].bound_ns = 0; }},
      {"namespace 'feature:': bound_ns is forever; it must be 1 ms to 86400 s",
       [](auto& n) { n[1].bound_ns = kForever; }},
      {"namespace 'feature:': bound_floor_ns is 6 s; it must be 1 ms to the bound, 5 s",
       [](auto& n) { n[1].bound_floor_ns = 6 * kSecond; }},
      {"namespace 'feature:': bound_floor_ns is 0 s; it must be 1 ms to the bound, 5 s",
       [](auto& n) { n[1].bound_floor_ns = 0; }},
      {"namespace 'feature:': flush_age_ns is 0 s; it must be 1 ms to 3600 s", [](auto& n) { n[1].flush_age_ns = 0; }},
      {"namespace 'feature:': write_mode is local; it must be through or behind for scope region: a local write never "
       "leaves",
       [](auto& n) { n[1].write_mode = WriteMode::kLocal; }},
      {"namespace 'bulk:': scope is gateway; it must be site or region for write mode behind",
       [](auto& n) { n[2].scope = Scope::kGateway; }},
      {"namespace 'bulk:': ttl_ns is -1 ns; it must be 0 s to 316224000 s", [](auto& n) { n[2].ttl_ns = -1; }},
      {"namespace 'bulk:': ttl_ns is forever; it must be 0 s to 316224000 s", [](auto& n) { n[2].ttl_ns = kForever; }},
      {"namespace '': scope is gateway; it must be region for write mode through",
       [](auto& n) { n.back().write_mode = WriteMode::kThrough; }},
      {"namespace '': flush_age_ns is 1 s; it must be 0: only a write-behind namespace flushes",
       [](auto& n) { n.back().flush_age_ns = kSecond; }},
      {"namespace '': deadline_ns is -1 ns; it must be 0 s to 3600 s", [](auto& n) { n.back().deadline_ns = -1; }},
      {"namespace '': fallback_cap_ns is 0 s; it must be above 0, or forever",
       [](auto& n) { n.back().fallback_cap_ns = 0; }},
      {"namespace '': on_stale is empty; it must be a list of refresh, wait, fallback, fail",
       [](auto& n) { n.back().on_stale.clear(); }},
      {"namespace '': on_stale is a list that names a step twice; it must be a list of different steps",
       [](auto& n) { n.back().on_stale.push_back(OnStale::kWait); }},
      {"namespace 'pppppppppppppppppppppppppppppppp...': prefix is 257 bytes; it must be at most 256",
       [](auto& n) { n[1].prefix = std::string(257, 'p'); }},
  };
  for (const Case& c : cases) {
    auto namespaces = default_namespaces();
    c.change(namespaces);
    const auto result = validate_namespaces(namespaces);
    ASSERT_FALSE(result.has_value()) << c.message;
    EXPECT_EQ(result.error().code, Code::kInvalid);
    EXPECT_EQ(result.error().message, c.message);
  }
}

TEST(Policy, BadSettingsAreRefusedByName) {
  struct Case {
    const char* message;
    std::function<void(ClusterSettings&)> change;
  };
  const Case cases[] = {
      {"authority_window_ns is 49 ms; it must be 50 ms to 10 s",
       [](auto& s) { s.authority_window_ns = 49 * kMillisecond; }},
      {"authority_window_ns is 11 s; it must be 50 ms to 10 s", [](auto& s) { s.authority_window_ns = 11 * kSecond; }},
      {"lease_long_ns is forever; it must be 100 ms to 3600 s", [](auto& s) { s.lease_long_ns = kForever; }},
      {"lease_short_ns is 0 s; it must be 100 ms to 3600 s", [](auto& s) { s.lease_short_ns = 0; }},
      {"lease_short_ns is 31 s; it must be at most lease_long_ns, 30 s",
       [](auto& s) { s.lease_short_ns = 31 * kSecond; }},
      {"lease_margin_ns is -1 ns; it must be 0 to half of lease_short_ns, 1 s",
       [](auto& s) { s.lease_margin_ns = -1; }},
      {"rho_ppm is 0; it must be 1 to 99999", [](auto& s) { s.rho_ppm = 0; }},
      {"rho_ppm is 100000; it must be 1 to 99999", [](auto& s) { s.rho_ppm = 100'000; }},
  };
  for (const Case& c : cases) {
    ClusterSettings settings;
    c.change(settings);
    const auto result = validate_settings(settings);
    ASSERT_FALSE(result.has_value()) << c.message;
    EXPECT_EQ(result.error().message, c.message);
  }
}

TEST(Policy, KeysAndValuesHaveLimits) {
  EXPECT_TRUE(validate_key("k").has_value());
  EXPECT_TRUE(validate_key(std::string(kKeyBytesMax, 'k')).has_value());
  EXPECT_EQ(validate_key("").error().message, "key is 0 bytes; it must be 1 to 4096 bytes");
  EXPECT_EQ(validate_key(std::string(kKeyBytesMax + 1, 'k')).error().message,
            "key is 4097 bytes; it must be 1 to 4096 bytes");
  EXPECT_TRUE(validate_value(std::string(kValueBytesMax, 'v')).has_value());
  EXPECT_FALSE(validate_value(std::string(kValueBytesMax + 1, 'v')).has_value());
}

}  // namespace
}  // namespace tidelock
