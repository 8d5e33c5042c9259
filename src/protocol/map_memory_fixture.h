// The memory tier as a plain map: the twin of the arena for tests, fuzzers and the simulator, with the same contract
// (edge_entries.h). The least recently used leave first.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "protocol/edge_entries.h"
#include "protocol/read_order.h"

namespace tidelock {

class MapMemory : public EdgeMemory {
 public:
  static constexpr std::size_t kBesideBytes = 160;  // charged for each entry, so that small limits hold few

  explicit MapMemory(std::size_t bytes_max = 64u << 20) : bytes_max_(bytes_max) {}
  MapMemory(const MapMemory& other) : bytes_max_(other.bytes_max_) {
    for (const std::string& key : other.used_) put(key, other.held_.find(key)->second.entry);
  }
  MapMemory(MapMemory&&) = default;
  MapMemory& operator=(MapMemory&&) = default;

  // False, with the older entry gone, when the entry alone is over the limit.
  bool put(const std::string& key, EdgeEntry entry) {
    erase(key);
    const std::size_t bytes = charge(key, entry);
    if (bytes > bytes_max_) return false;
    while (bytes_ + bytes > bytes_max_) erase(std::string(used_.front()));
    used_.push_back(key);
    bytes_ += bytes;
    held_.emplace(key, Held{std::move(entry), std::prev(used_.end())});
    return true;
  }
  bool erase(std::string_view key) {
    const auto it = held_.find(key);
    if (it == held_.end()) return false;
    bytes_ -= charge(it->first, it->second.entry);
    used_.erase(it->second.used);
    held_.erase(it);
    return true;
  }
  // What has expired at `now` leaves.
  void expire(Nanos now) {
    std::vector<std::string> gone;
    for (const auto& [key, held] : held_) {
      if (now >= held.entry.expires_at) gone.push_back(key);
    }
    for (const std::string& key : gone) erase(key);
  }

  std::optional<HeldView> find(std::string_view key) const override {
    const auto it = held_.find(key);
    if (it == held_.end()) return std::nullopt;
    used_.splice(used_.end(), used_, it->second.used);
    return HeldView(it->second.entry);
  }
  std::optional<HeldView> peek(std::string_view key) const override {
    const auto it = held_.find(key);
    return it == held_.end() ? std::nullopt : std::optional(HeldView(it->second.entry));
  }
  void each_of_slot(std::uint16_t slot, const std::function<void(std::string_view)>& visit) const override {
    for (const auto& [key, held] : held_) {
      if (slot_of(key) == slot) visit(key);
    }
  }
  std::size_t entries() const override { return held_.size(); }
  std::size_t bytes() const override { return bytes_; }

  // For readers beside the edge, and for judges.
  const EdgeEntry* look(std::string_view key) const {
    const auto it = held_.find(key);
    return it == held_.end() ? nullptr : &it->second.entry;
  }

 private:
  struct Held {
    EdgeEntry entry;
    std::list<std::string>::iterator used;
  };
  static std::size_t charge(std::string_view key, const EdgeEntry& entry) {
    return 2 * key.size() + (entry.value ? entry.value->size() : 0) + kBesideBytes;
  }

  std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  std::map<std::string, Held, std::less<>> held_;
  mutable std::list<std::string> used_;  // least recently used first
};

}  // namespace tidelock
