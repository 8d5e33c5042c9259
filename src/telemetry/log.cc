// A line is built in a buffer of the calling thread and leaves with one write(2). Wall time is read here for people to
// read; nothing is decided by it.
#include "telemetry/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <memory>

namespace tidelock {
namespace {

constexpr std::size_t kValueBytesMax = 4u << 10;
constexpr std::size_t kLineBytesMax = 16u << 10;
constexpr std::string_view kLevels[] = {"debug", "info", "warn", "error"};

struct Settings {
  LogOptions options;
  bool json = true;
  const Settings* former = nullptr;  // keeps it reachable, so that leak checkers agree it is no leak
};

std::atomic<int> level_now{static_cast<int>(LogLevel::kInfo)};
// Replaced whole and never freed (a handful of bytes per call of set_log_options): a thread may be reading the old one.
std::atomic<const Settings*> settings_now{nullptr};

const Settings& settings() {
  const Settings* now = settings_now.load(std::memory_order_acquire);
  if (now != nullptr) return *now;
  static const Settings defaults{LogOptions{}, isatty(2) == 0, nullptr};
  return defaults;
}

bool is_secret(std::string_view key) {
  for (const std::string_view word : {"token", "secret", "password", "key_pem"}) {
    if (key == word) return true;
    if (key.ends_with(word) && key[key.size() - word.size() - 1] == '_') return true;
  }
  return false;
}

// Length of the UTF-8 sequence at the start of `text`; 0 when it is none.
std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 && first <= 0xF4 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (first > 0xF4 || length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
  }
  if (length == 3 && ((first == 0xE0 && at(1) < 0xA0) || (first == 0xED && at(1) > 0x9F))) return 0;
  if (length == 4 && ((first == 0xF0 && at(1) < 0x90) || (first == 0xF4 && at(1) > 0x8F))) return 0;
  return length;
}

// Between quotes, as JSON wants it. A byte that is not UTF-8 becomes U+00XX, so a line is always valid.
void put_quoted(std::string& out, std::string_view text) {
  const bool cut = text.size() > kValueBytesMax;
  const std::size_t whole = text.size();
  text = text.substr(0, kValueBytesMax);
  out += '"';
  while (!text.empty()) {
    const char c = text.front();
    std::size_t taken = 1;
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else if (taken = utf8_length(text); taken == 0) {
      taken = 1;
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      out += text.substr(0, taken);
    }
    text.remove_prefix(taken);
  }
  if (cut) out += fmt::format("... [cut, {} bytes]", whole);
  out += '"';
}

bool plain_word(std::string_view text) {
  if (text.empty() || text.size() > kValueBytesMax) return false;
  for (const char c : text) {
    if (c <= ' ' || c > '~' || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

void put_value(std::string& out, const LogField& field, bool json) {
  if (is_secret(field.key)) {
    out += json ? "\"[hidden]\"" : "[hidden]";
    return;
  }
  struct Visitor {
    std::string& to;
    bool as_json;
    void operator()(bool v) const { to += v ? "true" : "false"; }
    void operator()(std::int64_t v) const { to += fmt::format("{}", v); }
    void operator()(std::uint64_t v) const { to += fmt::format("{}", v); }
    void operator()(double v) const {
      if (std::isfinite(v)) {
        to += fmt::format("{}", v);
      } else {
        to += as_json ? "null" : "none";  // JSON has no infinity
      }
    }
    void operator()(std::string_view v) const {
      if (!as_json && plain_word(v)) {
        to += v;
      } else {
        put_quoted(to, v);
      }
    }
  };
  std::visit(Visitor{out, json}, field.value.value);
}

std::string time_text(std::int64_t unix_ns, bool date) {
  const std::int64_t ns = ((unix_ns % 1'000'000'000) + 1'000'000'000) % 1'000'000'000;
  const auto seconds = static_cast<std::time_t>((unix_ns - ns) / 1'000'000'000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  const std::string day =
      date ? fmt::format("{:04}-{:02}-{:02}T", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday) : std::string();
  return day + fmt::format("{:02}:{:02}:{:02}.{:06}", utc.tm_hour, utc.tm_min, utc.tm_sec, ns / 1'000) +
         (date ? "Z" : "");
}

}  // namespace

std::string_view log_level_name(LogLevel level) { return kLevels[static_cast<std::size_t>(level)]; }

Result<LogLevel> parse_log_level(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kLevels); ++i) {
    if (kLevels[i] == name) return static_cast<LogLevel>(i);
  }
  return fail(Code::kInvalid, "log level \"" + std::string(name.substr(0, 64)) + "\": want debug, info, warn or error");
}

void set_log_options(LogOptions options) {
  level_now.store(static_cast<int>(options.level), std::memory_order_relaxed);
  auto* made = new Settings{std::move(options), false, settings_now.load(std::memory_order_acquire)};
  made->json = made->options.format == LogFormat::kJson ||
               (made->options.format == LogFormat::kAuto && isatty(made->options.fd) == 0);
  settings_now.store(made, std::memory_order_release);
}

bool log_enabled(LogLevel level) { return static_cast<int>(level) >= level_now.load(std::memory_order_relaxed); }

std::string format_log_line(const LogOptions& options, bool json, std::int64_t unix_ns, LogLevel level,
                            std::string_view room, std::string_view event, std::initializer_list<LogField> fields) {
  std::string out;
  out.reserve(256);
  if (json) {
    out += "{\"ts\":\"" + time_text(unix_ns, true) + "\",\"level\":\"";
    out += log_level_name(level);
    out += "\",\"room\":";
    put_quoted(out, room);
    out += ",\"event\":";
    put_quoted(out, event);
    if (!options.node.empty()) {
      out += ",\"node\":";
      put_quoted(out, options.node);
    }
  } else {
    out += time_text(unix_ns, false) + " " + fmt::format("{:5} ", log_level_name(level));
    if (!options.node.empty()) out += options.node + " ";
    out += room;
    out += ": ";
    out += event;
  }
  std::size_t left_out = 0;
  for (const LogField& field : fields) {
    if (out.size() > kLineBytesMax - kValueBytesMax) {
      ++left_out;
      continue;
    }
    if (json) {
      out += ',';
      put_quoted(out, field.key);
      out += ':';
    } else {
      out += ' ';
      out += field.key;
      out += '=';
    }
    put_value(out, field, json);
  }
  if (left_out > 0) out += json ? fmt::format(",\"fields_cut\":{}", left_out) : fmt::format(" fields_cut={}", left_out);
  if (json) out += '}';
  return out;
}

void log(LogLevel level, std::string_view room, std::string_view event, std::initializer_list<LogField> fields) {
  if (!log_enabled(level)) return;
  std::timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const Settings& current = settings();
  std::string line =
      format_log_line(current.options, current.json,
                      static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec, level, room, event, fields);
  line += '\n';
  std::string_view rest = line;
  while (!rest.empty()) {  // one write; more only after a signal, or on a pipe that took a part
    const ssize_t done = ::write(current.options.fd, rest.data(), rest.size());
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return;  // nowhere to say so
    rest.remove_prefix(static_cast<std::size_t>(done));
  }
}

}  // namespace tidelock
