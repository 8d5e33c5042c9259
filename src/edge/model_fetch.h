// ModelFetch brings files of models into the blob store, for as few bytes over the link to the hubs as it can and never
// for more than the gateway may spend (M3).
//
// A neighbour of the site that has the file gives it, over the LAN and for nothing; else one of the site asks a hub,
// and the others wait for it, for a bounded time (protocol/site_source.h, site_exchange.h). What comes from a neighbour
// is kept apart from what came from a hub until it is whole: a neighbour that lies costs time, and no byte of the
// budget.
//
// A file is asked for piece by piece: the hub sends what was asked for and no more, so budget and pace are decided here
// (protocol/transfer_budget.h, transfer_pace.h). What came lies in a partial file at once; after a lost link or a kill
// the transfer goes on at the byte. Calls and transfers have a connection of their own beside the session's, so that a
// heartbeat never waits behind their bytes in a socket.
//
// Threads:  one, but for on_round_trip and stop. Blocks on network and disk.
// Durable:  what may be spent is stored before it is asked for.
// Errors:   kBusy with detail_ns > 0: a pause by budget or hours, and how long it lasts; the message says so. What a
// hub
//           says of itself never has one. kUnavailable: links, or `go_on` said no. Else as the hub and the store say.
// Where the gateway has a file of the same name of another version, the hub is asked for a delta against it; it is
// applied here and what comes out is hashed. When there is none, the file comes whole if `transfer.full_fallback` lets
// it, and that is logged and counted: never in silence.
// A hub of a build without fetches is asked for a plain download: its pace is then that of reading, and a budget stops
// it within one of its chunks (1 MiB).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "codec/delta.h"
#include "codec/manifest.h"
#include "edge/edge.h"
#include "edge/site_exchange.h"
#include "protocol/transfer_budget.h"
#include "protocol/transfer_pace.h"
#include "store/kv/kv.h"
#include "store/models/blob_store.h"
#include "telemetry/metrics.h"
#include "wire/grpc/transport.h"

namespace tidelock {

class ModelFetch {
 public:
  using GoOn = std::function<bool()>;  // asked often, on the fetching thread; false ends the fetch with kUnavailable
  // What it asks of its owner.
  struct Asks {
    std::function<void()> wake;  // for tend(), from any thread
    // A file from which a delta did not make what it was to make, or that was not read: whole or not, look at it.
    std::function<void(Bytes sha256)> doubt = {};
  };
  // Everything handed in outlives it; `kv` has kMetaFamily.
  static Result<std::unique_ptr<ModelFetch>> open(const EdgeConfig& config, Kv& kv, const Clock& clock,
                                                  Metrics& metrics, BlobStore& blobs, Asks asks);
  ~ModelFetch();
  void stop();  // serves no neighbour any more; a fetch that waits for one ends soon

  // What follows is of this version, in what an operator is told of where bytes came from.
  void begin_version(std::string name, std::string version);
  // The exchange with the site, by way of this hub, if something is due; `wake` says so, and due_at() when.
  void on_session() { site_->on_session(); }
  void tend(const NodeId& session_hub);
  Nanos due_at() const { return site_->due_at(); }

  // From a neighbour, else from the hub of the session, then from any other. Done when the store has the file,
  // verified. `bases`: files in the store that the file may be like, the likest first.
  Result<void> fetch(const NodeId& session_hub, const ManifestFile& file, const std::vector<Bytes>& bases,
                     const GoOn& go_on);
  // Of files, from hubs, in this run.
  std::uint64_t fetched_bytes() const { return downloaded_.value(); }
  // For calls; not the session's connection.
  Result<NodeClient*> client(const NodeId& hub);
  // Of the session's probes. Any thread.
  void on_round_trip(Nanos ns) { round_trip_.store(ns, std::memory_order_relaxed); }
  // Instead of the wall clock, for the days and the hours of a budget. Before the first fetch.
  void take_wall_clock(std::function<std::uint64_t()> wall_ms) { wall_ms_ = std::move(wall_ms); }
  // An orderly end: what was reserved and not used is given back.
  void settle();

 private:
  class Conversation;
  ModelFetch(const EdgeConfig& config, Kv& kv, const Clock& clock, Metrics& metrics, BlobStore& blobs, Asks asks,
             const TransferSpent& spent, std::unique_ptr<SiteExchange> site);
  TransferBudget::Time clocks() const;
  Result<TransferGrant> take(std::uint64_t bytes);
  Result<void> store();
  // True: it is here. False: a hub is to be asked.
  Result<bool> from_site(const NodeId& session_hub, const ManifestFile& file, const GoOn& go_on);
  Result<void> from_neighbour(const NodeId& neighbour, const ManifestFile& file, const GoOn& go_on);
  Result<void> from_hubs(const NodeId& session_hub, const ManifestFile& file, const std::vector<Bytes>& bases,
                         const GoOn& go_on);
  Result<void> from_hub(NodeClient& hub, const NodeId& id, const ManifestFile& file, const std::vector<Bytes>& bases,
                        const GoOn& go_on);
  Result<void> by_delta(NodeClient& hub, const NodeId& id, const ManifestFile& file, const std::vector<Bytes>& bases,
                        const GoOn& go_on);
  Result<void> apply(BytesView delta_sha256, const ManifestFile& file);
  Result<DeltaBaseBytes> delta_base(BytesView sha256);
  Result<void> converse(NodeClient& from, const NodeId& id, Conversation& conversation, bool* unknown);
  Result<void> plain_download(NodeClient& hub, BlobStore::Writer& writer, const ManifestFile& file, const GoOn& go_on);
  void learn_round_trip();
  void show();

  const EdgeConfig& config_;
  Kv& kv_;
  const Clock& clock_;
  std::function<std::uint64_t()> wall_ms_;  // empty: the real one
  Metrics& metrics_;
  BlobStore& blobs_;
  const Asks asks_;
  Counter& downloaded_;
  Counter& full_bytes_;
  Counter& delta_bytes_;
  Counter& neighbour_bytes_;
  Counter& fallbacks_;
  Counter& site_fallbacks_;
  Counter& lies_;
  Gauge& day_bytes_;
  Gauge& month_bytes_;
  Gauge& window_bytes_;
  std::map<NodeId, std::unique_ptr<NodeClient>> clients_;
  std::map<NodeId, std::uint64_t> connections_;  // of each hub, that are charged
  std::uint64_t open_bytes_ = 0;                 // to be charged with the first bytes of the next conversation
  std::unique_ptr<SiteExchange> site_;
  std::string name_, version_;
  TransferBudget budget_;
  TransferPace pace_;
  TransferPace near_pace_;  // on the LAN
  std::atomic<Nanos> round_trip_{0};
  Nanos round_trip_seen_ = 0;
  bool own_trouble_ = false;  // the last error was this gateway's: another hub helps as little
};

}  // namespace tidelock
