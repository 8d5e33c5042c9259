// Hub runs one hub process: ledger, sessions, operators' calls, model store, HTTP.
//
// Threads:  start and the destructor belong to the owner; everything inside runs on the hub's own threads.
// Errors:   start names what is wrong with configuration, ports, certificates or disk. A store that fails later ends
// the
//           process (D3): the ledger is replayed at the next start.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/elapsed_clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "hub/model_origin.h"
#include "protocol/commands.h"
#include "protocol/messages.h"
#include "wire/grpc/transport.h"

namespace tidelock {

struct HubConfig {
  NodeId id;
  std::string data_dir;
  std::string grpc_address;            // host:port
  std::string http_address;            // host:port
  std::map<NodeId, std::string> hubs;  // hubs of the cluster with their gRPC addresses, this one included
  bool joins = false;                  // true: it waits to be added to a cluster that exists; never the first members
  TlsFiles tls;
  std::string ca_key_file;                            // lets this hub answer `join`; empty: it does not
  std::string join_tokens_file;                       // open tokens, one a line (written by `hub token`)
  Seed seed;                                          // of an empty cluster
  ModelOriginSettings models;                         // where published files rest (M2)
  ClockShim shim;                                     // the identity but in test builds
  std::uint32_t protocol_version = kProtocolVersion;  // lower in test builds only
  std::uint32_t ledger_version = kLedgerVersion;      // lower in test builds only
  std::uint32_t election_timeout_ms = 300;
  std::uint32_t heartbeat_ms = 30;
  std::uint32_t snapshot_threshold_entries = 8192;
};

class Hub {
 public:
  static Result<std::unique_ptr<Hub>> start(HubConfig config);
  ~Hub();

 private:
  class Impl;
  explicit Hub(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidelock
