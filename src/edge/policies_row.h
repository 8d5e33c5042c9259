// What the latest welcome told, as an edge keeps it on disk: the next run goes by it until its own first welcome. Who
// has such a row has joined its cluster once (G9).
//
// Errors: a row that cannot be read counts as none: the edge waits for its first welcome.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "codec/archive.h"
#include "edge/l2_store.h"
#include "protocol/commands.h"
#include "protocol/policy.h"
#include "store/kv/kv.h"

namespace tidelock {

inline constexpr char kPoliciesRow[] = "policies";

struct Policies {
  ClusterSettings settings;
  std::vector<Namespace> namespaces;
  template <class A>
  void fields(A& a) {
    a(settings, namespaces);
  }
};

inline void keep_policies(KvBatch& batch, const Policies& policies) {
  batch.put(kMetaFamily, kPoliciesRow, encode(policies));
}

inline std::optional<Policies> kept_policies(const Kv& kv) {
  const auto row = kv.get(kMetaFamily, kPoliciesRow);
  if (!row || !*row) return std::nullopt;
  auto policies = decode<Policies>(**row, "policies");
  return policies ? std::optional(std::move(*policies)) : std::nullopt;
}

}  // namespace tidelock
