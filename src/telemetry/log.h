// One line per event: JSON (`ts, level, room, event, node, ...`) when the output is not a terminal, text when it is.
//
//   log(LogLevel::kInfo, "hub", "became active", {{"term", term.value}, {"wait_ms", 12}});
//
// Threads:  any. Each event is one write(2) of one whole line, so lines of threads and processes do not mix; no lock.
// Cost:     a disabled level costs one relaxed load. An enabled one formats into a buffer of this thread.
// Limits:   values above 4 KiB and lines above 16 KiB are cut, and say so. What is not UTF-8 is escaped.
// Never:    pass a secret. A value whose key is `token`, `secret`, `password`, `key_pem` or ends with one of these
// after
//           an underscore is written as "[hidden]", as a last net only.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace tidelock {

enum class LogLevel : std::uint8_t { kDebug = 0, kInfo, kWarn, kError };
std::string_view log_level_name(LogLevel level);  // "debug", "info", "warn", "error"
Result<LogLevel> parse_log_level(std::string_view name);

enum class LogFormat : std::uint8_t { kAuto = 0, kJson, kText };  // kAuto: text on a terminal, JSON elsewhere

struct LogValue {
  LogValue(bool v) : value(v) {}
  template <std::signed_integral T>
  LogValue(T v) : value(static_cast<std::int64_t>(v)) {}
  template <std::unsigned_integral T>
    requires(!std::same_as<T, bool>)
  LogValue(T v) : value(static_cast<std::uint64_t>(v)) {}
  LogValue(double v) : value(v) {}
  LogValue(std::string_view v) : value(v) {}
  LogValue(const std::string& v) : value(std::string_view(v)) {}
  LogValue(const char* v) : value(std::string_view(v)) {}
  std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view> value;
};

struct LogField {
  std::string_view key;
  LogValue value;
};

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kAuto;
  std::string node;  // "hub-1"; empty: left out
  int fd = 2;        // borrowed
};
// Call at start, before threads log.
void set_log_options(LogOptions options);

bool log_enabled(LogLevel level);
void log(LogLevel level, std::string_view room, std::string_view event, std::initializer_list<LogField> fields = {});

// The line that `log` would write, without the newline; `unix_ns` is the wall time it bears. For tests and for tools.
std::string format_log_line(const LogOptions& options, bool json, std::int64_t unix_ns, LogLevel level,
                            std::string_view room, std::string_view event, std::initializer_list<LogField> fields);

}  // namespace tidelock
