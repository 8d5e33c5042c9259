#include "protocol/receipt.h"

namespace tidelock {

std::string_view basis_name(Basis basis) {
  switch (basis) {
    case Basis::kNone: return "none";
    case Basis::kLease: return "lease";
    case Basis::kProof: return "proof";
    case Basis::kEventual: return "eventual";
    case Basis::kLocal: return "local";
  }
  return "none";
}

std::string_view source_name(Source source) {
  switch (source) {
    case Source::kL1: return "l1";
    case Source::kArena: return "arena";
    case Source::kEdge: return "edge";
    case Source::kHub: return "hub";
  }
  return "edge";
}

}  // namespace tidelock
