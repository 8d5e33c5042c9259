#include "protocol/read_many.h"

#include <algorithm>

namespace tidelock {
namespace {

int strength(Basis basis) {
  switch (basis) {
    case Basis::kNone: return 0;
    case Basis::kEventual: return 1;
    case Basis::kLocal: return 2;
    case Basis::kProof: return 3;
    case Basis::kLease: return 4;
  }
  return 0;
}

}  // namespace

ReadOutcome outcome_of_all(std::span<const ReadOutcome> outcomes) {
  ReadOutcome all;
  if (outcomes.empty()) return all;
  all.must_ask = MustAsk::kNo;
  all.receipt = outcomes.front().receipt;
  for (const ReadOutcome& one : outcomes) {
    if (all.must_ask == MustAsk::kNo) all.must_ask = one.must_ask;
    all.expires_at = std::min(all.expires_at, one.expires_at);
    all.value_bytes += one.value_bytes;
    all.receipt.version = std::max(all.receipt.version, one.receipt.version);
    all.receipt.bound_ns = std::max(all.receipt.bound_ns, one.receipt.bound_ns);
    all.receipt.writers_ns = std::max(all.receipt.writers_ns, one.receipt.writers_ns);
    all.receipt.fallback |= one.receipt.fallback;
    all.receipt.source = std::max(all.receipt.source, one.receipt.source);
    if (strength(one.receipt.basis) < strength(all.receipt.basis)) all.receipt.basis = one.receipt.basis;
  }
  all.found = all.must_ask == MustAsk::kNo;
  return all;
}

}  // namespace tidelock
