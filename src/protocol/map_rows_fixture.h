// A state machine's rows in memory: for tests, fuzz targets and the simulator's.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string_view>

#include "protocol/state_machine.h"

namespace tidelock {

class MapRows final : public StateRows {
 public:
  std::optional<Bytes> row(std::string_view key) const override {
    const auto it = rows.find(key);
    return it == rows.end() ? std::nullopt : std::optional(it->second);
  }
  void visit(std::string_view prefix, std::string_view from,
             const std::function<bool(std::string_view, std::string_view)>& see) const override {
    for (auto it = rows.lower_bound(from); it != rows.end() && it->first.starts_with(prefix); ++it) {
      if (!see(it->first, it->second)) return;
    }
  }
  void commit(const StateBatch& batch) {
    for (const auto& [key, value] : batch.rows) {
      if (value)
        rows[key] = *value;
      else
        rows.erase(key);
    }
  }
  std::map<Bytes, Bytes, std::less<>> rows;
};

}  // namespace tidelock
