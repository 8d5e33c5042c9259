#include "tests/stores/power_cut.h"

#include <gtest/gtest.h>

#include <memory>

#include "store/kv/kv_seam.h"
#include "tests/stores/folder.h"
#include "tests/stores/script.h"
#include "tests/stores/settings.h"

namespace tidelock::stores {
namespace {

// The script in two runs of the process, the second of which meets recovery too.
struct Told {
  std::vector<DiskOp> story;
  FakeKv reference;
  std::string root;
};
void tell(const Script& script, const Folder& folder, std::uint64_t seed, std::uint64_t steps, Told& told) {
  told.root = folder.path("db");
  FaultDisk disk({}, true);
  {
    const std::unique_ptr<rocksdb::Env> env =
        rocksdb::NewCompositeEnv(std::shared_ptr<rocksdb::FileSystem>(&disk, [](rocksdb::FileSystem*) {}));
    CountedKv::Counts counts;
    for (const std::uint64_t first : {std::uint64_t{0}, steps}) {
      auto kv = open_kv(told.root, script.families, {env.get(), 64u << 10});
      ASSERT_TRUE(kv) << kv.error().message;
      CountedKv counted(**kv, &disk, counts);
      const Ended ended = script.run(counted, seed, first, steps);
      ASSERT_TRUE(ended.written) << ended.written.error().message;
      ASSERT_TRUE(ended.wrong.empty()) << ended.wrong.front();
      ASSERT_TRUE(script.run(told.reference, seed, first, steps).written);
      counts = counted.counts();
    }
    ASSERT_EQ(told.reference.states().size(), counts.issued + 1);
  }
  told.story = disk.story();
}

void cut_everywhere(const Script& script) {
  const std::uint64_t seed = setting("TIDELOCK_SEED", 1);
  const std::uint64_t cuts = setting("TIDELOCK_POWER_CUTS", 600);
  const std::uint64_t only = setting("TIDELOCK_CUT", ~0ull);
  Folder folder;
  Told told;
  tell(script, folder, seed, 80, told);
  if (testing::Test::HasFatalFailure()) return;
  std::uint64_t failures = 0;
  for (std::uint64_t n = only == ~0ull ? 0 : only; n < (only == ~0ull ? cuts : only + 1) && failures < 20; ++n) {
    Rng rng(seed * 1'000'000'007 + n);
    const std::size_t at = n < told.story.size() ? n : rng.below(told.story.size() + 1);
    const Vouched vouched = cut_power(told.story, at, told.root, folder.path("cut"), rng);
    std::string wrong;
    auto kv = Kv::open(folder.path("cut"), script.families);
    if (!kv) {
      wrong = kv.error().message;
    } else if (auto rows = all_rows(**kv, script.families); !rows) {
      wrong = rows.error().message;
    } else {
      wrong = judge(*rows, told.reference, vouched.durable, vouched.issued);
    }
    if (wrong.empty()) continue;
    ++failures;
    ADD_FAILURE() << script.name << ": power cut " << n << " (TIDELOCK_SEED=" << seed << " TIDELOCK_CUT=" << n
                  << ") after operation " << at << " of " << told.story.size() << ": " << wrong;
  }
  testing::Test::RecordProperty("cuts", static_cast<int>(cuts));
}

TEST(PowerCut, AnEdgeRestartsWithAPrefixThatHoldsEverySyncedWrite) { cut_everywhere(kEdgeScript); }  // I8, D9
TEST(PowerCut, AHubRestartsWithAPrefixThatHoldsEverySyncedWrite) { cut_everywhere(kHubScript); }     // I7, D9

}  // namespace
}  // namespace tidelock::stores
