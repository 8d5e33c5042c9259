// Configuration files (TOML) of hubs, edges and operators. Every error names file, line, key, value and what would be
// right; unknown and repeated keys are errors.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "edge/edge.h"
#include "hub/hub.h"
#include "wire/grpc/transport.h"

namespace tidelock {

struct LogSettings {
  std::string level = "info";
  std::string format = "auto";
};
struct HubSettings {
  HubConfig hub;
  LogSettings log;
};
struct EdgeSettings {
  EdgeConfig edge;
  LogSettings log;
};
struct OperatorConfig {
  std::vector<std::pair<NodeId, std::string>> hubs;  // id, gRPC address
  TlsFiles tls;
};

Result<HubSettings> read_hub_config(const std::string& path);
Result<EdgeSettings> read_edge_config(const std::string& path);
Result<OperatorConfig> read_operator_config(const std::string& path);

// CONFIG REWRITE: puts the settings into [config] and [users] of the edge's file, comments kept, the file replaced as a
// whole. Errors leave it as it was.
Result<void> rewrite_edge_config(const std::string& path, const EdgeRedisSettings& kept);

// The effective configuration as JSON, addresses, ids and paths included under their keys.
std::string print_config(const HubSettings& settings);
std::string print_config(const EdgeSettings& settings);

Result<std::string> read_file(const std::string& path);
Result<void> write_file(const std::string& path, std::string_view bytes, unsigned mode);

}  // namespace tidelock
