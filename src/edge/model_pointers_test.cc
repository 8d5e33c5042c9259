#include "edge/model_pointers.h"

#include <gtest/gtest.h>

#include "codec/archive.h"
#include "protocol/rollout.h"

namespace tidelock {
namespace {

TEST(PointerKeys, AreThoseOfAModelAndNoOthers) {
  struct Case {
    const char* key;
    bool good, staged, ring;
  };
  const Case cases[] = {
      {"model:detector:staged@default", true, true, false}, {"model:detector:current@default", true, false, false},
      {"model:detector:current@next", true, false, true},   {"model:detector:staged@next", false, false, false},
      {"model:detector:v1.0.0", false, false, false},       {"model:@trust/state:current@default", false, false, false},
      {"model::staged@default", false, false, false},       {"detector:staged@default", false, false, false},
  };
  for (const Case& c : cases) {
    const auto key = parse_pointer_key(c.key);
    ASSERT_EQ(key.has_value(), c.good) << c.key;
    if (!key) continue;
    EXPECT_EQ(key->name, "detector") << c.key;
    EXPECT_EQ(key->staged, c.staged) << c.key;
    EXPECT_EQ(key->ring, c.ring) << c.key;
  }
}

PointerCame came(const char* key, std::optional<std::string> version, std::uint64_t index) {
  PointerCame out{*parse_pointer_key(key), std::nullopt, Index{index}};
  if (version) out.pointer = ModelPointer{*version, "digest", ""};
  return out;
}
constexpr char kCurrent[] = "model:detector:current@default";
constexpr char kRing[] = "model:detector:current@next";

TEST(ModelPointers, FollowTheOrderOfTheLedger) {  // S5
  ModelPointers pointers;
  EXPECT_TRUE(pointers.all_known()) << "of no model";
  EXPECT_EQ(pointers.of("detector"), nullptr);
  pointers.take(came(kCurrent, "2.0.0", 7), 70);
  EXPECT_FALSE(pointers.all_known());
  pointers.take(came(kCurrent, "1.0.0", 5), 80);
  EXPECT_EQ(pointers.of("detector")->in_force().value->version, "2.0.0") << "an older one came late";
  EXPECT_EQ(pointers.of("detector")->current_since, 70);
  pointers.take(came(kCurrent, "1.0.0", 9), 90);
  EXPECT_EQ(pointers.of("detector")->in_force().value->version, "1.0.0") << "a rollback is a later index";
  EXPECT_EQ(pointers.of("detector")->current_since, 90);
  pointers.take(came("model:detector:staged@default", std::nullopt, 0), 91);
  EXPECT_TRUE(pointers.take(came(kRing, std::nullopt, 0), 92)) << "not in the ring";
  EXPECT_TRUE(pointers.all_known());
  EXPECT_EQ(pointers.of("detector")->current_since, 90) << "a ring without this gateway changes nothing in force";
}

TEST(ModelPointers, TheRingCountsForWhoWentAhead) {  // M5
  ModelPointers pointers;
  pointers.take(came(kCurrent, "1.0.0", 1), 10);
  EXPECT_FALSE(pointers.take(came(kRing, "2.0.0", 2), 20));
  EXPECT_EQ(pointers.of("detector")->in_force().value->version, "2.0.0");
  EXPECT_EQ(pointers.of("detector")->current_since, 20);
  EXPECT_TRUE(pointers.take(came(kRing, std::nullopt, 3), 30)) << "taken back";
  EXPECT_EQ(pointers.of("detector")->in_force().value->version, "1.0.0");
  EXPECT_EQ(pointers.of("detector")->current_since, 30);
  EXPECT_FALSE(pointers.take(came(kRing, std::nullopt, 4), 40)) << "it had left before";

  const RingPointer ring{ModelPointer{"3.0.0", "digest", ""}, {"edge-1"}};
  EXPECT_TRUE(read_pointer_value("edge-1", *parse_pointer_key(kRing), encode(ring), Index{5})->pointer);
  EXPECT_FALSE(read_pointer_value("edge-2", *parse_pointer_key(kRing), encode(ring), Index{5})->pointer);
  EXPECT_FALSE(read_pointer_value("edge-1", *parse_pointer_key(kRing), "torn", Index{5}));
  EXPECT_FALSE(read_pointer_value("edge-1", *parse_pointer_key(kCurrent), "torn", Index{5}));
}

}  // namespace
}  // namespace tidelock
