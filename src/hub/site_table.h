// SiteTable knows, at the active hub, where the edges of each site reach each other, so that they can hand each other
// the bytes of models (M3). An edge is named to others of its site only, and only while it has a session here: so one
// that was removed is named no more (X1), nor after a moment one that is gone.
//
// In memory: edges say it again with each session. Threads: any.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/ids.h"
#include "protocol/admin.h"
#include "wire/grpc/transport.h"

namespace tidelock {

AdminAnswer answer_of(const Error& error);

class SiteTable {
 public:
  static constexpr std::size_t kEdgesMax = 20'000;
  // Answers the call with an encoded AdminAnswer. `describe` answers DescribeCluster; it may do so later, on any
  // thread, while this table lives.
  void answer(const PeerIdentity& peer, SiteCall call, const std::function<void(Reply)>& describe, Reply reply);
  // The pure part: what the peer is told, given who has a session. kNotActive: the edge has none here.
  Result<SiteView> view(const PeerIdentity& peer, const std::vector<EdgeView>& edges) const;
  // kInvalid names what is wrong with it.
  Result<void> take(const PeerIdentity& peer, SiteCall call);

 private:
  mutable std::mutex mutex_;
  std::map<NodeId, SiteCall> said_;
};

}  // namespace tidelock
