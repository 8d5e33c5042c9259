// `tidelock rollout ...` and `tidelock model history`: what operators ask of a rollout, and how it goes.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time.h"
#include "cli/common.h"
#include "protocol/admin.h"

namespace CLI {
class App;
}

namespace tidelock {

// "500ms", "90s", "10m", "2h", "1d".
Result<Nanos> parse_span(std::string_view text);
// What is left by the forecast, from where it is now; kForever: it has not started, or it is paused.
Nanos rollout_eta(const RolloutView& view);
std::string date_words(std::uint64_t wall_ms);  // "2026-12-01 08:00:00Z"
// `transfer`: of its version; null where the hub does not tell.
std::string rollout_words(const std::string& name, const RolloutView& view, const TransferView* transfer = nullptr);
Json rollout_json(const std::string& name, const RolloutView& view, const TransferView* transfer = nullptr);

// `common` and `exit_code` must outlive the parsing.
void add_rollout(CLI::App& app, const Common& common, int& exit_code);
void add_history(CLI::App& model, const Common& common, int& exit_code);

}  // namespace tidelock
