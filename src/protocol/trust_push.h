// Trust files in the ledger (X2): which keys hold them, and what a push of new ones writes.
//
//   model:@trust/state    what the hubs believe: Trust::save(), all files of the present catalogue in one value
//   model:@trust/root/N   every root since the first that was pushed, so that an edge that was away can go through them
//   model:@trust/history  who pushed what, as the log of a model (protocol/rollout.h); written with the state
//
// They are strong keys, so every edge hears of a change at once. No model has such a name: they begin with '@'.
//
// Threads: pure. Cost: a signature check (0.1 ms) for each file that is held or comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "protocol/admin.h"
#include "protocol/commands.h"

namespace tidelock {

inline constexpr std::size_t kTrustStateBytesMax = 512u << 10;  // a value in the ledger, as a manifest is
inline constexpr std::size_t kTrustPushRootsMax = 8;
inline constexpr std::string_view kTrustPrefix = "model:@trust/";
inline constexpr char kTrustStateKey[] = "model:@trust/state";
inline constexpr char kTrustHistoryKey[] = "model:@trust/history";
inline std::string trust_root_key(std::uint64_t version) { return "model:@trust/root/" + std::to_string(version); }

// `read` answers with the value of a key and its version; no value when there is none. The write holds only while the
// state is the one that was read. Errors are the verifier's (codec/trust_state.h); wall time plays no part here: what
// is old is for those to flag who use it (C4).
using TrustRead = std::function<std::pair<std::optional<Bytes>, Index>(const std::string& key)>;
Result<Put> plan_trust_push(const PushTrust& push, const TrustRead& read);
// What a push that was taken changes, for the log: the versions of the files, the releases that may be used from now on
// and those that may not any more. `before` and `after` are values of the state; empty: there was none.
std::string describe_trust_push(BytesView before, BytesView after);

}  // namespace tidelock
