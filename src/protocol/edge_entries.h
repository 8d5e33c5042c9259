// What an edge holds of a key, and the two places it looks for it: the memory tier (in the product the arena, which
// apps read too) and L2 below. The core only looks; what changes in them it says as operations (edge_core.h), which the
// shell carries out between the stores to the page (F5). So neither changes while the core decides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"
#include "protocol/commands.h"

namespace tidelock {

struct EdgeMeta {
  Index version;                // 0 with no value: known to be absent
  Nanos expires_at = kForever;  // elapsed clock of this machine boot
  std::uint64_t epoch = 0;      // the epoch in which it was verified (F8); 0 = never
  Nanos proven_at = kNever;     // it was the newest sequenced value at this instant (own clock)
  Stamp stamp;
  bool local = false;  // an own write that is not sequenced (yet)
};

struct EdgeEntry : EdgeMeta {
  std::optional<Bytes> value;
};

// The same without its bytes, which belong to the place where it was found.
struct HeldView : EdgeMeta {
  HeldView(const EdgeMeta& meta, std::optional<std::string_view> bytes) : EdgeMeta(meta), value(bytes) {}
  explicit HeldView(const EdgeEntry& entry) : EdgeMeta(entry), value(entry.value) {}
  EdgeEntry copy() const {
    EdgeEntry entry;
    static_cast<EdgeMeta&>(entry) = *this;
    if (value) entry.value.emplace(*value);
    return entry;
  }
  std::optional<std::string_view> value;
};

// The memory tier. It keeps to its own limit: an entry may leave it at any time but during a step, for want of room or
// because it expired, and one that is larger than it takes never comes in; L2 has it then. It never gives an older
// entry than the last one it was told to hold.
class EdgeMemory {
 public:
  virtual ~EdgeMemory() = default;
  // Views live as long as nothing is put or erased. `find` counts as a use.
  virtual std::optional<HeldView> find(std::string_view key) const = 0;
  virtual std::optional<HeldView> peek(std::string_view key) const = 0;
  // The keys it holds of a slot, in no order. May look at all entries.
  virtual void each_of_slot(std::uint16_t slot, const std::function<void(std::string_view key)>& visit) const = 0;
  virtual std::size_t entries() const = 0;
  virtual std::size_t bytes() const = 0;  // that they take, with what is kept beside them
};

// L2 below the memory tier: what an earlier step stored, possibly before a restart.
class EdgeStore {
 public:
  virtual ~EdgeStore() = default;
  virtual std::optional<EdgeEntry> find(std::string_view key) const = 0;
};

}  // namespace tidelock
