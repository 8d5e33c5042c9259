// Hubs of the simulated cluster: what the shell of a hub does with the core's actions, and what it tells its ledger.

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "sim/cluster.h"
#include "sim/describe.h"
#include "sim/translate.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
constexpr std::size_t kUnsyncedMost = 64;  // of the rows of the state machine, which the log can bring again
}  // namespace

std::optional<Bytes> Cluster::HubRows::row(std::string_view key) const {
  const auto it = disk.rows().find(key);
  return it == disk.rows().end() ? std::nullopt : std::optional<Bytes>(it->second);
}

void Cluster::HubRows::visit(std::string_view prefix, std::string_view from,
                             const std::function<bool(std::string_view, std::string_view)>& visit) const {
  for (auto it = disk.rows().lower_bound(from); it != disk.rows().end() && it->first.starts_with(prefix); ++it) {
    if (!visit(it->first, it->second)) return;
  }
}

void Cluster::start_hub(Hub& hub) {
  hub.up = true;
  hub.busy = false;
  ++hub.incarnation;
  hub.inbox.clear();
  hub.wake_at = hub.armed_at = kForever;
  HubOptions options;
  options.id = hub.id;
  options.boot = Boot{world_.rng().next() | 1};
  options.seed = plan_.seed;
  options.rollout_quiet_ns = plan_.rollout_quiet_ns;
  options.interest_max = plan_.interest_max;
  options.interest_sweep_at = plan_.interest_sweep_at;
  options.ring_max = plan_.ring_max;
  hub.core = std::make_unique<HubCore>(options, hub.rows);
  world_.trace(3, static_cast<std::uint64_t>(hub.number), hub.core->state().applied().value);
  if (world_.verbose()) world_.say(hub.id, "starts at index " + std::to_string(hub.core->state().applied().value));
  ledger_->start(hub.number, hub.core->state().applied());
}

void Cluster::crash_hub(Hub& hub, bool power) {
  world_.trace(4, static_cast<std::uint64_t>(hub.number), power);
  world_.say(hub.id, power ? "loses power" : "crashes");
  hub.up = false;
  hub.busy = false;
  ++hub.incarnation;
  hub.inbox.clear();
  if (power) hub.rows.disk.power_cut(world_.rng());
  ledger_->stop(hub.number, power);
  cut_all(hub, true);
}

void Cluster::step_hub(Hub& hub, decltype(HubEvent::what) what) {
  const std::uint64_t incarnation = hub.incarnation;
  const auto stopped = [&] {
    world_.maybe_pause(400);
    return hub.incarnation != incarnation || world_.failed();
  };
  const bool was_active = hub.core->active();
  const Nanos decided_at = world_.now();
  HubActions actions;
  hub.core->step(HubEvent{h(hub), std::move(what)}, actions);
  if (!was_active && hub.core->active()) {
    ++report_.terms;
    hub.active_since = world_.now();
  }
  if (world_.verbose()) {
    for (const auto& note : actions.notes) world_.say(hub.id, note.event + " " + note.detail);
  }
  if (!actions.rows.rows.empty()) {
    hub.rows.disk.write(++hub.commits, std::move(actions.rows.rows));
    if (hub.rows.disk.unsynced() > kUnsyncedMost) hub.rows.disk.sync(hub.commits - kUnsyncedMost / 2);
  }
  world_.trace(5, static_cast<std::uint64_t>(hub.number), hub.core->state().applied().value);
  for (const auto& append : actions.append) {
    if (const auto entry = entry_of(append.command)) judge_.appended(entry->id, entry->ledger_time);
  }
  for (auto& append : actions.append) {
    if (stopped()) return;
    ledger_->append(hub.number, append.id, std::move(append.command));
  }
  for (auto& send : actions.send) {
    if (stopped()) return;
    send_to_edge(send.conn, std::move(send.frame));
  }
  for (const auto& close : actions.close) {
    if (stopped()) return;
    close_by_hub(close.conn);
  }
  for (auto& answer : actions.answers) {
    if (stopped()) return;
    const auto it = asked_.find(answer.token.value);
    if (it == asked_.end()) continue;
    judge_answered(answer.token, answer.answer);
    world_.in(world_.between(50 * kMicrosecond, 3 * kMs),
              [this, asked = it->second, from = hub.number, reply = std::move(answer.answer), decided_at] {
                client_answer(asked.client, asked.attempt, from, reply, decided_at);
              });
    asked_.erase(it);
  }
  arm(hub, actions.wake_at, [this, &hub] { step_hub(hub, HubTick{}); });
}

int Cluster::active_hub() const {
  int active = -1;
  for (const auto& hub : hubs_) {
    if (!hub->up || !hub->core->active()) continue;
    if (active >= 0) return -1;
    active = hub->number;
  }
  return active;
}

// ---- what the ledger asks and tells

bool Cluster::disk_fails(int) { return faults_ && has(Fault::kDisk) && world_.rng().one_in(20'000); }
bool Cluster::append_goes_astray(int) { return faults_ && world_.chance(plan_.astray_per_mille); }

SimSnapshot Cluster::snapshot(int number) {
  Hub& hub = hub_of(number);
  hub.rows.disk.sync(hub.commits);
  return {hub.core->state().applied(), std::make_shared<SimRows>(hub.rows.disk.rows())};
}

void Cluster::on_commit(Index index, const Bytes& command) {
  const bool effective = judge_commit(index, command);
  if (!world_.verbose()) return;
  if (const auto decoded = decode<Command>(command, "ledger command"))
    world_.say("ledger", std::to_string(index.value) + (effective ? " " : " ignored ") + describe(*decoded));
}

void Cluster::on_committed(int number, Index index, const Bytes& command) {
  Hub& hub = hub_of(number);
  post(hub, hub.incarnation, [this, &hub, index, command]() mutable {
    judge_.applied(hub.id, hub.incarnation, index, hash64(command));
    step_hub(hub, HubCommitted{index, std::move(command)});
  });
}

void Cluster::on_dropped(int number, CommandId id, Code code) {
  Hub& hub = hub_of(number);
  post(hub, hub.incarnation, [this, &hub, id, code] { step_hub(hub, HubDropped{id, code}); });
}

void Cluster::on_leadership(int number, bool leading, int leader) {
  Hub& hub = hub_of(number);
  const NodeId name = leader < 0 ? NodeId{} : hub_of(leader).id;
  post(hub, hub.incarnation, [this, &hub, leading, name] { step_hub(hub, HubLeadership{leading, name}); });
}

void Cluster::on_install(int number, const SimSnapshot& snapshot) {
  Hub& hub = hub_of(number);
  post(hub, hub.incarnation, [this, &hub, snapshot] {
    world_.say(hub.id, "installs a snapshot");
    hub.rows.disk.replace(*snapshot.rows);
    step_hub(hub, HubInstalled{});
  });
}

void Cluster::on_failed(int number, const std::string& why) {
  Hub& hub = hub_of(number);
  world_.say(hub.id, "stops: " + why);
  crash_hub(hub, false);
  restart_later(hub, 100 * kMs, 3 * kSecond);
}

}  // namespace tidelock::sim
