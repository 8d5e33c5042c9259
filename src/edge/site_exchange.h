// SiteExchange is a gateway's part among the gateways of its site (M3): it hands its neighbours the files of models
// that lie here, verified, says how far it is with those that come from a hub, and asks its neighbours the same.
//
// Who its neighbours are it hears from the hub of the session, and serves nobody else: an edge of another site, or one
// that was removed, has a good certificate but no session as a member of this site (X1). The list is asked
// for anew when it is half a minute old and somebody comes, and nobody is served by one of more than five minutes.
//
// Threads:  tend, ask, client and wait belong to one thread, the keeper's; they block on the network, on a
//           LAN. The rest is for any thread.
// Never:    hands out a byte that was not hashed here; believes a neighbour (what comes from one is hashed by the blob
//           store); charges the budget, which is about the link to the hubs.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "edge/edge.h"
#include "protocol/admin.h"
#include "protocol/site_source.h"
#include "store/models/blob_store.h"
#include "wire/grpc/transport.h"

namespace tidelock {

class SiteExchange : private NodeService {
 public:
  // What is handed in outlives it. Serves when the configuration says where. `wake`: from any thread, when tend() has
  // something to do.
  static Result<std::unique_ptr<SiteExchange>> open(const EdgeConfig& config, const Clock& clock, BlobStore& blobs,
                                                    std::function<void()> wake);
  ~SiteExchange() override;
  void stop();  // serves nobody any more, and ends waits; idempotent

  // ---- with the hub
  void on_session();
  // Tells the hub about this gateway, and hears of its neighbours, when that is due. `call` answers a NodeCall.
  void tend(const std::function<Result<AdminAnswer>(SiteCall)>& call);
  // Before a file is asked for: the list shall not be old.
  void want_neighbours();
  Nanos due_at() const;  // kForever: nothing is due

  // ---- with neighbours
  bool alone() const;  // nobody else serves
  // Those that serve, this gateway among them if it does.
  std::vector<NodeId> serving() const;
  Result<SiteTell> ask(const NodeId& neighbour, BytesView sha256);
  Result<NodeClient*> client(const NodeId& neighbour);
  // Until something may have changed, and so long at the most.
  void wait(Nanos most_ns);

  // ---- what neighbours are told of a file that comes from a hub
  void fetching(BytesView sha256, bool paused = false);
  void got_on(BytesView sha256);
  void came(BytesView sha256);
  // Bytes of a version that came from a node: what the hub is told.
  void arrived(const std::string& name, const std::string& version, const NodeId& from, std::uint64_t bytes);

 private:
  SiteExchange(const EdgeConfig& config, const Clock& clock, BlobStore& blobs, std::function<void()> wake);
  bool admits(const PeerIdentity& peer);
  SiteTell here(BytesView sha256) const;

  void on_session_open(SessionPtr session) override;
  void on_session_frame(SessionId, Bytes) override {}
  void on_session_closed(SessionId, const std::string&) override {}
  void on_raft_frame(const NodeId&, Bytes) override {}
  void on_call(const PeerIdentity& peer, Bytes request, Reply reply) override;
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes) override;
  Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity&, Bytes) override;
  Result<std::unique_ptr<FetchSource>> on_fetch(const PeerIdentity& peer, Bytes first,
                                                std::function<void()> more) override;
  void on_refused(const std::string& peer_address, const std::string& why) override;

  const EdgeConfig& config_;
  const Clock& clock_;
  BlobStore& blobs_;
  const std::function<void()> wake_;
  std::string address_;                                    // as announced; empty: serves nobody
  std::map<NodeId, std::unique_ptr<NodeClient>> clients_;  // the keeper's thread's

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool stopping_ = false;
  std::map<NodeId, std::string> members_;       // of the site, and where they serve, as the hub said last
  Nanos heard_at_ = kNever, good_at_ = kNever;  // an answer; a list
  Nanos due_at_ = kForever;
  struct Coming {
    std::uint64_t progress = 0;
    bool paused = false;
  };
  std::map<Bytes, Coming> coming_;
  std::vector<ModelBytes> bytes_;

  std::unique_ptr<NodeServer> server_;  // last: its threads use what is above
};

}  // namespace tidelock
