// The state machine's rows in a Kv family: one database holds the ledger's log and the state, so one write-ahead log
// orders both.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "protocol/state_machine.h"
#include "store/kv/kv.h"

namespace tidelock {

inline constexpr std::string_view kStateFamily = "state";

// Threads: any; the Kv must outlive it. A read that fails ends the process: a hub must not decide on half a state.
class KvStateRows : public StateRows {
 public:
  explicit KvStateRows(Kv& kv) : kv_(kv) {}
  std::optional<Bytes> row(std::string_view key) const override;
  void visit(std::string_view prefix, std::string_view from,
             const std::function<bool(std::string_view, std::string_view)>& visit) const override;

 private:
  Kv& kv_;
};

}  // namespace tidelock
