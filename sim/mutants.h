// The list of planted mutants (base/mutant.h): how each is called, which rule it breaks, and what it does.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "base/mutant.h"

namespace tidelock::sim {

struct MutantInfo {
  Mutant mutant;
  std::string_view name;  // on the command line
  std::string_view rule;  // of docs/protocol.md
  std::string_view what;
};

// In the order of the enumeration, without kNone.
std::span<const MutantInfo> mutants();
const MutantInfo* find_mutant(std::string_view name);

// While it lives, the cores that run on this thread are broken in this one way.
class Planted {
 public:
  explicit Planted(Mutant mutant) { planted_mutant = mutant; }
  ~Planted() { planted_mutant = Mutant::kNone; }
  Planted(const Planted&) = delete;
  Planted& operator=(const Planted&) = delete;
};

}  // namespace tidelock::sim
