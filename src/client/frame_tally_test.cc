// What is counted of frames is told once, whole, and kept when it could not be told.
#include "client/frame_tally.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

namespace tidelock {
namespace {

using Part = FrameTally::Part;

// Each command as one line, and what it counts by verdict.
struct Told {
  std::vector<std::string> lines;
  std::map<std::string, std::uint64_t> counts;
};
Told tell(FrameTally& tally) {
  Told told;
  while (const auto part = tally.take()) {
    std::string line;
    for (const std::string& word : part->command) line += (line.empty() ? "" : " ") + word;
    told.lines.push_back(line);
    told.counts[part->command.at(3)] += part->count;
  }
  return told;
}

TEST(FrameTally, FramesAreToldByWhatTheyTook) {  // M5
  FrameTally tally("cam", "1.0.0");
  EXPECT_FALSE(tally.take());
  for (int i = 0; i < 3; ++i) tally.ran(true, 10 * kMillisecond);
  tally.ran(true, 10 * kMillisecond + 4 * kMicrosecond);  // of the same bucket: told with their mean
  tally.ran(true, 80 * kMillisecond);
  tally.ran(true, -1);  // a clock that is not ours to judge
  EXPECT_FALSE(tally.trouble());
  tally.ran(false, 5);
  tally.sick();
  EXPECT_TRUE(tally.trouble());
  EXPECT_EQ(tell(tally).lines, (std::vector<std::string>{"TL.HEALTH cam 1.0.0 SICK", "TL.HEALTH cam 1.0.0 BAD COUNT 1",
                                                         "TL.HEALTH cam 1.0.0 OK COUNT 1 LATENCY_US 0",
                                                         "TL.HEALTH cam 1.0.0 OK COUNT 4 LATENCY_US 10001",
                                                         "TL.HEALTH cam 1.0.0 OK COUNT 1 LATENCY_US 80000"}));
  EXPECT_FALSE(tally.take()) << "once";
  EXPECT_FALSE(tally.trouble());
  EXPECT_LT(latency_bucket(~0ull), FrameTally::kBuckets);
}

TEST(FrameTally, AFrameThatTheAppFoundBadIsNoGoodOne) {
  FrameTally tally("cam", "1.0.0");
  for (int i = 0; i < 2; ++i) tally.ran(true, kMillisecond);
  for (int i = 0; i < 3; ++i) tally.was_bad();
  EXPECT_EQ(tell(tally).counts, (std::map<std::string, std::uint64_t>{{"BAD", 3}}));
  for (int i = 0; i < 4; ++i) tally.ran(true, 20 * kMillisecond);
  EXPECT_EQ(tell(tally).lines, (std::vector<std::string>{"TL.HEALTH cam 1.0.0 OK COUNT 3 LATENCY_US 20000"}))
      << "the third was told as good before, or is still to come";
}

TEST(FrameTally, WhatCouldNotBeToldIsToldLater) {
  FrameTally tally("cam", "1.0.0");
  tally.sick();
  tally.ran(false, 0);
  for (int i = 0; i < 5; ++i) tally.ran(true, 3 * kMillisecond);
  const Told first = tell(tally);
  for (int i = 0; i < 5; ++i) tally.ran(true, 3 * kMillisecond);
  tally.ran(false, 0);
  tally.sick();
  std::vector<Part> taken;
  while (auto part = tally.take()) taken.push_back(std::move(*part));
  for (const Part& part : taken) tally.keep(part);
  EXPECT_EQ(tell(tally).lines, first.lines);
}

TEST(FrameTally, NoFrameIsLostAmongThreads) {
  FrameTally tally("cam", "1.0.0");
  constexpr std::uint64_t kEach = 20'000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&tally, t] {
      for (std::uint64_t i = 0; i < kEach; ++i) tally.ran(i % 4 != 0, static_cast<Nanos>(i % 7) * kMillisecond + t);
    });
  }
  std::uint64_t good = 0, bad = 0;
  const auto add = [&](const Told& told) {
    for (const auto& [verdict, count] : told.counts) (verdict == "OK" ? good : bad) += count;
  };
  for (int i = 0; i < 100; ++i) add(tell(tally));
  for (std::thread& thread : threads) thread.join();
  add(tell(tally));
  EXPECT_EQ(bad, 3 * kEach / 4);
  EXPECT_EQ(good, 3 * kEach - 3 * kEach / 4);
}

}  // namespace
}  // namespace tidelock
