// Distinct types for numbers that must not be mixed up, and the names of nodes.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace tidelock {

template <class Tag>
struct Number {
  std::uint64_t value = 0;
  friend constexpr auto operator<=>(const Number&, const Number&) = default;
};

using Index = Number<struct IndexTag>;        // position in the ledger; 0 = before the first entry
using Term = Number<struct TermTag>;          // A1: the index of the claim that opened it; 0 = none
using Boot = Number<struct BootTag>;          // one start of a process: random, never 0, never reused
using SessionNo = Number<struct SessionTag>;  // counts the sessions of one edge boot from 1
using Nonce = Number<struct NonceTag>;        // F1: never reused within a boot
using RequestNo = Number<struct RequestTag>;  // F1: never reused within a boot
using BlockNo = Number<struct BlockTag>;      // S1: counts the strong writes of one term from 1

using NodeId = std::string;  // "hub-1", "edge-3": the name in the node's certificate

// Names one command for ever, so that the state machine applies it once (A1, 3.5).
struct CommandId {
  std::uint64_t client = 0;    // boot of whoever made the command
  std::uint64_t sequence = 0;  // counts that boot's commands from 1
  friend constexpr auto operator<=>(const CommandId&, const CommandId&) = default;
};

}  // namespace tidelock

template <class Tag>
struct std::hash<tidelock::Number<Tag>> {
  std::size_t operator()(const tidelock::Number<Tag>& n) const noexcept { return std::hash<std::uint64_t>{}(n.value); }
};
template <>
struct std::hash<tidelock::CommandId> {
  std::size_t operator()(const tidelock::CommandId& id) const noexcept {
    return std::hash<std::uint64_t>{}(id.client * 0x9E3779B97F4A7C15ull ^ id.sequence);
  }
};
