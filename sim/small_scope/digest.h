// A hash of what a core is now, whatever way it came there: two orders of events that leave the same state get the same
// digest. It looks at every field that a step can read; what nothing decides by (counters for metrics) and what is
// valid during a step only is left out. A field that was forgotten would merge states that differ: search.h says how
// the search looks for that.
//
// Cost: O(the core's state), some microseconds for a small cluster. Not stable between builds.
#pragma once

#include <bit>
#include <bitset>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>

#include "protocol/edge_core.h"
#include "protocol/hub_core.h"

namespace tidelock {

struct StateDigest {
  // Copies of cores that stand on other rows and memory, which hold the same.
  static std::unique_ptr<HubCore> copy(const HubCore& core, const StateRows& rows);
  static std::unique_ptr<EdgeCore> copy(const EdgeCore& core, const EdgeMemory& memory, const EdgeStore& store);

  std::uint64_t hash = 0x6A09E667F3BCC908ull;

  template <class... T>
  StateDigest& operator()(const T&... values) {
    (add(values), ...);
    return *this;
  }

 private:
  void word(std::uint64_t value) {
    std::uint64_t z = (hash ^ value) + 0x9E3779B97F4A7C15ull;  // splitmix64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    hash = hash * 0x100000001B3ull + (z ^ (z >> 31));
  }

  template <class T>
    requires std::is_integral_v<T> || std::is_enum_v<T>
  void add(const T& value) {
    word(static_cast<std::uint64_t>(value));
  }
  void add(std::string_view bytes) { word(std::hash<std::string_view>{}(bytes)); }
  template <class Tag>
  void add(const Number<Tag>& number) {
    word(number.value);
  }
  void add(const CommandId& id) { word(id.client), word(id.sequence); }
  void add(const Rng& rng) {
    for (const std::uint64_t part : std::bit_cast<std::array<std::uint64_t, 4>>(rng)) word(part);
  }
  template <std::size_t N>
  void add(const std::bitset<N>& bits) {
    word(bits.any() ? std::hash<std::bitset<N>>{}(bits) : 0);
  }
  template <class T>
  void add(const std::optional<T>& value) {
    word(value.has_value());
    if (value) add(*value);
  }
  template <class A, class B>
  void add(const std::pair<A, B>& value) {
    add(value.first), add(value.second);
  }
  template <class... T>
  void add(const std::variant<T...>& value) {
    word(value.index());
    std::visit([this](const auto& one) { this->add(one); }, value);
  }
  template <class K, class V>
  void add(const std::unordered_map<K, V>& map) {  // in no order
    std::uint64_t sum = 0;
    for (const auto& one : map) sum += StateDigest()(one).hash;
    word(map.size()), word(sum);
  }
  template <class T>
    requires(std::ranges::range<T> && !std::is_convertible_v<T, std::string_view>)
  void add(const T& list) {
    std::uint64_t size = 0;
    for (const auto& one : list) add(one), ++size;
    word(size);
  }
  template <class T>
    requires requires(T& value, StateDigest& digest) { value.fields(digest); }
  void add(const T& value) {
    const_cast<T&>(value).fields(*this);  // it only lists them
  }

  void add(const EdgeMeta& meta);
  void add(const EdgeEntry& entry);
  void add(const StateMachine& machine);
  void add(const HubCore& core);
  void add(const HubCore::Session& session);
  void add(const HubCore::EdgeRequest& request);
  void add(const HubCore::Op& op);
  void add(const HubCore::OpenBlock& block);
  void add(const HubCore::Parked& parked);
  void add(const HubCore::Kept& kept);
  void add(const Outbox& outbox);
  void add(const Outbox::Record& record);
  void add(const Outbox::InFlight& batch);
  void add(const Outbox::Waiter& waiter);
  void add(const ClockGuard& guard);
  void add(const ClockGuard::Level& level);
  void add(const ClockGuard::Seen& seen);
  void add(const EdgeCore& core);
  void add(const EdgeCore::Ended& ended);
  void add(const EdgeCore::Request& request);
  void add(const EdgeCore::WaitingRead& waiting);
  void add(const HubAsked& asked);
  void add(const EdgeCore::WaitingList& waiting);
  void add(const EdgeCore::WaitingWrite& waiting);
  void add(const Contract& contract);
};

}  // namespace tidelock
