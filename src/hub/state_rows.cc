#include "hub/state_rows.h"

#include <cstdlib>
#include <string>

#include "telemetry/log.h"

namespace tidelock {
namespace {

[[noreturn]] void give_up(const Error& error) {
  log(LogLevel::kError, "hub", "state cannot be read", {{"code", code_name(error.code)}, {"message", error.message}});
  std::_Exit(70);  // the process restarts, and the ledger is replayed or repaired from the leader (D4)
}

// The smallest key above every key with this prefix; empty: none.
Bytes end_of(std::string_view prefix) {
  Bytes end(prefix);
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xFF) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

}  // namespace

std::optional<Bytes> KvStateRows::row(std::string_view key) const {
  auto value = kv_.get(std::string(kStateFamily), key);
  if (!value) give_up(value.error());
  return std::move(*value);
}

void KvStateRows::visit(std::string_view prefix, std::string_view from,
                        const std::function<bool(std::string_view, std::string_view)>& visit) const {
  if (const auto ok = kv_.scan(std::string(kStateFamily), from, end_of(prefix), visit); !ok) give_up(ok.error());
}

}  // namespace tidelock
