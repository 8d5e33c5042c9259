// Edge runs one edge process: its session with the active hub, page and arena, L2 and outbox, the Redis protocol, its
// models, HTTP.
//
// Threads:  start and the destructor belong to the owner; everything inside runs on the edge's own threads. One of
// them,
//           the loop, owns the EdgeCore and carries out what it decides, strictly in order.
// Errors:   start names what is wrong with configuration, folders, ports or certificates; kConflict when another
// process
//           holds the data folder (F11) or an address. No hub is needed to start.
// Places:   run_dir/page, run_dir/arena, run_dir/redis.sock, run_dir/models -> data_dir/models/room. Put run_dir on
// tmpfs.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "edge/model_server.h"
#include "protocol/breaker.h"
#include "protocol/messages.h"
#include "protocol/transfer_budget.h"
#include "wire/grpc/transport.h"
#include "wire/resp/loop_back_end.h"
#include "wire/resp/tls.h"

namespace tidelock {

// Test builds only: what is planted between the core and the link. False drops the frame. Called on the loop's thread.
struct FrameHooks {
  std::function<bool(EdgeFrame&)> outgoing;
  std::function<bool(HubFrame&)> incoming;
};

// What CONFIG REWRITE keeps of an edge's Redis protocol.
struct EdgeRedisSettings {
  std::vector<std::pair<std::string, std::string>> parameters;  // as CONFIG SET takes them
  std::vector<std::string> users;                               // "alice on #... ~features:* +@read"
};

// Where values lie that do not fit into memory; what has not left this gateway stays in data_dir whatever the engine.
enum class L2Engine : std::uint8_t { kRocksDb, kRedis, kMemcached };

struct L2Settings {
  L2Engine engine = L2Engine::kRocksDb;
  std::string address;                   // of the cache server: "host:port", "unix:/path"
  std::string password;                  // of Redis
  Nanos deadline_ns = kMillisecond;      // how long one read may keep the loop waiting
  std::uint64_t bytes_max = 1ull << 30;  // of keys and rows in data_dir
};
// kInvalid names the key, its value and what would be right.
Result<void> check_l2(const L2Settings& settings);

struct EdgeModelSettings {
  // X2: the root that is followed, whatever a hub brings first: a signed file, or the digest of one (codec/trust.h,
  // trust_content_sha256). At most one of them; without any the first root that comes is taken.
  Bytes trust_root, trust_root_sha256;
  std::uint64_t quota_bytes = 0;                  // M8: of the store of models on this gateway's flash; 0: none
  std::uint64_t rehash_bytes_per_s = 256u << 10;  // X3: files in use are read again at this rate; 0: never
};

struct EdgeConfig {
  NodeId id;
  std::string site = "default";
  Labels labels;  // what a rollout may choose this gateway by
  std::string data_dir;
  std::string run_dir;
  std::map<NodeId, std::string> hubs;  // id -> gRPC host:port
  std::string redis_address;           // host:port; empty: no TCP
  std::string redis_tls_address;       // host:port; empty: no TLS
  RespTls redis_tls;                   // what is empty in it is taken from `tls`
  std::string redis_unix;              // beside run_dir/redis.sock, which is always there
  LoopBackEnd redis_io = LoopBackEnd::kAuto;
  std::string http_address;  // host:port; empty: no HTTP
  TlsFiles tls;
  std::size_t arena_bytes = 64u << 20;
  L2Settings l2;
  ModelServerSettings model_server;    // M11
  BreakerSettings breaker;             // M10: when the apps' frames are refused
  TransferLimits transfer;             // M3: of models, over the link to the hubs
  bool transfer_full_fallback = true;  // M3: a file comes whole when there is no delta for it
  bool site_neighbours = true;         // M3: gateways of this site are asked before a hub
  std::string site_listen;             // host:port where they may ask this one; empty: nowhere
  std::string site_address;            // host:port by which they reach it; empty: as site_listen
  EdgeModelSettings models;
  std::string requirepass;         // of the Redis protocol; empty: none, local peers only
  std::vector<std::string> users;  // beside `default`, or in place of it; see EdgeRedisSettings
  std::vector<std::pair<std::string, std::string>> parameters;
  // CONFIG REWRITE, on a thread of the edge's; empty: there is no file. SHUTDOWN, on its loop; empty: refused.
  std::function<Result<void>(const EdgeRedisSettings&)> rewrite_config;
  std::function<void()> on_shutdown;
  ClockShim shim;                                     // the identity but in test builds
  std::uint32_t protocol_version = kProtocolVersion;  // lower in test builds only
  FrameHooks frames;                                  // empty but in test builds
};

class Edge {
 public:
  static Result<std::unique_ptr<Edge>> start(EdgeConfig config);
  ~Edge();
  // "host:port" as bound; empty when that face is off.
  std::string redis_address() const;
  std::string redis_tls_address() const;
  std::string http_address() const;

 private:
  class Impl;
  explicit Edge(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidelock
