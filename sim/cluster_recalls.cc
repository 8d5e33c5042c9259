// Recalls of the simulated cluster (M7): an operator recalls versions while everything else goes on; what must hold of
// a certificate is judged by the entries of the ledger, by what apps take for the version in force, and by true time.

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "sim/cluster.h"
#include "sim/models.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
std::string what_of(const std::string& version) { return std::string(kModelName) + " " + version; }
}  // namespace

bool Cluster::recalled(const std::string& version) const {
  return judge_.ledger().recalls().contains(what_of(version));
}

// Now and then the second operator wants a version gone, in force or not; true: it asked.
bool Cluster::recall_something(int number) {
  if (!plan_.recalls || !world_.chance(120)) return false;
  const int newest = std::max(1, clients_[2].model);
  const std::uint64_t back = world_.rng().below(3);
  RecallModel recall;
  recall.name = kModelName;
  recall.version = model_version(std::max(1, newest - static_cast<int>(back)));
  recall.to_none = world_.chance(200);
  recall.reason = "it is wrong";
  ask(number, recall);
  return true;
}

void Cluster::judge_recalls(Index index) {
  for (const auto& [what, certified] : judge_.ledger().recalls()) {
    if (certified == index) certified_at_.emplace(what, world_.now());
  }
  if (certified_at_.empty()) return;
  const std::string where = "M7: index " + std::to_string(index.value) + ": ";
  const auto held = rollout_of_ledger();
  if (held && held->under_way()) {
    for (const std::string& version : {held->to.version, held->before.version}) {
      if (certified_at_.contains(what_of(version)))
        return world_.violated(where + "a rollout goes on with " + version + ", whose recall is certified");
    }
  }
  for (const auto& edge : edges_) {
    const std::string version = in_force_for(*edge);
    if (certified_at_.contains(what_of(version)))
      return world_.violated(where + "the ledger puts " + version + " in force for " + edge->id +
                             ", whose recall is certified");
  }
}

// A look that began behind the certificate takes the version for the one in force.
void Cluster::judge_use(const Edge& edge, const PointerInForce& look, Nanos began) {
  if (!look.pointer) return;
  const auto certified = certified_at_.find(what_of(look.pointer->version));
  if (certified == certified_at_.end() || began <= certified->second) return;
  world_.violated("M7: an app of " + edge.id + " takes " + look.pointer->version + " for the version in force " +
                  std::to_string((began - certified->second) / kMs) + " ms after the certificate of its recall");
}

void Cluster::told_of_recalls(Edge& edge, const VersionsRecalled& op) {
  for (const StagedModel& model : op.versions) {
    if (edge.recalled.insert(model.version).second) edge.told_at = world_.now();
    const auto gone = std::erase_if(edge.models, [&](const StagedModel& one) { return one.version == model.version; });
    if (gone == 0) continue;
    post(edge, edge.incarnation, [this, &edge, model] { step_edge(edge, EdgeStagedModel{model, "recalled"}); });
  }
}

// What is left to do of the recalls; empty: nothing.
std::string Cluster::unsettled_recalls(bool everybody) const {
  for (const auto& [what, certified] : judge_.ledger().recalls()) {
    if (certified.value == 0) return "the recall of " + what + " has no certificate";
    const std::string version = what.substr(what.find(' ') + 1);
    for (const auto& edge : edges_) {
      const bool part = everybody || core_edges_.contains(edge->number);
      if (part && !edge->recalled.contains(version)) return edge->id + " has not heard that " + what + " was recalled";
    }
  }
  return {};
}

// The version in force is recalled while some edges are dead, whose pages are still mapped. Proof that no right is left
// can be had when the last lease in the hub's table ends, and the certificate must be there within 1 s and the ways of
// a block, an acknowledgement and a commit. (Never before: I3, and every app that looks at a pointer.)
void Cluster::measure_recall(Nanos way) {
  const int active = active_hub();
  if (active < 0) return;
  const auto& current = judge_.ledger().versions(model_current_key(kModelName));
  if (current.empty() || !current.back().value) return;
  const auto pointer = decode<ModelPointer>(*current.back().value, "model pointer");
  if (!pointer) return;
  const std::size_t dead = world_.rng().below(edges_.size() + 1);
  for (std::size_t i = 0; i < dead; ++i) crash_edge(*edges_[i], false);
  const Hub& hub = hub_of(active);
  const Nanos latest = hub.core->latest_lease();
  const Nanos provable = latest == kNever ? world_.now() : std::max(world_.now(), hub.clock.when(latest));
  RecallModel recall;
  recall.name = kModelName;
  recall.version = pointer->version;
  recall.to_none = pointer->previous.empty() || recalled(pointer->previous);
  clients_[2].hub = active;
  if (!activate_in(kSecond + way, "M7 (recall)", recall)) return;
  const std::string what = what_of(recall.version);
  if (!settle("M7 (certificate)", provable - world_.now() + kSecond + way, [&]() -> std::string {
        const auto& all = judge_.ledger().recalls();
        const auto it = all.find(what);
        return it != all.end() && it->second.value != 0 ? "" : "there is no certificate of " + what;
      })) {
    return;
  }
  ++report_.recalls_measured;
  for (std::size_t i = 0; i < dead; ++i) start_edge(*edges_[i], true);
  settle("I10", settle_time(), [this] { return unsettled(true); });
}

}  // namespace tidelock::sim
