#include "telemetry/metrics.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <thread>

namespace tidelock {
namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

// Every name of DESIGN 10, and one of each kind with labels that need escaping.
void fill(Metrics& metrics) {
  metrics.gauge(metric::kCacheHitRatio, "Share of reads served from a cache level.", {{"level", "l1"}}).set(0.97);
  metrics.gauge(metric::kModelVersionLag, "Age of the newest activation that is not in use yet.", {{"model", "det"}})
      .set(0);
  metrics
      .gauge(metric::kModelVersionTimestamp, "When the version in use was activated, unix seconds.",
             {{"model", "det"}, {"version", "2.0.0"}})
      .set(1'700'000'000.5);
  metrics.counter(metric::kInvalidations, "Entries invalidated.", {{"reason", "say \"why\"\\\n"}}).add(3);
  metrics.counter(metric::kGossipMessages, "Gossip datagrams.", {{"direction", "in"}, {"kind", "ping"}}).add();
  metrics.counter(metric::kRaftLeaderChanges, "Leader changes seen.").add(2);
  auto& seconds = metrics.histogram("tidelock_swap_seconds", "Time of a swap.", duration_buckets());
  seconds.observe(0.003);
  seconds.observe(100);
}

// Runs `promtool check metrics` on `text`: its exit status, or nothing when promtool is not installed.
std::optional<int> promtool_verdict(const std::string& text) {
  std::string path = std::filesystem::temp_directory_path() / "tidelock-metrics-XXXXXX";
  const int fd = mkstemp(path.data());
  EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  close(fd);
  char tool[] = "promtool", check[] = "check", metrics[] = "metrics";
  char* arguments[] = {tool, check, metrics, nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, path.c_str(), O_RDONLY, 0);
  pid_t child = 0;
  const int error = posix_spawnp(&child, tool, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = -1;
  if (error == 0) waitpid(child, &status, 0);
  std::filesystem::remove(path);
  if (error != 0) return std::nullopt;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Metrics, PromtoolAcceptsWhatWeExpose) {
  Metrics metrics;
  fill(metrics);
  const std::string text = metrics.expose();
  const auto verdict = promtool_verdict(text);
  if (!verdict) GTEST_SKIP() << "SKIPPED: promtool is not installed, so nobody checked the exposition";
  EXPECT_EQ(*verdict, 0) << text;
  EXPECT_NE(promtool_verdict("no exposition at all\n"), 0) << "promtool does look at what it is given";
}

TEST(Metrics, TextFormat) {
  Metrics metrics;
  fill(metrics);
  const std::string text = metrics.expose();
  const char* lines[] = {"# TYPE tidelock_cache_hit_ratio gauge",
                         "tidelock_cache_hit_ratio{level=\"l1\"} 0.97",
                         "tidelock_model_version_timestamp{model=\"det\",version=\"2.0.0\"} 1700000000.5",
                         "tidelock_invalidations_total{reason=\"say \\\"why\\\"\\\\\\n\"} 3",
                         "tidelock_raft_leader_changes_total 2",
                         "# TYPE tidelock_swap_seconds histogram",
                         "tidelock_swap_seconds_bucket{le=\"0.002\"} 0",
                         "tidelock_swap_seconds_bucket{le=\"0.005\"} 1",
                         "tidelock_swap_seconds_bucket{le=\"10\"} 1",
                         "tidelock_swap_seconds_bucket{le=\"+Inf\"} 2",
                         "tidelock_swap_seconds_count 2",
                         "tidelock_metrics_refused_total 0"};
  for (const char* line : lines) EXPECT_TRUE(has_line(text, line)) << line << "\n" << text;
}

TEST(Metrics, SameNameAndLabelsAreTheSameObject) {
  Metrics metrics;
  Counter& one = metrics.counter("a_total", "A.", {{"x", "1"}, {"y", "2"}});
  EXPECT_EQ(&one, &metrics.counter("a_total", "A.", {{"y", "2"}, {"x", "1"}})) << "order of labels does not matter";
  EXPECT_NE(&one, &metrics.counter("a_total", "A.", {{"x", "2"}, {"y", "2"}}));
}

TEST(Metrics, WhatDoesNotFitWorksUnseenAndIsCounted) {
  struct Case {
    const char* why;
    const char* name;
    const char* help;
    Labels labels;
  };
  const Case cases[] = {
      {"no name", "", "H.", {}},
      {"a digit first", "1_total", "H.", {}},
      {"a dash", "a-b", "H.", {}},
      {"no help", "b_total", "", {}},
      {"registered as a gauge", "g", "H.", {}},
      {"reserved label", "c_total", "H.", {{"le", "1"}}},
      {"reserved label", "c_total", "H.", {{"__name__", "1"}}},
      {"label twice", "c_total", "H.", {{"a", "1"}, {"a", "2"}}},
      {"nine labels",
       "c_total",
       "H.",
       {{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}, {"e", ""}, {"f", ""}, {"g", ""}, {"h", ""}, {"i", ""}}}};
  Metrics metrics;
  metrics.gauge("g", "A gauge.");
  std::uint64_t refused = 0;
  for (const Case& c : cases) {
    Counter& counter = metrics.counter(c.name, c.help, c.labels);
    counter.add(5);
    EXPECT_EQ(counter.value(), 5u) << c.why;
    EXPECT_TRUE(has_line(metrics.expose(), "tidelock_metrics_refused_total " + std::to_string(++refused))) << c.why;
  }
  metrics.histogram("h", "H.", {2, 1}).observe(1);
  metrics.histogram("h", "H.", {}).observe(1);
  metrics.histogram("h", "H.", std::vector<double>(kBucketsMax + 1, 1)).observe(1);
  EXPECT_EQ(metrics.expose().find("h_bucket"), std::string::npos);
}

TEST(Metrics, SeriesAreCapped) {  // I11
  Metrics metrics;
  for (std::size_t i = 0; i < 3 * kSeriesMax; ++i) {
    metrics.counter("k_total", "Keys.", {{"key", std::to_string(i)}}).add();
    metrics.histogram("bad", "", {1}).observe(1);
  }
  const std::string text = metrics.expose();
  EXPECT_TRUE(has_line(text, "k_total{key=\"" + std::to_string(kSeriesMax - 1) + "\"} 1"));
  EXPECT_FALSE(has_line(text, "k_total{key=\"" + std::to_string(kSeriesMax) + "\"} 1"));
  const std::string long_value(10'000, 'x');
  metrics.counter("l_total", "Long.", {{"v", long_value}}).add();
  EXPECT_EQ(metrics.expose().find(std::string(257, 'x')), std::string::npos);
}

TEST(Metrics, FunctionsAreReadAtEachScrapeUntilForgotten) {
  Metrics metrics;
  double level = 1;
  std::uint64_t count = 10;
  metrics.gauge_from("level", "Level.", {}, [&] { return level; });
  metrics.counter_from("count_total", "Count.", {}, [&] { return count; });
  EXPECT_TRUE(has_line(metrics.expose(), "level 1"));
  level = -std::numeric_limits<double>::infinity();
  count = 11;
  EXPECT_TRUE(has_line(metrics.expose(), "level -Inf"));
  EXPECT_TRUE(has_line(metrics.expose(), "count_total 11"));
  metrics.forget("level");
  metrics.forget("no such name");
  EXPECT_TRUE(has_line(metrics.expose(), "level 0"));
}

TEST(Metrics, ThreadsLoseNothing) {
  Metrics metrics;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Counter& counter = metrics.counter("n_total", "N.");
      Histogram& histogram = metrics.histogram("s", "S.", {1, 2});
      for (int i = 0; i < 10'000; ++i) {
        counter.add();
        histogram.observe(1.5);
        if (i % 1'000 == 0) static_cast<void>(metrics.expose());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metrics.counter("n_total", "N.").value(), 40'000u);
  EXPECT_EQ(metrics.histogram("s", "S.", {1, 2}).count(), 40'000u);
  EXPECT_DOUBLE_EQ(metrics.histogram("s", "S.", {1, 2}).sum(), 60'000.0);
}

}  // namespace
}  // namespace tidelock
