#include "wire/resp/slow_log.h"

#include <algorithm>

#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

constexpr std::string_view kRedacted = "(redacted)";

std::size_t bytes_of(const SlowLogEntry& entry) {
  std::size_t bytes = sizeof entry + entry.peer.size() + entry.client_name.size();
  for (const std::string& arg : entry.args) bytes += sizeof arg + arg.size();
  return bytes;
}

// Passwords, and the rules of users, which may hold some.
bool is_secret(std::span<const std::string_view> args, std::size_t at) {
  const auto is = [&](std::size_t i, std::string_view word) {
    return i < args.size() && equal_ignoring_case(args[i], word);
  };
  if (at == 0) return false;
  if (is(0, "AUTH")) return true;
  if (is(0, "ACL")) return at >= 2 && is(1, "SETUSER");
  if (is(0, "HELLO")) return is(at - 1, "AUTH") || (at >= 2 && is(at - 2, "AUTH"));
  if (is(0, "CONFIG")) return at >= 3 && at % 2 == 1 && is(1, "SET") && is(at - 1, "requirepass");
  return false;
}

}  // namespace

std::vector<std::string> SlowLog::cut(std::span<const std::string_view> args) {
  const bool many = args.size() > kArgumentsMax;
  const std::size_t kept = many ? kArgumentsMax - 1 : args.size();
  std::vector<std::string> out;
  out.reserve(kept + many);
  for (std::size_t i = 0; i < kept; ++i) {
    if (is_secret(args, i)) {
      out.emplace_back(kRedacted);
      continue;
    }
    std::string& text = out.emplace_back(args[i].substr(0, kArgumentBytesMax));
    if (args[i].size() > kArgumentBytesMax) {
      text += "... (" + std::to_string(args[i].size() - kArgumentBytesMax) + " more bytes)";
    }
  }
  if (many) out.push_back("... (" + std::to_string(args.size() - kept) + " more arguments)");
  return out;
}

void SlowLog::add(SlowLogEntry entry) {
  entry.id = next_id_++;
  bytes_ += bytes_of(entry);
  entries_.push_front(std::move(entry));
  trim();
}

void SlowLog::trim() {
  while (!entries_.empty() && (entries_.size() > length_max || bytes_ > kBytesMax)) {
    bytes_ -= bytes_of(entries_.back());
    entries_.pop_back();
  }
}

void SlowLog::reset() {
  entries_.clear();
  bytes_ = 0;
}

}  // namespace tidelock
