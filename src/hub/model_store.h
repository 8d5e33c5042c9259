// HubModelStore is a hub's part of the model store (M2): its own folder of blobs, uploads into it, downloads out of it,
// and pulling what is missing from the other hubs, or from the object store below (model_origin.h).
//
// Threads: any. One file is pulled once, however many ask for it. Blocking: download, upload and check_published read
// disks and ask other hubs; call them from bulk threads. A fetch of what has to be pulled or made first does so
// elsewhere (slow_fetches.h).
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "hub/delta_store.h"
#include "hub/model_care.h"
#include "hub/model_origin.h"
#include "hub/model_watch.h"
#include "hub/slow_fetches.h"
#include "ledger/ledger.h"
#include "protocol/admin.h"
#include "store/models/blob_store.h"
#include "wire/grpc/transport.h"

namespace tidelock {

struct HubConfig;

class HubModelStore {
 public:
  static Result<std::unique_ptr<HubModelStore>> open(const std::string& directory, const HubConfig& config);
  ~HubModelStore();

  // The other hubs from now on, with their addresses.
  void set_peers(const std::vector<std::pair<NodeId, std::string>>& peers);
  std::vector<Bytes> missing(const std::vector<Bytes>& sha256s) const;
  // A gateway publishes nothing, so what it asks for keeps no file from being collected (M8).
  AdminAnswer answer(const PeerIdentity& peer, const HasBlobs& question) const;
  // M2: the signature holds, and every file rests: synced in the own folders of a majority of hubs, or in the object
  // store. Says what is missing where. With an object store only the active hub puts into it (kNotActive elsewhere),
  // and kBusy means that it is at it.
  Result<void> check_published(BytesView signed_manifest, BytesView model_key, bool active);
  // Publishes by itself what lies in the object store's inbox, when the configuration says so. `ask` as the hub's own.
  void watch(std::function<bool()> active, std::function<Bytes()> model_key,
             std::function<void(AdminRequest, Reply)> ask);
  struct LedgerView {
    const StateRows& rows;  // its state
    std::function<LedgerStatus()> status;
    std::function<Result<void>()> settle;  // returns when what was committed before is in the rows
  };
  // Before the first call below; what is handed in outlives it. Without it there is no care, and kUnavailable.
  void look_after(LedgerView ledger);
  AdminAnswer care(const PeerIdentity& peer, const StoreCall& call);
  void stop();  // what waits for the object store ends, and nothing is asked any more
  Result<ChunkSource> download(Bytes request);
  // `more` as in NodeService::on_fetch.
  Result<std::unique_ptr<FetchSource>> fetch(Bytes first, std::function<void()> more);
  Result<std::unique_ptr<UploadConsumer>> upload(const PeerIdentity& peer, Bytes first);

 private:
  struct Peer {
    NodeId id;
    std::string address;
    std::unique_ptr<NodeClient> client;
  };
  using Peers = std::vector<std::shared_ptr<Peer>>;
  explicit HubModelStore(TlsFiles tls) : tls_(std::move(tls)) {}
  Peers peers() const;
  Result<void> pull(BytesView sha256);
  Result<void> caught_up();
  Result<BlobFile> have(BytesView sha256);
  bool has_file(BytesView sha256);
  Result<BlobFile> open_whole(BytesView sha256);
  Result<BlobMapping> map_whole(BytesView sha256);
  Result<void> pull_from(Peer& peer, BytesView sha256);
  Result<void> bring(const ManifestFile& file);
  Result<std::unique_ptr<FetchSource>> open_fetch(const FetchRequest& request, SlowFetches::Key& missing);
  Result<std::unique_ptr<FetchSource>> open_delta(const FetchDelta& wanted, const FetchMore& more,
                                                  SlowFetches::Key& missing);
  Result<void> bring(const SlowFetches::Key& missing);

  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<DeltaStore> deltas_;
  std::unique_ptr<ModelOrigin> origin_;  // null: the hubs' folders are where files rest
  Nanos watch_every_ = 0;
  std::unique_ptr<ModelWatch> watch_;
  const TlsFiles tls_;
  mutable std::mutex mutex_;
  Peers peers_;
  std::condition_variable pulled_;
  std::set<Bytes> pulling_;
  std::optional<LedgerView> ledger_;
  std::unique_ptr<HubModelCare> care_;  // its thread uses all of the above
  std::atomic<bool> stopping_{false};
  SlowFetches slow_{SlowFetches::Hub{
      [this](const FetchRequest& request, SlowFetches::Key& missing) { return open_fetch(request, missing); },
      [this](const SlowFetches::Key& missing) { return bring(missing); }}};  // as care_
};

}  // namespace tidelock
