// What the apps and operators of the simulated cluster do.

#include <algorithm>
#include <array>
#include <utility>

#include "sim/cluster.h"
#include "sim/models.h"
#include "sim/translate.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
}

std::string Cluster::any_key() {
  constexpr std::array<const char*, 8> kFamilies = {
      "cfg:", "cfg:", "cfg:", "plain:", "plain:", "feat:", "feat:", "ttl:"};
  if (has(Fault::kRollout) && world_.chance(60)) return model_current_key(kModelName);
  if (plan_.waves && world_.chance(60)) return model_ring_key(kModelName);
  const char* family = kFamilies[world_.rng().below(kFamilies.size())];
  return family + std::to_string(world_.rng().below(static_cast<std::uint64_t>(plan_.keys)));
}

Contract Cluster::any_contract(const std::string& key) {
  Contract contract;
  const bool strong = key.starts_with("cfg:") || key.starts_with("model:");
  const std::uint64_t kind = world_.rng().below(10);
  if (kind < 3) {
    contract.consistency = Consistency::kStrong;
  } else if (kind < 8 || !strong) {
    contract.consistency = Consistency::kBounded;
    const Nanos least = plan_.bound_least;
    contract.bound_ns = world_.between(least, world_.chance(300) ? least + 10 * kSecond : 4 * least);
  }
  if (world_.chance(100)) {
    contract.consistency = Consistency::kEventual;
    contract.bound_ns.reset();
  }
  if (world_.chance(200)) contract.deadline_ns = 0;
  return contract;
}

void Cluster::start_load() {
  for (int i = 0; i < plan_.edges; ++i) {
    for (int app = 0; app < 2; ++app) world_.in(soon(plan_.page_gap), [this, i, app] { page_reader(i, app); });
    world_.in(soon(plan_.read_gap), [this, i] { edge_reader(i); });
    world_.in(soon(plan_.write_gap), [this, i] { edge_writer(i); });
    if (!plan_.waves) continue;
    for (int app = 0; app < 2; ++app) world_.in(soon(plan_.page_gap), [this, i, app] { model_reader(i, app); });
    world_.in(world_.between(0, 300 * kMs), [this, i] { model_reporter(i); });
  }
  for (int i = 0; i < static_cast<int>(clients_.size()); ++i) {
    if (clients_[static_cast<std::size_t>(i)].rollout && !has(Fault::kRollout)) continue;
    world_.in(world_.between(0, kSecond), [this, i] { client_turn(i); });
  }
}

// ---- apps

// C1: a reading of an app is an interval. How wide, is drawn from the instant.
ClockReading Cluster::read_clock(const Edge& edge) const {
  constexpr std::uint64_t kWidth = 200 * kMicrosecond;
  const Nanos reading = h(edge);
  const std::uint64_t drawn = static_cast<std::uint64_t>(reading) * 0x9E37'79B9'7F4A'7C15u;
  return {reading - static_cast<Nanos>((drawn >> 20 & 0xFFFFF) % kWidth),
          reading + static_cast<Nanos>((drawn >> 40 & 0xFFFFF) % kWidth), edge.suspended_ns};
}

void Cluster::page_reader(int number, int app) {
  Edge& edge = edge_of(number);
  if (!load_) return;
  auto& page = edge.app_pages[static_cast<std::size_t>(app)];
  if (!page || page->revoked || world_.chance(plan_.move_on_per_mille)) {
    if (page != edge.page) edge.apps[static_cast<std::size_t>(app)].entries.clear();
    page = edge.page;
  }
  if (page && world_.now() >= edge.paused_until) {
    if (world_.chance(100)) {
      snapshot_page(edge, app);
    } else {
      const std::string key = any_key();
      read_page(edge, app, key, any_contract(key));
    }
  }
  world_.in(soon(plan_.page_gap), [this, number, app] { page_reader(number, app); });
}

void Cluster::read_page(Edge& edge, int app, const std::string& key, const Contract& contract) {
  struct AppClock {
    const Cluster& cluster;
    const Edge& edge;
    const PageLoads& loads;
    Nanos* looked_at;
    bool looked_lately;
    ClockReading now() const {
      loads.pause();
      *looked_at = cluster.world_.now();
      return cluster.read_clock(edge);
    }
    ClockReading past() const {  // it has just read something else, or nothing for long
      return looked_lately ? cluster.read_clock(edge) : ClockReading{kNever, kNever, 0};
    }
  };
  const std::shared_ptr<Page> page = edge.app_pages[static_cast<std::size_t>(app)];
  L1 private_cache =
      std::exchange(edge.apps[static_cast<std::size_t>(app)], L1{});  // an app reads with one thread at a time
  const Index floor = judge_.floor(key);
  const PageLoads loads(world_, *page);
  const Nanos began_at = world_.now();
  const bool fault_known = page->clock_fault;
  Nanos looked_at = began_at;
  const AppClock clock{*this, edge, loads, &looked_at, world_.chance(500)};
  PageValues values(loads, *page, &private_cache, key);
  const Namespace& ns = namespace_of(page->namespaces, key);
  const ReadPolicy policy = read_policy(ns);
  const ReadContract resolved = resolve(contract, policy);
  const ReadOutcome outcome = read_in_order(loads, clock, values, slot_of(key), policy, resolved);
  edge.apps[static_cast<std::size_t>(app)] = std::move(private_cache);
  world_.trace(20, static_cast<std::uint64_t>(outcome.must_ask), outcome.receipt.version.value);
  if (!outcome.found && !outcome.negative) return;
  if (fault_known && ns.scope == Scope::kRegion && outcome.receipt.bound_ns != kForever) {
    world_.violated("C3: an app of " + edge.id + " takes a proof of '" + key +
                    "' from a clock that is known to run wrong");
  }
  const bool served = outcome.must_ask == MustAsk::kNo;
  oracle::Told told = told_of(edge.id + (page == edge.page ? " page" : " orphan page"), key, outcome.found,
                              values.value, outcome.receipt);
  told.strong = served && resolved.consistency == Consistency::kStrong;
  if (served && resolved.consistency == Consistency::kBounded) told.bound_asked_ns = resolved.bound_ns;
  told.looked_at = served ? looked_at : began_at;  // what is left to fall back on is not looked at again
  told.ended_at = world_.now();
  told.floor = floor;
  if (served && outcome.receipt.basis == Basis::kLease) {
    told.page = page->number;
    told.tested_at = loads.tested_at();
  }
  if (served) ++report_.page_reads;
  if (told.strong) ++report_.strong_page_reads;
  // A pause between the last clock read and here is the caller's: the bound speaks of the end of the read.
  judge_told(edge, told);
}

// S4: cfg:0 and cfg:1 are often written together; a snapshot must be the state at one index.
void Cluster::snapshot_page(Edge& edge, int app) {
  struct AppClock {
    const Cluster& cluster;
    const Edge& edge;
    ClockReading now() const { return cluster.read_clock(edge); }
  };
  const std::shared_ptr<Page> page = edge.app_pages[static_cast<std::size_t>(app)];
  const std::vector<std::string> names = {"cfg:0", "cfg:1"};
  const std::vector<Index> floors = {judge_.floor(names[0]), judge_.floor(names[1])};
  const PageLoads loads(world_, *page);
  std::vector<PageValues> values;
  std::vector<SnapshotKey> keys;
  for (const std::string& name : names) {
    values.emplace_back(loads, *page, nullptr, name);
    keys.push_back({slot_of(name), namespace_number(page->namespaces, name), Consistency::kStrong});
  }
  std::vector<ReadOutcome> outcomes(names.size());
  const ReadOutcome group = snapshot_in_order(
      loads, AppClock{*this, edge}, [&](std::size_t i) -> PageValues& { return values[i]; }, keys, outcomes);
  if (group.must_ask == MustAsk::kNo && edge.unsound_since == kForever)
    judge_snapshot(edge.id, names, floors, outcomes);
}

// What the edge answers without a step, where it does.
std::optional<EdgeEntry> Cluster::held_at(Edge& edge, const std::string& key) {
  const auto held = edge.core->hit(key, h(edge));
  return held ? std::optional(held->copy()) : std::nullopt;
}

void Cluster::edge_reader(int number) {
  Edge& edge = edge_of(number);
  if (!load_) return;
  if (edge.up) {
    const std::string key = any_key();
    Contract contract = any_contract(key);
    if (edge.next_token % 6 == 5) contract = {};  // as most clients of the Redis protocol ask
    if (world_.chance(200)) contract.token = edge.last_acked;
    ask_edge(edge, key, contract);
  }
  world_.in(soon(plan_.read_gap), [this, number] { edge_reader(number); });
}

void Cluster::ask_edge(Edge& edge, const std::string& key, const Contract& contract) {
  EdgeRead read;
  read.key = key;
  read.contract = contract;
  post(edge, edge.incarnation, [this, &edge, read]() mutable {
    read.token = ReadToken{++edge.next_token};
    read.more = read.token.value % 3 == 0;  // as the first of several
    const Namespace& ns = namespace_of(plan_.seed.namespaces, read.key);
    const Consistency consistency =
        read.contract.consistency.value_or(read.contract.bound_ns ? Consistency::kBounded : ns.consistency);
    PendingRead& pending = edge.reads[read.token.value];
    pending = {read.key, read.contract, judge_.floor(read.key), consistency, {}};
    if (read.contract == Contract{}) pending.hit = held_at(edge, read.key);
    judge_.asked(edge.id, edge.incarnation, read.token.value);
    const std::uint64_t incarnation = edge.incarnation;
    step_edge(edge, read);
    const auto left = edge.reads.find(read.token.value);
    if (edge.incarnation == incarnation && left != edge.reads.end() && left->second.hit) {
      world_.violated("F3: memory of " + edge.id + " answers '" + read.key + "' at once, and a step waits");
    }
  });
}

void Cluster::edge_writer(int number) {
  Edge& edge = edge_of(number);
  if (!load_) return;
  if (edge.up) {
    EdgeWrite write;
    do {
      write.write.key = any_key();
    } while (write.write.key.starts_with("model:"));
    if (!world_.chance(100)) write.write.value = next_value();
    if (write.write.key.starts_with("ttl:") && write.write.value)
      write.write.ttl_ns = world_.between(100 * kMs, 3 * kSecond);
    const bool behind = write.write.key.starts_with("feat:");
    if (!behind && edge.next_token % 5 == 0) {  // S4: another key at the same index
      KeyWrite other;
      other.key = write.write.key.starts_with("cfg:") ? "cfg:" + std::to_string(edge.next_token / 5 % 2) : "plain:0";
      if (world_.chance(300)) {
        other.condition = Condition::kVersionStays;
        other.expected = judge_.floor(other.key);  // the newest, as a rule
      } else {
        other.value = next_value();
      }
      if (other.key != write.write.key) write.others.push_back(std::move(other));
    }
    if (behind) {
      if (write.write.value && world_.chance(300)) write.write.ttl_ns = world_.between(100 * kMs, 5 * kSecond);
      constexpr AckLevel kLevels[] = {AckLevel::kOs, AckLevel::kDisk, AckLevel::kOrigin};
      write.level = kLevels[world_.rng().below(3)];
    }
    post(edge, edge.incarnation, [this, &edge, write, behind]() mutable {
      write.token = WriteToken{++edge.next_token};
      write.wall_ms = static_cast<std::uint64_t>(world_.now() / kMs + edge.wall_offset_ms) + 10'000'000;
      edge.writes[write.token.value] = {write.write.key, write.write.value, {}, behind};
      judge_.asked(edge.id, edge.incarnation, write.token.value);
      judge_.accepted(edge.id, write.write.key, write.write.value, write.write.ttl_ns);
      for (const KeyWrite& other : write.others) {
        if (!only_asks(other)) judge_.accepted(edge.id, other.key, other.value, other.ttl_ns);
      }
      step_edge(edge, write);
    });
  }
  world_.in(soon(plan_.write_gap), [this, number] { edge_writer(number); });
}

// ---- operators: a request is repeated under its id until its outcome is known

void Cluster::client_turn(int number) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  if (client.request || !load_) return;
  if (plan_.roam_per_mille != 0 && world_.chance(plan_.roam_per_mille))
    client.hub = static_cast<int>(world_.rng().below(hubs_.size()));
  if (client.rollout) return rollout_turn(number);
  if (plan_.waves && number == 1 && (recall_something(number) || meddle(number))) return;
  if (has(Fault::kFleet) && world_.chance(plan_.remove_per_mille)) {
    return ask(number, RemoveEdgeRequest{edge_of(static_cast<int>(world_.rng().below(edges_.size()))).id});
  }
  client.key = any_key();
  if (world_.chance(300)) return ask(number, ReadKey{client.key});
  WriteKeys write;
  const Bytes value = next_value();
  const auto add = [&](const std::string& key) {
    KeyWrite one;
    one.key = key;
    if (!world_.chance(60)) one.value = value;
    if (key.starts_with("ttl:") && one.value) one.ttl_ns = world_.between(100 * kMs, 3 * kSecond);
    if (world_.chance(100)) one.condition = world_.chance(500) ? Condition::kPresent : Condition::kAbsent;
    write.writes.push_back(one);
  };
  if (client.key.starts_with("feat:") || client.key.starts_with("model:")) client.key = "cfg:0";
  add(client.key);
  if (client.key == "cfg:0") add("cfg:1");
  if (client.key == "cfg:2") add("plain:2");
  ask(number, write);
}

// M2, M3, M5: publish, stage, activate, and sometimes back.
void Cluster::rollout_turn(int number) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  if (plan_.waves && waves_turn(number)) return;
  const std::string version = model_version(std::max(1, client.model));
  if (recalled(version) && client.next_step != 0) client.next_step = 0;  // M7: it is of no use any more
  switch (client.next_step) {
    case 0:
      ++client.model;
      ask(number, PublishModel{kModelName, model_version(client.model), signed_model(client.model)});
      break;
    case 1: ask(number, StageModel{kModelName, version}); break;
    case 2:
    case 3: ask(number, ActivateModel{kModelName, version}); break;  // the first try may find no edge ready
    default: ask(number, RollbackModel{kModelName});
  }
  client.next_step = client.next_step < 3 ? client.next_step + 1 : client.next_step == 3 && world_.chance(400) ? 4 : 0;
}

void Cluster::ask(int number, decltype(AdminRequest::body) body, std::function<void(const AdminAnswer&)> then) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  client.reading = std::holds_alternative<ReadKey>(body);
  client.floor = client.reading ? judge_.floor(client.key) : Index{};
  client.then = std::move(then);
  client.request = AdminRequest{{client.boot, ++client.sequence}, std::move(body)};
  client.sends = 0;
  client_send(number);
}

void Cluster::client_send(int number) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  if (!client.request) return;
  const std::uint64_t attempt = ++client.attempt;
  ++client.sends;
  Hub& hub = hub_of(client.hub);
  const AskToken token{++next_ask_};
  asked_[token.value] = {number, attempt, !client.reading};
  const bool reachable = faults_ || core_hubs_.empty() || core_hubs_.contains(client.hub);
  if (reachable) {
    world_.in(world_.between(50 * kMicrosecond, 3 * kMs),
              [this, &hub, token, request = *client.request, who = "operator-" + std::to_string(number)] {
                post(hub, hub.incarnation, [this, &hub, token, request, who] {
                  if (const auto* write = std::get_if<WriteKeys>(&request.body)) {
                    if (world_.verbose()) {
                      world_.say(hub.id, "is asked to write id " + std::to_string(request.id.client) + " " +
                                             std::to_string(request.id.sequence) + " " + write->writes.front().key);
                    }
                    for (const KeyWrite& one : write->writes) judge_.accepted(hub.id, one.key, one.value, one.ttl_ns);
                  }
                  step_hub(hub, HubAsked{token, request, who});
                });
              });
  }
  // No answer: elsewhere, with the same id. A hub whose process is gone is known at once.
  const bool refused = !faults_ && !hub.up;
  const Nanos patience = refused ? 5 * kMs : world_.between(200 * kMs, faults_ ? plan_.patience_most : 300 * kMs);
  world_.in(patience, [this, number, attempt] {
    Client& waiting = clients_[static_cast<std::size_t>(number)];
    if (waiting.attempt != attempt || !waiting.request) return;
    waiting.hub = static_cast<int>(world_.rng().below(hubs_.size()));
    client_send(number);
  });
}

void Cluster::client_answer(int number, std::uint64_t attempt, int from, const AdminAnswer& answer, Nanos decided_at) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  if (client.attempt != attempt || !client.request) return;
  const auto again = [&] {
    world_.in(20 * kMs, [this, number, attempt] {
      if (clients_[static_cast<std::size_t>(number)].attempt == attempt) client_send(number);
    });
  };
  switch (answer.code) {
    case Code::kNotActive:
      client.hub = static_cast<int>(world_.rng().below(hubs_.size()));
      for (const auto& hub : hubs_) {
        if (hub->id == answer.hint && hub->number != from) client.hub = hub->number;
      }
      return again();
    case Code::kMaybeApplied:
    case Code::kBusy: return again();
    case Code::kUnavailable:  // under this id nothing happened nor will: a new one
      judge_client_void(client);
      client.request->id = {client.boot, ++client.sequence};
      // Nothing at that hub: where it was sent besides it may still happen, so this is another write.
      if (auto* write = std::get_if<WriteKeys>(&client.request->body); write != nullptr && client.sends > 1) {
        const Bytes value = next_value();
        for (KeyWrite& one : write->writes) {
          if (one.value) one.value = value;
        }
      }
      client.sends = 0;
      return again();
    default: break;
  }
  if (client.reading && (answer.code == Code::kOk || answer.code == Code::kNotFound))
    judge_hub_answer(client, answer, decided_at);
  if (world_.verbose()) {
    world_.say("operator", std::to_string(number) + " " + std::string(code_name(answer.code)) + " at index " +
                               std::to_string(answer.index.value) + " " + answer.message);
  }
  if (!client.reading && answer.code == Code::kOk) {
    ++report_.writes;
    const auto& body = client.request->body;
    report_.activations += std::holds_alternative<ActivateModel>(body) || std::holds_alternative<RollbackModel>(body);
  }
  client.request.reset();
  if (const auto then = std::exchange(client.then, {})) return then(answer);
  world_.in(soon(client.rollout ? plan_.rollout_gap : plan_.client_gap), [this, number] { client_turn(number); });
}

}  // namespace tidelock::sim
