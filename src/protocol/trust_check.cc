#include "protocol/trust_check.h"

#include "codec/trust_state.h"

namespace tidelock {

Result<void> check_release_trust(const TrustRead& read, const std::string& name, const std::string& version,
                                 BytesView signed_manifest, std::uint64_t wall_ms, TrustUse use) {
  const auto held = read(kTrustStateKey).first;
  if (!held) return {};
  const auto trust = Trust::load(*held);
  if (!trust) return fail(trust.error());
  const Trust::Standing standing = trust->standing(wall_ms);
  if (standing.what == TrustStanding::kUnset) return {};
  if (standing.what == TrustStanding::kNoCatalogue && use == TrustUse::kBack) return {};  // as at a gateway
  if (standing.what == TrustStanding::kNoCatalogue) return fail(Code::kStale, standing.why);
  if (const auto release = trust->check_release(name, version, signed_manifest); !release) return fail(release.error());
  if (standing.what == TrustStanding::kExpired && use == TrustUse::kNew) return fail(Code::kStale, standing.why);
  return {};
}

}  // namespace tidelock
