// ModelTrust is what this gateway believes about which releases may be installed (X2, X3): the trust files that a hub
// hands on from the ledger, checked here again, because a hub that is broken into hands on what it likes.
//
// The first root is taken from the first hub that has one, and from then on only what its keys lead to. Floors and
// files rest in kMetaFamily, synced before they count. Without any trust file everything passes, as before there were
// some.
//
// Threads: the model keeper's. Cost: refresh is two questions to a hub, one more for each root that was missed, and a
//          signature check for each file; the others ask nobody.
// Errors:  kDenied what a file or release is refused for (codec/trust_state.h); kStale while the catalogue may be an
// old
//          one; otherwise those of `read` and of the store.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/trust_state.h"
#include "store/kv/kv.h"

namespace tidelock {

class ModelTrust {
 public:
  // A key of the ledger, linearizable; nullopt when there is none.
  using Read = std::function<Result<std::optional<Bytes>>(const std::string& key)>;

  // `kv` outlives it. What was kept is verified again.
  static Result<ModelTrust> open(Kv& kv);

  // Takes what the ledger holds. True when something changed: what was allowed may be so no longer. Roots that hold are
  // kept even when the catalogue is refused.
  Result<bool> refresh(const Read& read);
  bool known() const { return known_; }  // refreshed once since open, or kept from an earlier run

  // Before a byte of it is parsed. Passes when no root is trusted.
  Result<void> check(std::string_view name, std::string_view version, BytesView encoded_manifest) const;
  // kStale when what is new cannot be told from what is old: nothing new is to be called verified then.
  Result<void> check_fresh(std::uint64_t wall_ms);
  Trust::Standing standing(std::uint64_t wall_ms) const { return trust_.standing(wall_ms); }

 private:
  ModelTrust(Kv& kv, Trust trust, bool known) : kv_(&kv), trust_(std::move(trust)), known_(known) {}
  Result<void> keep(Trust next);

  Kv* kv_;
  Trust trust_;
  bool known_;
};

}  // namespace tidelock
