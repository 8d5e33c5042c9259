// Whether a hub lets an operator bring a release into use, by the trust files that the ledger holds (X2): so that he
// hears of it before every gateway refuses by itself. A gateway believes nobody but the files.
//
// Threads: pure. Cost: a signature check (0.1 ms) for each file that the ledger holds.
// Errors:  kDenied what the catalogue does not allow; kStale it has expired, or there is none; the message says
//          what would end that. Those of a state that does not load.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "protocol/trust_push.h"

namespace tidelock {

enum class TrustUse : std::uint8_t {
  kNew,   // staged, activated, rolled out: the catalogue must be fresh, or what is new may be an old one (freeze)
  kBack,  // a rollback: it was in use before, and who must go back cannot wait for a timestamp
};

// Passes while the ledger holds no trust files. `wall_ms` is this hub's: it dates the files and decides nothing else
// (C4).
Result<void> check_release_trust(const TrustRead& read, const std::string& name, const std::string& version,
                                 BytesView signed_manifest, std::uint64_t wall_ms, TrustUse use);

}  // namespace tidelock
