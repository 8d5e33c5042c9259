#include "protocol/trust_push.h"

#include "codec/trust_state.h"

namespace tidelock {

Result<Put> plan_trust_push(const PushTrust& push, const TrustRead& read) {
  const bool catalogue = !push.timestamp.empty() || !push.snapshot.empty() || !push.targets.empty();
  if (push.roots.empty() && !catalogue) {
    return fail(Code::kInvalid, "trust push: it is empty; give roots, or timestamp, snapshot and targets, or both");
  }
  if (push.roots.size() > kTrustPushRootsMax) {
    return fail(Code::kInvalid, "trust push: " + std::to_string(push.roots.size()) + " roots; push at most " +
                                    std::to_string(kTrustPushRootsMax) + " at a time, in order");
  }
  const auto [held, version] = read(kTrustStateKey);
  Trust trust;
  if (held) {
    auto loaded = Trust::load(*held);
    if (!loaded) return fail(loaded.error());
    trust = std::move(*loaded);
  }
  Put put;
  for (const Bytes& root : push.roots) {
    const std::uint64_t before = trust.is_set() ? trust.root()->head.version : 0;
    if (trust.is_set()) {
      if (auto ok = trust.accept_root(root); !ok) return fail(ok.error());
    } else {
      auto first = Trust::anchor(root);
      if (!first) return fail(first.error());
      trust = std::move(*first);
    }
    if (trust.root()->head.version == before) continue;  // the one that is held: with the signatures it has
    put.writes.push_back(KeyWrite{trust_root_key(trust.root()->head.version), root, 0, false, Condition::kNone, {}});
  }
  if (catalogue) {
    if (auto ok = trust.accept_catalogue(push.timestamp, push.snapshot, push.targets); !ok) return fail(ok.error());
  }
  Bytes state = trust.save();
  if (state.size() > kTrustStateBytesMax) {
    return fail(Code::kInvalid, "trust push: root and catalogue take " + std::to_string(state.size()) +
                                    " bytes; at most " + std::to_string(kTrustStateBytesMax) +
                                    ": withdraw releases that nobody uses");
  }
  put.writes.push_back(KeyWrite{kTrustStateKey, std::move(state), 0, false, Condition::kVersionIs, version});
  if (const auto ok = check_write_extent(put.writes); !ok) return fail(ok.error());
  return put;
}

}  // namespace tidelock
