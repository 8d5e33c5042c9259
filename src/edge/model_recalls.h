// ModelRecalls is what this gateway was told of recalled versions (M7): of each, nothing is fetched, verified or kept
// verified any more, whatever a pointer still says. It is on disk, so that a gateway that starts without any hub knows.
//
// Threads: one. Errors: those of the store; what could not be stored is stored with what the next session tells.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "edge/model_room.h"
#include "protocol/messages.h"
#include "store/kv/kv.h"

namespace tidelock {

class ModelRecalls {
 public:
  static Result<ModelRecalls> open(Kv& kv);  // with kMetaFamily, which outlives it

  // Those of which it had not heard.
  std::vector<VersionKey> take(const std::vector<StagedModel>& versions);
  bool has(const VersionKey& key) const { return recalled_.contains(key); }
  const std::set<VersionKey>& all() const { return recalled_; }

 private:
  explicit ModelRecalls(Kv& kv) : kv_(&kv) {}
  Kv* kv_;
  std::set<VersionKey> recalled_;
  bool unstored_ = false;
};

}  // namespace tidelock
