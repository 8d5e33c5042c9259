#include "edge/outbox_disk.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "edge/l2_store.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

TEST(OutboxDisk, ConfirmsInOrderAndKeepsWhatItConfirmed) {  // D1
  std::string home = (fs::temp_directory_path() / "tidelock-disk-XXXXXX").string();
  ASSERT_NE(::mkdtemp(home.data()), nullptr);
  {
    auto kv = Kv::open(home + "/db", {kOutboxFamily});
    ASSERT_TRUE(kv) << kv.error().message;
    const ElapsedClock clock;
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::pair<std::uint64_t, AckLevel>> confirmed;
    std::string failure;
    {
      OutboxDisk disk(
          **kv, clock,
          [&](std::uint64_t number, AckLevel level) {
            const std::lock_guard lock(mutex);
            confirmed.emplace_back(number, level);
            changed.notify_all();
          },
          [&](const std::string& why) { failure = why; });
      constexpr std::uint64_t kLast = 500;
      for (std::uint64_t number = 1; number <= kLast; ++number) {
        const std::string key = "row" + std::to_string(number % 50);
        OutboxPersist one;
        one.number = number;
        one.sync = number == kLast;
        if (number % 7 == 0)
          one.rows.emplace_back(key, std::nullopt);
        else
          one.rows.emplace_back(key, std::to_string(number));
        disk.push(std::move(one));
      }
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return !confirmed.empty() && confirmed.back() == std::pair{kLast, AckLevel::kDisk}; });
    }
    EXPECT_EQ(failure, "");
    std::uint64_t kernel = 0;
    for (const auto& [number, level] : confirmed) {
      if (level == AckLevel::kOs) {
        EXPECT_GT(number, kernel);
        kernel = number;
      } else {
        EXPECT_LE(number, kernel) << "synced before it was with the kernel";
      }
    }
    for (std::uint64_t number = 451; number <= 500; ++number) {
      const auto row = (*kv)->get(kOutboxFamily, "row" + std::to_string(number % 50));
      ASSERT_TRUE(row);
      if (number % 7 == 0)
        EXPECT_FALSE(row->has_value());
      else
        EXPECT_EQ(row->value(), std::to_string(number));
    }
  }
  fs::remove_all(home);
}

}  // namespace
}  // namespace tidelock
