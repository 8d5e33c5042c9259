// Rollouts at the active hub: what operators ask of them, and what they do by themselves (M5). What a step is, decides
// rollout.cc; here it becomes one strong write of the record, the log and the pointers together (S4), each under the
// condition that it still is what was judged.

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/mutant.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "protocol/hub_core.h"

namespace tidelock {
namespace {
constexpr Nanos kLookEvery = 200 * kMillisecond;
constexpr std::size_t kModelsMax = 1'000'000;  // keys, of all that there is of models
constexpr std::string_view kRolloutSuffix = ":rollout";
constexpr std::string_view kModelPrefix = "model:";

// "model:detector:rollout" -> "detector"
std::optional<std::string> rollout_name(std::string_view key) {
  if (!key.starts_with(kModelPrefix) || !key.ends_with(kRolloutSuffix)) return std::nullopt;
  if (key.size() <= kModelPrefix.size() + kRolloutSuffix.size()) return std::nullopt;
  return std::string(key.substr(kModelPrefix.size(), key.size() - kModelPrefix.size() - kRolloutSuffix.size()));
}

// M3: "paused: the daily budget ...; goes on in 42 min at the latest", as ModelFetch says it. 0: it is not that.
Nanos pause_told(std::string_view why) {
  constexpr std::string_view kBefore = "; goes on in ", kBehind = " min at the latest";
  const std::size_t at = why.rfind(kBefore);
  if (!why.starts_with("paused: ") || at == std::string_view::npos || !why.ends_with(kBehind)) return 0;
  why.remove_prefix(at + kBefore.size());
  std::int64_t minutes = 0;
  const auto [end, error] = std::from_chars(why.data(), why.data() + why.size(), minutes);
  const bool whole = error == std::errc{} && std::string_view(end, why.data() + why.size()) == kBehind;
  constexpr std::int64_t kMost = kRolloutTimeMax / (60 * kSecond);
  return whole ? std::clamp<std::int64_t>(minutes, 0, kMost) * 60 * kSecond : 0;
}
}  // namespace

std::optional<Rollout> HubCore::rollout(const std::string& name, Index* version) const {
  const auto stored = state_.find(model_rollout_key(name));
  if (version != nullptr) *version = stored ? stored->version : Index{};
  if (!stored || !stored->value) return std::nullopt;
  auto decoded = decode_rollout(*stored->value);
  if (!decoded) return std::nullopt;
  return std::move(*decoded);
}

void HubCore::note_rollouts(const std::vector<ChangedValue>& changed) {
  for (const ChangedValue& change : changed) {
    auto name = rollout_name(change.key);
    if (!name) continue;
    rollouts_.insert(std::move(*name));
    rollouts_look_at_ = kNever;  // it may have something to do already
  }
}

void HubCore::find_rollouts() {
  rollouts_.clear();
  for (const std::string& key : state_.keys(kModelPrefix, kModelsMax)) {
    if (auto name = rollout_name(key)) rollouts_.insert(std::move(*name));
  }
  rollouts_look_at_ = kNever;
}

Fleet HubCore::fleet(const std::string& name, const std::string& version) const {
  const auto current = pointer(model_current_key(name), nullptr);
  Fleet fleet;
  for (const auto& [edge, site] : state_.edges()) {
    FleetEdge one;
    one.edge = edge;
    one.site = site;
    if (const auto it = by_edge_.find(edge); it != by_edge_.end()) {
      const Session& session = sessions_.at(it->second);
      one.reachable = true;
      one.staged = std::any_of(session.staged.begin(), session.staged.end(), [&](const StagedModel& model) {
        return model.name == name && model.version == version;
      });
      for (const Staged& trouble : session.troubles) one.paused_ns = std::max(one.paused_ns, pause_told(trouble.error));
      if (session.report) {
        one.rings = true;
        one.labels = &session.report->labels;
        one.link_bytes_per_s = session.report->link_bytes_per_s;
        for (const ModelHealth& health : session.report->models) {
          if (health.name != name) continue;
          if (health.version == version)
            one.health = &health;
          else if (current && health.version == current->version)
            one.in_force = &health;
        }
      }
    }
    fleet.push_back(std::move(one));
  }
  return fleet;
}

// Of a published release: the files that an edge fetches.
std::uint64_t HubCore::release_bytes(const std::string& name, const std::string& version) const {
  const auto stored = state_.find(model_version_key(name, version));
  if (!stored || !stored->value) return 0;
  const auto signed_manifest = decode<SignedManifest>(*stored->value, "signed manifest");
  if (!signed_manifest) return 0;
  const auto manifest = decode<Manifest>(signed_manifest->manifest, "manifest");
  return manifest ? manifest_files_bytes(*manifest) : 0;
}

TransferView HubCore::describe_transfer(const DescribeTransfer& request) const {  // M3
  TransferView view;
  view.release_bytes = release_bytes(request.name, request.version);
  const auto current = pointer(model_current_key(request.name), nullptr);
  const auto last = rollout(request.name, nullptr);
  // Else it is what is being told of.
  const bool other = last && (last->plan.version != request.version || last->phase == RolloutPhase::kPlanned);
  const Fleet all = fleet(request.name, request.version);
  const std::vector<std::uint64_t> expected = expected_fetches(
      all, {view.release_bytes, current ? release_bytes(request.name, current->version) : 0, other ? &*last : nullptr});
  for (std::size_t i = 0; i < all.size(); ++i) {
    EdgeTransfer& one = view.edges.emplace_back();
    one.edge = all[i].edge;
    one.site = all[i].site;
    one.connected = all[i].reachable;
    one.staged = all[i].staged;
    one.link_bytes_per_s = all[i].link_bytes_per_s;
    one.expected_bytes = expected[i];
    if (all[i].health != nullptr) one.fetched_bytes = all[i].health->fetched_bytes;
    if (!one.connected) continue;
    for (const Staged& trouble : sessions_.at(by_edge_.at(one.edge)).troubles) {
      if (trouble.model.name == request.name && trouble.model.version == request.version) one.why = trouble.error;
    }
  }
  return view;
}

// The write that adds one line to the log of a model. Two of them under way at once do not both take effect.
KeyWrite HubCore::history_write(const std::string& key, const NodeId& who, std::string what) const {
  const auto stored = state_.find(key);
  std::vector<HistoryEntry> log = history(key);
  add_history(log, {wall_ms_, who, std::move(what)});
  return {key, encode(log), 0, false, Condition::kVersionIs, stored ? stored->version : Index{}};
}

std::vector<HistoryEntry> HubCore::history(const std::string& key) const {
  const auto stored = state_.find(key);
  if (!stored || !stored->value) return {};
  return decode<std::vector<HistoryEntry>>(*stored->value, "history").value_or(std::vector<HistoryEntry>{});
}

HubCore::Op HubCore::rollout_write(const std::string& name, const RolloutStep& step, const NodeId& who) {
  using Pointers = RolloutStep::Pointers;
  std::vector<KeyWrite> writes;
  const auto put = [&](const std::string& key, Bytes value) {
    const auto stored = state_.find(key);
    writes.push_back({key, std::move(value), 0, false, Condition::kVersionIs, stored ? stored->version : Index{}});
  };
  const Rollout& next = step.next;
  put(model_rollout_key(name), encode_rollout(next, state_.ledger_version()));
  const bool back = step.pointers == Pointers::kBack;
  if (step.pointers == Pointers::kStage || step.pointers == Pointers::kUnstage || back)
    put(model_staged_key(name), encode(step.pointers == Pointers::kStage ? next.to : next.before));
  if (step.pointers == Pointers::kRing) put(model_ring_key(name), encode(RingPointer{next.to, next.members()}));
  if (step.pointers == Pointers::kAll || back) {
    // Nobody stays ahead in the write that changes what the rest follows: whoever reads the ring's pointer first and
    // the other one after reads what was in force for it at some instant between.
    const ModelPointer& all = back ? next.before : next.to;
    if (!back || !TIDELOCK_MUTANT(kRollbackForgetsRing)) put(model_ring_key(name), encode(RingPointer{all, {}}));
    put(model_current_key(name), encode(all));
  }
  if (!step.said.empty()) writes.push_back(history_write(model_history_key(name), who, step.said));
  Op op;
  op.body = Put{std::move(writes), {}};
  op.model_operation = "rollout_step";
  return op;
}

// No two steps of one model are on their way at once, nor a step beside an activation by hand.
bool HubCore::model_busy(const std::string& name, CommandId but) const {
  const std::string history = model_history_key(name), record = model_rollout_key(name);
  return std::any_of(ops_.begin(), ops_.end(), [&](const auto& entry) {
    if (entry.first != but && entry.second.certifies && entry.second.certifies->name == name) return true;
    const auto* put = std::get_if<Put>(&entry.second.body);
    return entry.first != but && put != nullptr &&
           std::any_of(put->writes.begin(), put->writes.end(),
                       [&](const KeyWrite& write) { return write.key == history || write.key == record; });
  });
}

Result<HubCore::Op> HubCore::rollout_command(const RolloutCommand& command, const NodeId& who) {
  if (const auto ok = validate_model_name(command.name); !ok) return fail(ok.error());
  if (state_.ledger_version() < kLedgerVersionRings) {
    return fail(Code::kUnavailable,
                "not every hub knows of rollouts yet; upgrade the others, the ledger follows by itself");
  }
  const auto held = rollout(command.name, nullptr);
  RolloutTarget target;
  const std::string& version = command.plan.version.empty() && held ? held->plan.version : command.plan.version;
  const bool begins = command.what == RolloutCommand::What::kPlan || command.what == RolloutCommand::What::kStart;
  if (begins && !version.empty()) {
    const auto stored = state_.find(model_version_key(command.name, version));
    if (!stored || !stored->value) {
      return fail(Code::kNotFound, "model '" + command.name + "' has no published version '" + version +
                                       "'; publish it with `tidelock model publish`");
    }
    target.to = {version, sha256(*stored->value), {}};
    target.bytes = release_bytes(command.name, version);
    if (auto current = pointer(model_current_key(command.name), nullptr)) target.before = std::move(*current);
    target.before_bytes = release_bytes(command.name, target.before.version);
  }
  auto step =
      command_rollout(held ? &*held : nullptr, command, who, target, fleet(command.name, version), ledger_now());
  if (!step) return fail(step.error());
  if (step->pointers != RolloutStep::Pointers::kKeep) want_short_lease();  // A5
  return rollout_write(command.name, *step, who);
}

Result<void> HubCore::not_rolled_out(const std::string& name) const {
  const auto held = rollout(name, nullptr);
  if (!held || !held->under_way() || held->phase == RolloutPhase::kPlanned) return {};
  return fail(Code::kConflict, "a rollout of '" + name + "' to " + held->plan.version + " is " +
                                   std::string(phase_name(held->phase)) + ", held by '" + held->holder +
                                   "'; wait for its end, or end it with `tidelock rollout abort " + name + "`");
}

void HubCore::drive_rollouts() {
  if (rollouts_.empty() || !state_.seeded()) return;
  // Who has staged what, and how it does, is told by the edges, and after a failover they are still on their way here.
  if (now_ < edges_back_until() && by_edge_.size() < state_.edges().size()) return wake(edges_back_until());
  if (now_ < rollouts_look_at_) return wake(rollouts_look_at_);
  bool moving = false;
  for (auto it = rollouts_.begin(); it != rollouts_.end();) {
    const std::string name = *it;
    const auto held = rollout(name, nullptr);
    if (!held || !held->under_way()) {
      it = rollouts_.erase(it);
      continue;
    }
    ++it;
    if (held->phase == RolloutPhase::kPlanned) continue;
    moving = true;
    if (recall_open(name)) continue;  // M7: the recall says what becomes of it
    if (model_busy(name, {})) continue;
    const RolloutLook look = advance_rollout(*held, fleet(name, held->plan.version), ledger_now());
    if (!look.step) continue;
    if (!look.step->said.empty()) note("rollout", name + " " + held->plan.version + ": " + look.step->said);
    rollout_moved_at_ = now_;
    Op op = rollout_write(name, *look.step, options_.id);
    op.id = next_id();
    op.began = now_;
    start_write(std::move(op));
  }
  rollouts_look_at_ = saturating_add(now_, kLookEvery);
  if (moving) wake(rollouts_look_at_);
}

RolloutView HubCore::describe_rollout(const std::string& name) const {
  RolloutView view;
  view.ledger_now = ledger_now();
  view.history = history(model_history_key(name));
  add_recalls(name, view.history);
  view.rollout = rollout(name, nullptr);
  if (!view.rollout) return view;
  const Fleet all = fleet(name, view.rollout->plan.version);
  for (const FleetEdge& edge : all) {
    ++view.registered;
    view.reachable += edge.reachable;
    view.staged += edge.reachable && edge.staged;
    view.adopted += edge.health != nullptr && edge.health->in_force;
  }
  view.wanted = static_cast<std::uint32_t>(wave_wants(*view.rollout, all));
  view.gates = judge_gates(*view.rollout, all);
  return view;
}

void HubCore::on_report(Session& session, const EdgeReport& report) {
  constexpr std::size_t kModelsInReport = 64, kBuckets = 256;
  const bool small =
      report.models.size() <= kModelsInReport &&
      std::all_of(report.models.begin(), report.models.end(), [](const ModelHealth& health) {
        return health.name.size() <= 128 && health.version.size() <= 128 && health.latency.size() <= kBuckets;
      });
  const auto labels = validate_labels(report.labels);
  if (!small || !labels) {
    note("report_refused", session.edge + ": " + (labels ? "it is too long" : labels.error().message));
    return;
  }
  session.report = report;
}

}  // namespace tidelock
