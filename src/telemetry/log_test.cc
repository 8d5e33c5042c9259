#include "telemetry/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>
#include <string>
#include <thread>
#include <vector>

namespace tidelock {
namespace {

constexpr std::int64_t kThen = 1'700'000'000'123'456'789;  // 2023-11-14T22:13:20Z

std::string json(std::initializer_list<LogField> fields, const std::string& node = "hub-1") {
  LogOptions options;
  options.node = node;
  return format_log_line(options, true, kThen, LogLevel::kWarn, "hub", "became active", fields);
}

TEST(Log, JsonLine) {
  const std::string head =
      R"({"ts":"2023-11-14T22:13:20.123456Z","level":"warn","room":"hub","event":"became active","node":"hub-1")";
  struct Case {
    const char* why;
    LogValue value;
    const char* text;
  };
  const Case cases[] = {{"text", "plain", R"("plain")"},
                        {"quotes, backslash, newline, tab", "a\"b\\c\nd\te", R"("a\"b\\c\nd\te")"},
                        {"control characters", std::string_view("\x01\x7F", 2), R"("\u0001\u007f")"},
                        {"UTF-8 stays", "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x8C\x8A",
                         "\"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x8C\x8A\""},
                        {"a byte that is no UTF-8", "a\xFF", R"("a\u00ff")"},
                        {"a cut sequence", "a\xE2\x82", R"("a\u00e2\u0082")"},
                        {"an overlong form", "\xC0\xAF", R"("\u00c0\u00af")"},
                        {"a surrogate", "\xED\xA0\x80", R"("\u00ed\u00a0\u0080")"},
                        {"smallest integer", std::numeric_limits<std::int64_t>::min(), "-9223372036854775808"},
                        {"largest integer", std::numeric_limits<std::uint64_t>::max(), "18446744073709551615"},
                        {"truth", true, "true"},
                        {"a fraction", 0.5, "0.5"},
                        {"JSON has no infinity", std::numeric_limits<double>::infinity(), "null"}};
  for (const Case& c : cases) EXPECT_EQ(json({{"k", c.value}}), head + ",\"k\":" + c.text + "}") << c.why;
  EXPECT_EQ(json({}, "").find("node"), std::string::npos);
}

TEST(Log, TextLine) {
  LogOptions options;
  options.node = "edge-3";
  EXPECT_EQ(format_log_line(options, false, kThen, LogLevel::kInfo, "edge", "session opened",
                            {{"hub", "hub-1"}, {"term", std::uint64_t{7}}, {"why", "two words"}, {"ok", true}}),
            "22:13:20.123456 info  edge-3 edge: session opened hub=hub-1 term=7 why=\"two words\" ok=true");
}

TEST(Log, SecretsAreHidden) {
  for (const char* key : {"token", "join_token", "secret", "password", "ca_key_pem"}) {
    EXPECT_EQ(json({{key, "hunter2"}}).find("hunter2"), std::string::npos) << key;
  }
  EXPECT_NE(json({{"tokens", "7"}}).find("7"), std::string::npos) << "a count of tokens is none";
}

TEST(Log, LongValuesAndLinesAreCut) {  // I11
  const std::string huge(1 << 20, 'x');
  const std::string line = json({{"a", huge}});
  EXPECT_LT(line.size(), 5'000u);
  EXPECT_NE(line.find("[cut, 1048576 bytes]"), std::string::npos);
  const std::string many = json({{"a", huge}, {"b", huge}, {"c", huge}, {"d", huge}, {"e", huge}, {"f", huge}});
  EXPECT_LT(many.size(), 17'000u);
  EXPECT_NE(many.find("fields_cut"), std::string::npos);
  EXPECT_EQ(many.back(), '}');
}

TEST(Log, LinesOfThreadsDoNotMix) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(pipe(ends), 0);
  LogOptions options;
  options.fd = ends[1];
  options.level = LogLevel::kWarn;
  set_log_options(options);
  EXPECT_FALSE(log_enabled(LogLevel::kInfo));
  std::string text;
  std::thread reader([&] {
    char buffer[4'096];
    for (ssize_t got = 0; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(got));
  });
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([t] {
      for (int i = 0; i < 500; ++i) {
        log(LogLevel::kInfo, "test", "below the level");
        log(LogLevel::kError, "test", "line", {{"thread", t}, {"i", i}});
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  set_log_options({});
  close(ends[1]);
  reader.join();
  close(ends[0]);
  std::size_t lines = 0;
  for (std::size_t at = 0; at < text.size(); ++lines) {
    const std::size_t end = text.find('\n', at);
    ASSERT_NE(end, std::string::npos);
    const std::string line = text.substr(at, end - at);
    EXPECT_TRUE(line.starts_with("{\"ts\":\"") && line.ends_with("}") && line.find('{', 1) == std::string::npos)
        << line;
    at = end + 1;
  }
  EXPECT_EQ(lines, 2'000u) << "JSON, since a pipe is no terminal";
}

TEST(Log, LevelNames) {
  EXPECT_EQ(parse_log_level("warn").value(), LogLevel::kWarn);
  EXPECT_EQ(log_level_name(LogLevel::kDebug), "debug");
  const auto bad = parse_log_level("loud");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().message, "log level \"loud\": want debug, info, warn or error");
}

}  // namespace
}  // namespace tidelock
