// An operator's connection to the cluster: asks the hubs in turn until the active one answers, with one command id, so
// that a write survives a failover and still counts once.
//
// Threads: one. Blocking.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/config.h"
#include "protocol/admin.h"

namespace tidelock {

class Operator {
 public:
  static Result<std::unique_ptr<Operator>> connect(const OperatorConfig& config, int timeout_ms);
  ~Operator();

  // The answer of the active hub. Errors of the request itself (kConflict, kInvalid, ...) come back in the answer's
  // code; a Result error means that no hub gave an answer in time: kMaybeApplied once a write may have left.
  Result<AdminAnswer> ask(decltype(AdminRequest::body) request);
  // The same, and asked again as long as the answer is kBusy, until `patience_ms` is over. `busy` hears what it says.
  Result<AdminAnswer> ask_patiently(const decltype(AdminRequest::body)& request, int patience_ms,
                                    const std::function<void(const std::string&)>& busy);
  // What one hub says of itself.
  Result<AdminAnswer> ask_one(const NodeId& hub, decltype(AdminRequest::body) request, int timeout_ms);
  // Of the hubs themselves: answered by the one that leads the ledger. A change may last until `timeout_ms` is over.
  Result<AdminAnswer> ask_hubs(const HubsCall& call);
  Result<AdminAnswer> ask_one_hub(const NodeId& hub, int timeout_ms);  // what one hub knows of the hubs
  // Of one hub's own store of models.
  Result<AdminAnswer> ask_store(const NodeId& hub, const StoreCall& call, int timeout_ms);
  // M3: where edges reach each other, and where the bytes of their models came from, as the active hub knows it. Empty
  // from a hub of a build that does not.
  SiteView ask_sites(const NodeId& active, int timeout_ms);
  std::vector<NodeId> hubs() const;
  // Adds the hubs that came after the configuration was written, as far as any hub tells of them.
  void learn();
  // Writes what one hub has applied into a new file; the active hub when it answers, otherwise any. Answers which.
  Result<NodeId> backup(const std::string& path);
  // Brings one file to every hub; needs a majority (M2). `progress` hears bytes sent, per hub.
  Result<void> upload(const std::string& path, const Bytes& sha256, std::uint64_t size_bytes,
                      const std::function<void(const NodeId&, std::uint64_t)>& progress);

  // Brings one file from the hubs, in order; goes on at another hub where one broke off. The caller hashes it.
  Result<void> download(const Bytes& sha256, std::uint64_t size_bytes,
                        const std::function<Result<void>(BytesView piece)>& sink);

 private:
  Result<AdminAnswer> ask_active(const std::function<Bytes(bool fresh_id)>& call, int try_ms, bool repeat_unknown);
  Result<void> add_hub(const NodeId& id, const std::string& address);
  Result<AdminAnswer> call_one(const NodeId& id, const Bytes& call, int timeout_ms);
  struct Hub {
    NodeId id;
    std::unique_ptr<NodeClient> client;
  };
  std::vector<Hub> hubs_;
  std::size_t first_ = 0;  // the hub that was active last
  TlsFiles tls_;
  int timeout_ms_ = 10'000;
  std::uint64_t boot_ = 0, sequence_ = 0;
};

}  // namespace tidelock
