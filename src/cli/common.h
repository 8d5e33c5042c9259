// What every subcommand has: its common options, and the two ways to end.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "cli/operator.h"

namespace tidelock {

using Json = nlohmann::json;

struct Common {
  std::string config;
  bool json = false;
  int timeout_ms = 10'000;
};

int report(const Common& common, const Error& error, const std::string& next_step = {});
int done(const Common& common, Json json, const std::string& text);
// To the cluster that common.config, a client.toml, names.
Result<std::unique_ptr<Operator>> connect(const Common& common);

}  // namespace tidelock
