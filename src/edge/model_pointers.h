// ModelPointers is what the ledger's pointers name for this gateway, model by model, in the order of their indexes
// (S5): `model:NAME:staged@default`, `model:NAME:current@default` and, while a rollout has taken this gateway ahead,
// `model:NAME:current@next` (M5).
//
// Threads: one. It reads no clock and touches nothing. Cost: O(log models) a call.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/time.h"
#include "protocol/messages.h"
#include "protocol/rollout.h"

namespace tidelock {

// "model:detector:staged@default" -> {"detector", staged}; nullopt for any other key.
struct PointerKey {
  std::string name;
  bool staged = false;  // else current
  bool ring = false;    // of those that went ahead
};
std::optional<PointerKey> parse_pointer_key(std::string_view key);

struct PointerCame {
  PointerKey which;
  std::optional<ModelPointer> pointer;
  Index version;
};
// `value` as the ledger has it. Nullopt: no pointer. M5: of the ring's only this matters, whether `self` has gone
// ahead.
std::optional<PointerCame> read_pointer_value(const NodeId& self, PointerKey which, BytesView value, Index version);

class ModelPointers {
 public:
  struct Pointer {
    bool known = false;
    std::optional<ModelPointer> value;
    Index version;
  };
  struct Tracked {
    Pointer staged, current, ring;
    Nanos current_since = 0;  // when the pointer in force was first seen
    // M5: the one that counts for this gateway.
    const Pointer& in_force() const { return ring.value ? ring : current; }
  };

  // One that is older than what is known changes nothing. True: the ring has this gateway no longer, or never had.
  bool take(PointerCame came, Nanos now);
  const std::map<std::string, Tracked>& all() const { return models_; }
  const Tracked* of(const std::string& name) const;
  bool all_known() const;  // of every model, each pointer was read once

 private:
  std::map<std::string, Tracked> models_;
};

}  // namespace tidelock
