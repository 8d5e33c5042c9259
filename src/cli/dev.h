// `tidelock dev init` and `tidelock hub init`: make a CA, certificates, keys and configuration files that are ready to
// run.
#pragma once

#include <string>

#include "base/result.h"

namespace tidelock {

struct DevOptions {
  std::string directory;
  int hubs = 3;
  int edges = 4;
  int sites = 2;
};
// Every port is picked free on the loopback interface. A folder that holds a cluster already is left as it is
// (kConflict).
Result<void> make_dev_cluster(const DevOptions& options);

struct HubInitOptions {
  std::string directory;
  std::string id = "hub-1";
  std::string grpc = "127.0.0.1:7400";
  std::string http = "127.0.0.1:7401";
};
// A first hub on this machine, with a CA of its own, an operator's certificate and a model signing key.
Result<void> init_first_hub(const HubInitOptions& options);

struct TokenOptions {
  std::string tokens_file;
  std::string role = "edge";
  std::string id;  // empty: the node chooses
  int minutes = 60;
};
Result<std::string> make_token(const TokenOptions& options);

struct JoinOptions {
  std::string token;
  std::string hub_http;  // host:port of a hub's HTTP address
  std::string role = "edge";
  std::string id;
  std::string directory;
};
Result<void> join_node(const JoinOptions& options);

}  // namespace tidelock
