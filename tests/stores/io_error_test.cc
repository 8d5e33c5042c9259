// Every call to the disk fails once, for every call of a script: the store stops as D3 says, and what a restart finds
// is a prefix of what was written that holds all that was acknowledged; after a power cut, all that was acknowledged as
// synced.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "store/kv/kv_seam.h"
#include "tests/stores/folder.h"
#include "tests/stores/power_cut.h"
#include "tests/stores/script.h"
#include "tests/stores/settings.h"

namespace tidelock::stores {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSteps = 40;  // of each of two runs of the process

struct Run {
  CountedKv::Counts counts;
  Result<void> opened{}, written{};
  std::vector<std::string> wrong;
};

Run run_on(const Script& script, std::shared_ptr<FaultDisk> disk, const std::string& root) {
  // A store that failed is never closed (see ~RocksKv): it keeps its environment.
  static std::vector<std::unique_ptr<rocksdb::Env>> environments;
  environments.push_back(rocksdb::NewCompositeEnv(disk));
  Run run;
  for (const std::uint64_t first : {std::uint64_t{0}, kSteps}) {
    auto kv = open_kv(root, script.families, {environments.back().get(), 64u << 10});
    if (!kv) {
      run.opened = fail(kv.error());
      return run;
    }
    // Debian's RocksDB is built with its assertions, and one of them is that nobody touches a log again whose write has
    // failed. A flush beside the script's own writes may do so, and the process ends: right for D3, too early for a
    // test.
    CountedKv counted(**kv, disk.get(), run.counts, [&](const CountedKv::Counts&) { wait_until_idle(**kv); });
    Ended ended = script.run(counted, 7, first, kSteps);
    run.counts = counted.counts();
    run.wrong.insert(run.wrong.end(), ended.wrong.begin(), ended.wrong.end());
    if (!ended.written) {
      run.written = std::move(ended.written);
      return run;
    }
  }
  return run;
}

std::string found_in(const std::string& root, const Script& script, const FakeKv& reference, std::uint64_t low,
                     std::uint64_t high) {
  auto kv = Kv::open(root, script.families);
  if (!kv) return kv.error().message;
  auto rows = all_rows(**kv, script.families);
  return rows ? judge(*rows, reference, low, high) : rows.error().message;
}

void every_call_fails(const Script& script) {
  FakeKv reference;
  for (const std::uint64_t first : {std::uint64_t{0}, kSteps})
    ASSERT_TRUE(script.run(reference, 7, first, kSteps).written);

  Folder folder;
  auto quiet = std::make_shared<FaultDisk>(DiskFault{});
  const Run whole = run_on(script, quiet, folder.path("quiet"));
  ASSERT_TRUE(whole.opened && whole.written);
  const std::uint64_t calls = quiet->calls();
  EXPECT_GT(calls, 400u) << "the script has become too small to prove anything";
  for (const char* name : {"create", "append", "sync", "sync folder", "rename", "remove", "read", "open", "close"})
    EXPECT_GT(quiet->calls_by_name()[name], 0u) << name;

  constexpr DiskFault kFaults[] = {{0, DiskFault::kBroken, false},
                                   {0, DiskFault::kBroken, true},
                                   {0, DiskFault::kFull, true},
                                   {0, DiskFault::kShortWrite, false}};
  const std::uint64_t only = setting("TIDELOCK_CALL", 0);
  const bool all_kinds = setting("TIDELOCK_ALL_FAULTS", 0) != 0;
  std::uint64_t stopped = 0, refused = 0, failures = 0;
  for (std::uint64_t k = only != 0 ? only : 1; k <= (only != 0 ? only : calls) && failures < 20; ++k) {
    for (std::size_t kind = 0; kind < std::size(kFaults); ++kind) {
      if (!all_kinds && kind != k % std::size(kFaults)) continue;
      DiskFault fault = kFaults[kind];
      fault.at = k;
      auto disk = std::make_shared<FaultDisk>(fault, true);
      const std::string root = folder.path("at" + std::to_string(k) + "-" + std::to_string(kind));
      const Run run = run_on(script, disk, root);
      refused += run.opened ? 0 : 1;
      stopped += run.written ? 0 : 1;
      std::vector<std::string> wrong = run.wrong;
      // The failed store keeps its lock; a restarted process sees these bytes.
      remove_tree(folder.path("restarted"));
      fs::copy(root, folder.path("restarted"), fs::copy_options::recursive);
      wrong.push_back(found_in(folder.path("restarted"), script, reference, run.counts.acked, run.counts.issued));
      Rng rng(k);
      const auto story = disk->story();
      cut_power(story, story.size(), root, folder.path("cut"), rng);
      wrong.push_back(found_in(folder.path("cut"), script, reference, run.counts.durable, run.counts.issued));
      remove_tree(root);
      for (const std::string& one : wrong) {
        if (one.empty()) continue;
        ++failures;
        ADD_FAILURE() << script.name << ": call " << k << " of " << calls << " (TIDELOCK_CALL=" << k << "), "
                      << disk->failed_call() << ", fault " << kind << ", acked " << run.counts.acked << ": " << one;
      }
    }
  }
  if (only == 0) {
    EXPECT_GT(stopped, calls / 4);
    EXPECT_GT(refused, 10u);
  }
  std::printf("%s: %llu calls, %llu stopped a running store, %llu an opening one\n", script.name,
              static_cast<unsigned long long>(calls), static_cast<unsigned long long>(stopped),
              static_cast<unsigned long long>(refused));
}

TEST(IoError, AtEveryCallOfAnEdge) { every_call_fails(kEdgeScript); }  // D3, I8
TEST(IoError, AtEveryCallOfAHub) { every_call_fails(kHubScript); }     // D3, I7

}  // namespace
}  // namespace tidelock::stores
