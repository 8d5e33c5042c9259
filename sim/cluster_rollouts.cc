// Rollouts of the simulated cluster (M5): what two operators do, what gateways report and what their apps take for the
// version in force; and what must hold of it, judged by the entries of the ledger and true time alone.

#include <algorithm>
#include <array>
#include <utility>

#include "codec/archive.h"
#include "protocol/pointer_in_force.h"
#include "sim/cluster.h"
#include "sim/models.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
constexpr std::uint64_t kFramesAtOnce = 20, kSamplesMin = 40;

// Every third version is bad: half of its frames fail, where a gate allows a tenth.
bool is_bad(const std::string& version) { return std::stoi(version) % 3 == 0; }
}  // namespace

// ---- gateways

// What an app would take, by the very order that the library uses.
PointerInForce Cluster::look_at_pointers(Edge& edge, std::shared_ptr<Page> page) {
  struct AppClock {
    const Cluster& cluster;
    const Edge& edge;
    const PageLoads& loads;
    ClockReading now() const {
      loads.pause();
      return cluster.read_clock(edge);
    }
    ClockReading past() const { return ClockReading{kNever, kNever, 0}; }
  };
  return pointer_in_force(
      model_ring_key(kModelName), model_current_key(kModelName), edge.id, [&](const std::string& key) {
        const PageLoads loads(world_, *page);
        PageValues values(loads, *page, nullptr, key);
        const ReadPolicy policy = read_policy(namespace_of(page->namespaces, key));
        const Contract strong{Consistency::kStrong, {}, {}, {}};
        const ReadOutcome outcome =
            read_in_order(loads, AppClock{*this, edge, loads}, values, slot_of(key), policy, resolve(strong, policy));
        PointerRead read;
        read.proven = outcome.must_ask == MustAsk::kNo;
        read.found = outcome.found && values.value.has_value();
        read.absent = outcome.negative;
        if (read.found) read.value = *values.value;
        read.receipt = outcome.receipt;
        world_.maybe_pause(60 / plan_.look_pauses);  // an app may be stopped between two reads as well
        return read;
      });
}

void Cluster::model_reader(int number, int app) {
  Edge& edge = edge_of(number);
  if (!load_) return;
  const auto page = edge.app_pages[static_cast<std::size_t>(app)];
  if (page && world_.now() >= edge.paused_until) {
    const Nanos began = world_.now();
    const PointerInForce look = look_at_pointers(edge, page);
    if (look.proven && edge.unsound_since == kForever) {
      judge_use(edge, look, began);
      judge_in_force(edge, look, began);
    }
    if (!look.proven && edge.up && world_.chance(300)) {  // as the library does: the edge brings both into memory
      for (const std::string& key : {model_ring_key(kModelName), model_current_key(kModelName)})
        ask_edge(edge, key, Contract{Consistency::kStrong, {}, {}, {}});
    }
  }
  world_.in(soon(plan_.page_gap), [this, number, app] { model_reader(number, app); });
}

// Frames of the version in force, by whoever runs it; and what the gateway tells its hub of them.
void Cluster::model_reporter(int number) {
  Edge& edge = edge_of(number);
  if (!load_) return;
  if (edge.up && edge.page && world_.now() >= edge.paused_until) {
    const PointerInForce look = look_at_pointers(edge, edge.page);
    if (look.proven && look.pointer) {
      const std::string& version = look.pointer->version;
      if (edge.health.version != version) {
        edge.health = {};
        edge.health.name = kModelName;
        edge.health.version = version;
        edge.health.in_force = true;
      }
      edge.health.frames += kFramesAtOnce;
      if (is_bad(version)) edge.health.errors += kFramesAtOnce / 2;
    }
    EdgeReport report;
    if (number % 2 == 0) report.labels = {{"canary", "yes"}};
    report.link_bytes_per_s = 1'000'000;
    if (!edge.health.version.empty()) report.models = {edge.health};
    post(edge, edge.incarnation, [this, &edge, report] { step_edge(edge, EdgeReported{report}); });
  }
  world_.in(world_.between(50 * kMs, 300 * kMs) * plan_.stretch, [this, number] { model_reporter(number); });
}

// ---- operators

std::optional<Rollout> Cluster::rollout_of_ledger() const {
  const auto& versions = judge_.ledger().versions(model_rollout_key(kModelName));
  if (versions.empty() || !versions.back().value) return std::nullopt;
  auto decoded = decode_rollout(*versions.back().value);
  if (!decoded) return std::nullopt;
  return std::move(*decoded);
}

RolloutCommand Cluster::any_start(int model) {
  constexpr std::array<const char*, 6> kWaves = {"1", "canary=yes,50%", "1,2,3", "34%,67%", "100%", "canary=yes"};
  RolloutCommand command;
  command.what = RolloutCommand::What::kStart;
  command.name = kModelName;
  command.plan.version = model_version(model);
  command.plan.waves = *parse_waves(kWaves[world_.rng().below(kWaves.size())]);
  command.plan.gates = {*parse_gate("error_rate<0.1"), *parse_gate("sick<1")};
  command.plan.dwell_ns = world_.between(100 * kMs, 900 * kMs) * plan_.stretch;
  command.plan.patience_ns = world_.between(500 * kMs, 3 * kSecond) * plan_.stretch;
  command.plan.samples_min = kSamplesMin;
  return command;
}

// The operator who brings versions out; true: it asked something.
bool Cluster::waves_turn(int number) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  const auto& current = judge_.ledger().versions(model_current_key(kModelName));
  if (current.empty() ||
      !current.back().value) {  // a first version comes without a rollout: tried until a gateway has staged it
    if (client.next_step > 3) client.next_step = 2;
    return false;
  }
  const auto held = rollout_of_ledger();
  const auto command = [&](RolloutCommand::What what) {
    ask(number, RolloutCommand{what, kModelName, {}, false});
    return true;
  };
  if (held && held->under_way()) {
    switch (world_.rng().below(16)) {
      case 0: return command(RolloutCommand::What::kPause);
      case 1: return command(RolloutCommand::What::kAbort);
      case 2:
      case 3:
      case 4:
        if (held->phase == RolloutPhase::kPaused) return command(RolloutCommand::What::kResume);
        break;
      default: break;
    }
    world_.in(soon(plan_.rollout_gap), [this, number] { client_turn(number); });
    return true;
  }
  if (client.next_step != 0) {
    client.next_step = 0;
    ask(number, any_start(client.model));
    return true;
  }
  ++client.model;
  client.next_step = 1;
  ask(number, PublishModel{kModelName, model_version(client.model), signed_model(client.model)});
  return true;
}

// The other operator stops what he dislikes, and now and then wants what he may not have.
bool Cluster::meddle(int number) {
  if (!world_.chance(60)) return false;
  const int model = std::max(1, clients_[2].model);
  switch (world_.rng().below(8)) {
    case 0: ask(number, RolloutCommand{RolloutCommand::What::kAbort, kModelName, {}, false}); break;
    case 1: ask(number, RolloutCommand{RolloutCommand::What::kPause, kModelName, {}, false}); break;
    case 2: ask(number, RollbackModel{kModelName}); break;
    case 3:
    case 4: ask(number, RolloutCommand{RolloutCommand::What::kResume, kModelName, {}, false}); break;
    default: ask(number, any_start(model)); break;
  }
  return true;
}

// ---- what must hold

// What the ledger says is in force for a gateway.
std::string Cluster::in_force_for(const Edge& edge) const {
  const auto newest = [&](const std::string& key) -> std::optional<Bytes> {
    const auto& versions = judge_.ledger().versions(key);
    return versions.empty() ? std::nullopt : versions.back().value;
  };
  if (const auto value = newest(model_ring_key(kModelName))) {
    const auto ring = decode<RingPointer>(*value, "ring pointer");
    if (ring && ring->has(edge.id)) return ring->pointer.version;
  }
  if (const auto value = newest(model_current_key(kModelName))) {
    if (const auto pointer = decode<ModelPointer>(*value, "model pointer")) return pointer->version;
  }
  return {};
}

// M5, I6: what a proven look says was in force for this gateway at some instant of the look.
void Cluster::judge_in_force(const Edge& edge, const PointerInForce& look, Nanos began) {
  const std::string version = look.pointer ? look.pointer->version : std::string();
  if (edge.in_force.empty() && version.empty()) return;
  for (auto it = edge.in_force.rbegin(); it != edge.in_force.rend(); ++it) {
    if (it->second == version) return;
    if (it->first <= began) break;  // what was in force before it had been replaced when the look began
  }
  if (version.empty() && (edge.in_force.empty() || edge.in_force.front().first > began)) return;
  world_.violated("M5: an app of " + edge.id + " takes '" + version +
                  "' for the version in force, which it was at no instant of its look; now it is '" +
                  (edge.in_force.empty() ? "" : edge.in_force.back().second) + "'");
}

void Cluster::judge_rollout(Index index, const std::vector<std::string>& changed) {
  const auto touches = [&](const std::string& key) {
    return std::find(changed.begin(), changed.end(), key) != changed.end();
  };
  const bool pointers = touches(model_ring_key(kModelName)) || touches(model_current_key(kModelName));
  if (pointers) {
    for (auto& edge : edges_) {
      const std::string version = in_force_for(*edge);
      if (edge->in_force.empty() || edge->in_force.back().second != version)
        edge->in_force.emplace_back(world_.now(), version);
    }
  }
  if (!touches(model_rollout_key(kModelName))) return;
  const auto now = rollout_of_ledger();
  const std::string where = "M5: index " + std::to_string(index.value) + ": ";
  if (!now) return world_.violated(where + "the rollout does not parse");
  const std::optional<Rollout> before = std::exchange(rollout_before_, now);
  const bool same = before && before->plan == now->plan && before->started_at == now->started_at;
  if (!same) {
    if (before && before->under_way() && before->phase != RolloutPhase::kPlanned)
      return world_.violated(where + "a rollout of " + now->plan.version + " begins while one of " +
                             before->plan.version + " is under way");
    wave_at_ = kNever;
  } else if (before->holder != now->holder) {
    return world_.violated(where + now->holder + " goes on with what " + before->holder + " holds");
  } else if (before->phase == RolloutPhase::kPaused && now->under_way() && now->waves.size() > before->waves.size()) {
    return world_.violated(where + "a wave is activated while the rollout is paused");
  }
  const std::size_t waves_before = same ? before->waves.size() : 0;
  if (now->waves.size() > waves_before + 1) return world_.violated(where + "two waves at once");
  if (now->waves.size() == waves_before + 1) {
    if (waves_before > 0 && wave_at_ != kNever) {
      const Nanos rho = plan_.seed.settings.rho_ppm;
      const Nanos least = now->plan.dwell_ns - now->plan.dwell_ns / 1'000'000 * 4 * rho;
      // What a disturbed hub's ledger clock fell behind, its successor's may have made up for.
      if (!ledger_clock_lagged_ && world_.now() - wave_at_ < least)
        return world_.violated(where + "a wave is activated " + std::to_string((world_.now() - wave_at_) / kMs) +
                               " ms after the one before, which was to dwell for " +
                               std::to_string(now->plan.dwell_ns / kMs) + " ms");
      if (is_bad(now->plan.version))
        return world_.violated(where + "a second wave of " + now->plan.version + ", whose gate fails");
    }
    wave_at_ = world_.now();
    for (const NodeId& member : now->waves.back().added) {
      const auto edge = std::find_if(edges_.begin(), edges_.end(), [&](const auto& one) { return one->id == member; });
      const bool staged = edge != edges_.end() &&
                          std::any_of((*edge)->models.begin(), (*edge)->models.end(),
                                      [&](const StagedModel& model) { return model.version == now->plan.version; });
      if (!staged)
        return world_.violated(where + member + " goes ahead with " + now->plan.version +
                               ", which it has not verified");
    }
  } else if (pointers && now->under_way() && same) {
    return world_.violated(where + "a pointer moves without a wave");
  }
  if (now->phase == RolloutPhase::kDone && is_bad(now->plan.version))
    return world_.violated(where + now->plan.version + " passes, whose gate fails");
  if (recalled(now->to.version) || recalled(now->before.version)) return;  // M7: judge_recalls says what must hold
  if (now->phase == RolloutPhase::kAborted || now->phase == RolloutPhase::kRolledBack) {
    for (const auto& edge : edges_) {
      if (in_force_for(*edge) == now->before.version) continue;
      return world_.violated(where + "after a rollback " + edge->id + " follows " + in_force_for(*edge) + ", not " +
                             now->before.version);
    }
  }
}

// Whoever has a lease and both pointers in its memory takes what the ledger says, and has verified it or says so.
void Cluster::judge_rollouts_end() {
  for (auto& edge : edges_) {
    const PointerInForce look = look_at_pointers(*edge, edge->page);
    if (!look.proven) continue;
    const std::string version = look.pointer ? look.pointer->version : std::string();
    if (version != in_force_for(*edge))
      return world_.violated("M5: at rest " + edge->id + " follows '" + version + "', the ledger says '" +
                             in_force_for(*edge) + "'");
  }
}

}  // namespace tidelock::sim
