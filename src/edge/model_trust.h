// ModelTrust is what this gateway believes about which releases may be installed (X2, X3): the trust files that a hub
// hands on from the ledger, checked here again, because a hub that is broken into hands on what it likes.
//
// The first root is the pinned one, or without a pin that of the first hub that has one; from then on only what its
// keys lead to counts. Floors and files rest in kMetaFamily, synced before they count. Without a pin and without any
// trust file everything passes, as before there were some.
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

// X2: which root is the first, by the word of whoever wrote this gateway's file. One of the two, or none.
struct TrustPin {
  Bytes root;         // a signed root
  Bytes root_sha256;  // of its content (trust_content_sha256)
};

class ModelTrust {
 public:
  // A key of the ledger, linearizable; nullopt when there is none.
  using Read = std::function<Result<std::optional<Bytes>>(const std::string& key)>;

  // `kv` outlives it. What was kept is verified again. A pin that is another than at the last start begins everything
  // anew, floors too, unless it is the root that is trusted now.
  static Result<ModelTrust> open(Kv& kv, const TrustPin& pin = {});

  // Takes what the ledger holds. True when something changed: what was allowed may be so no longer. Roots that hold are
  // kept even when the catalogue is refused.
  Result<bool> refresh(const Read& read);
  bool known() const { return known_; }  // refreshed once since open, or kept from an earlier run

  // Before a byte of it is parsed. Passes when no root is trusted and none is pinned.
  Result<void> check(std::string_view name, std::string_view version, BytesView encoded_manifest) const;
  // kStale when what is new cannot be told from what is old: nothing new is to be called verified then.
  Result<void> check_fresh(std::uint64_t wall_ms);
  // Of a pinned root that did not come yet: kNoCatalogue.
  Trust::Standing standing(std::uint64_t wall_ms) const;

 private:
  ModelTrust(Kv& kv, Trust trust, bool known, Bytes pinned)
      : kv_(&kv), trust_(std::move(trust)), known_(known), pinned_sha256_(std::move(pinned)) {}
  Result<void> keep(Trust next);
  Result<Trust> first_root(const Read& read, BytesView newest) const;

  Kv* kv_;
  Trust trust_;
  bool known_;
  Bytes pinned_sha256_;  // empty: none
};

}  // namespace tidelock
