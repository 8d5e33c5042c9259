#include "edge/model_pointers.h"

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "codec/manifest.h"

namespace tidelock {
namespace {

constexpr std::string_view kStagedSuffix = ":staged@default";
constexpr std::string_view kCurrentSuffix = ":current@default";
constexpr std::string_view kRingSuffix = ":current@next";

}  // namespace

std::optional<PointerKey> parse_pointer_key(std::string_view key) {
  if (!key.starts_with("model:")) return std::nullopt;
  key.remove_prefix(6);
  for (const std::string_view suffix : {kStagedSuffix, kCurrentSuffix, kRingSuffix}) {
    if (!key.ends_with(suffix)) continue;
    const std::string_view name = key.substr(0, key.size() - suffix.size());
    if (!validate_model_name(name)) return std::nullopt;
    return PointerKey{std::string(name), suffix == kStagedSuffix, suffix == kRingSuffix};
  }
  return std::nullopt;
}

std::optional<PointerCame> read_pointer_value(const NodeId& self, PointerKey which, BytesView value, Index version) {
  if (!which.ring) {
    auto pointer = decode<ModelPointer>(value, "model pointer");
    if (!pointer) return std::nullopt;
    return PointerCame{std::move(which), std::move(*pointer), version};
  }
  auto ring = decode<RingPointer>(value, "ring pointer");
  if (!ring) return std::nullopt;
  PointerCame came{std::move(which), std::nullopt, version};
  if (ring->has(self)) came.pointer = std::move(ring->pointer);
  return came;
}

bool ModelPointers::take(PointerCame came, Nanos now) {
  Tracked& model = models_[came.which.name];
  Pointer& pointer = came.which.staged ? model.staged : came.which.ring ? model.ring : model.current;
  if (pointer.known && came.version < pointer.version) return false;  // S5: order is by index
  const bool counts = came.which.ring ? pointer.value || came.pointer : !came.which.staged;
  if (counts && came.version > pointer.version) model.current_since = now;
  const bool left = came.which.ring && (pointer.value || !pointer.known) && !came.pointer;
  pointer.known = true;
  pointer.value = std::move(came.pointer);
  pointer.version = came.version;
  return left;
}

const ModelPointers::Tracked* ModelPointers::of(const std::string& name) const {
  const auto it = models_.find(name);
  return it == models_.end() ? nullptr : &it->second;
}

bool ModelPointers::all_known() const {
  return std::all_of(models_.begin(), models_.end(), [](const auto& entry) {
    return entry.second.staged.known && entry.second.current.known && entry.second.ring.known;
  });
}

}  // namespace tidelock
