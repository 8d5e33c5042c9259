// What the apps and operators of the model cluster do, what breaks meanwhile, and what must hold at the end.

#include <algorithm>
#include <array>
#include <utility>

#include "sim/cluster.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
std::uint16_t slot_of_key(const std::string& key) { return slot_of(key); }
}  // namespace

std::string Cluster::any_key() {
  constexpr std::array<const char*, 8> kFamilies = {
      "cfg:", "cfg:", "cfg:", "plain:", "plain:", "feat:", "feat:", "ttl:"};
  return kFamilies[world_.rng().below(kFamilies.size())] + std::to_string(world_.rng().below(3));
}

Contract Cluster::any_contract(const std::string& key) {
  Contract contract;
  const std::uint64_t kind = world_.rng().below(10);
  if (kind < 3) {
    contract.consistency = Consistency::kStrong;
  } else if (kind < 8 || !key.starts_with("cfg:")) {
    contract.consistency = Consistency::kBounded;
    contract.bound_ns = world_.between(5 * kMs, world_.chance(300) ? 10 * kSecond : 500 * kMs);
  }
  if (world_.chance(100)) contract.consistency = Consistency::kEventual, contract.bound_ns.reset();
  if (world_.chance(200)) contract.deadline_ns = 0;
  return contract;
}

// ---- apps

void Cluster::page_reader(int number, int app) {
  Edge& edge = *edges_[static_cast<std::size_t>(number)];
  if (!load_) return;
  auto& page = edge.app_pages[static_cast<std::size_t>(app)];
  if (!page || page->revoked || world_.chance(50)) {
    if (page != edge.page) edge.apps[static_cast<std::size_t>(app)].entries.clear();
    page = edge.page;
  }
  if (page && world_.now() >= edge.paused_until) {
    if (world_.chance(100))
      snapshot_page(edge, app);
    else {
      const std::string key = any_key();
      read_page(edge, app, key, any_contract(key));
    }
  }
  world_.in(world_.between(kMs, 20 * kMs), [this, number, app] { page_reader(number, app); });
}

void Cluster::read_page(Edge& edge, int app, const std::string& key, const Contract& contract) {
  struct AppClock {
    const Cluster& cluster;
    const Edge& edge;
    const PageLoads& loads;
    struct Reading {
      Nanos earliest, latest, suspended_ns;
    };
    Reading now() const {
      loads.pause();
      const Nanos reading = cluster.h(edge);
      return {reading, reading, edge.suspended_ns};
    }
  };
  const std::shared_ptr<Page> page = edge.app_pages[static_cast<std::size_t>(app)];
  L1 private_cache =
      std::exchange(edge.apps[static_cast<std::size_t>(app)], L1{});  // an app reads with one thread at a time
  const Index floor = history_.floor(key);
  const PageLoads loads(world_, *page);
  const AppClock clock{*this, edge, loads};
  PageValues values(loads, *page, &private_cache, key);
  const Namespace& ns = namespace_of(page->namespaces, key);
  const ReadPolicy policy = read_policy(ns);
  const ReadContract resolved = resolve(contract, policy);
  const ReadOutcome outcome = read_in_order(loads, clock, values, slot_of_key(key), policy, resolved);
  edge.apps[static_cast<std::size_t>(app)] = std::move(private_cache);
  world_.trace(20, static_cast<std::uint64_t>(outcome.must_ask), outcome.receipt.version.value);
  if (!outcome.found && !outcome.negative) return;
  Told told;
  told.key = key;
  told.found = outcome.found;
  told.value = outcome.found ? values.value : std::nullopt;
  told.receipt = outcome.receipt;
  told.strong = outcome.must_ask == MustAsk::kNo && resolved.consistency == Consistency::kStrong;
  told.ended_at = world_.now();
  told.floor = floor;
  if (outcome.must_ask == MustAsk::kNo) ++report_.page_reads_served;
  if (told.strong) ++report_.strong_page_reads_served;
  // A pause between the last clock read and here is the caller's: the bound speaks of the end of the read.
  history_.check_read(told, edge.id + (page == edge.page ? " page" : " orphan page"));
}

// S4: cfg:0 and cfg:1 are often written together; a snapshot must be the state at one index.
void Cluster::snapshot_page(Edge& edge, int app) {
  struct AppClock {
    const Cluster& cluster;
    const Edge& edge;
    struct Reading {
      Nanos earliest, latest, suspended_ns;
    };
    Reading now() const {
      const Nanos reading = cluster.h(edge);
      return {reading, reading, edge.suspended_ns};
    }
  };
  const std::shared_ptr<Page> page = edge.app_pages[static_cast<std::size_t>(app)];
  const std::array<std::string, 2> names = {"cfg:0", "cfg:1"};
  const std::array<Index, 2> floors = {history_.floor(names[0]), history_.floor(names[1])};
  const PageLoads loads(world_, *page);
  std::vector<PageValues> values;
  std::vector<SnapshotKey> keys;
  for (const std::string& name : names) {
    values.emplace_back(loads, *page, nullptr, name);
    keys.push_back({slot_of_key(name), namespace_number(page->namespaces, name), Consistency::kStrong});
  }
  std::array<ReadOutcome, 2> outcomes;
  const ReadOutcome group = snapshot_in_order(
      loads, AppClock{*this, edge}, [&](std::size_t i) -> PageValues& { return values[i]; }, keys, outcomes);
  if (group.must_ask != MustAsk::kNo) return;
  Index low, high{~0ull};  // the indexes at which each value was the newest
  for (std::size_t i = 0; i < names.size(); ++i) {
    Index from, to{~0ull};
    for (const Version& version : history_.versions(names[i])) {
      const bool this_one = outcomes[i].negative ? !version.value && version.index >= floors[i]
                                                 : version.index == outcomes[i].receipt.version;
      if (this_one && from.value == 0) from = version.index;
      if (outcomes[i].negative ? false : version.index > outcomes[i].receipt.version && to.value == ~0ull)
        to = version.index;
    }
    if (outcomes[i].negative) return;
    low = std::max(low, from);
    high = std::min(high, to);
    Told told{names[i], true, values[i].value, outcomes[i].receipt, true, world_.now(), floors[i], {}};
    told.receipt.bound_ns = kForever;  // judged per key below: U of a snapshot speaks of its index
    history_.check_read(told, "snapshot");
  }
  if (low >= high) world_.violated("S4: a snapshot mixes indexes");
}

void Cluster::edge_reader(int number) {
  Edge& edge = *edges_[static_cast<std::size_t>(number)];
  if (!load_) return;
  if (edge.up) {
    const std::string key = any_key();
    EdgeRead read;
    read.key = key;
    read.contract = any_contract(key);
    if (world_.chance(200)) read.contract.token = edge.last_acked;
    post(edge, edge.incarnation, [this, &edge, read]() mutable {
      read.token = ReadToken{++edge.next_token};
      const Namespace& ns = namespace_of(seed_.namespaces, read.key);
      const Consistency consistency =
          read.contract.consistency.value_or(read.contract.bound_ns ? Consistency::kBounded : ns.consistency);
      edge.reads[read.token.value] = {read.key, read.contract, history_.floor(read.key), consistency};
      step_edge(edge, read);
    });
  }
  world_.in(world_.between(2 * kMs, 40 * kMs), [this, number] { edge_reader(number); });
}

void Cluster::edge_writer(int number) {
  Edge& edge = *edges_[static_cast<std::size_t>(number)];
  if (!load_) return;
  if (edge.up) {
    EdgeWrite write;
    write.write.key = any_key();
    if (!world_.chance(100)) write.write.value = next_value();
    if (write.write.key.starts_with("ttl:") && write.write.value)
      write.write.ttl_ns = world_.between(100 * kMs, 3 * kSecond);
    const bool behind = write.write.key.starts_with("feat:");
    if (behind) {
      constexpr AckLevel kLevels[] = {AckLevel::kOs, AckLevel::kDisk, AckLevel::kOrigin};
      write.level = kLevels[world_.rng().below(3)];
    }
    post(edge, edge.incarnation, [this, &edge, write, behind]() mutable {
      write.token = WriteToken{++edge.next_token};
      write.wall_ms = static_cast<std::uint64_t>(world_.now() / kMs + edge.wall_offset_ms) + 1'000'000;
      edge.writes[write.token.value] = {write.write.key, write.write.value, {}, behind};
      step_edge(edge, write);
    });
  }
  world_.in(world_.between(10 * kMs, 300 * kMs), [this, number] { edge_writer(number); });
}

// ---- operators: a write is repeated under its id until its outcome is known

void Cluster::client_turn(int number) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  if (client.request || !load_) return;
  AdminRequest request;
  request.id = {client.boot, ++client.sequence};
  client.reading = world_.chance(300);
  client.key = any_key();
  client.floor = history_.floor(client.key);
  if (client.reading) {
    request.body = ReadKey{client.key};
  } else {
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
    if (client.key.starts_with("feat:")) client.key = "cfg:0";
    add(client.key);
    if (client.key == "cfg:0") add("cfg:1");
    if (client.key == "cfg:2") add("plain:2");
    request.body = write;
  }
  client.request = request;
  client.sends = 0;
  client_send(number);
}

void Cluster::client_send(int number) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  if (!client.request) return;
  const std::uint64_t attempt = ++client.attempt;
  ++client.sends;
  Hub& hub = *hubs_[static_cast<std::size_t>(client.hub)];
  const AskToken token{++next_ask_};
  asked_[token.value] = {number, attempt, !client.reading, client.request->id};
  world_.in(network_delay(), [this, &hub, token, request = *client.request] {
    post(hub, hub.incarnation, [this, &hub, token, request] { step_hub(hub, HubAsked{token, request}); });
  });
  world_.in(world_.between(200 * kMs, 8 * kSecond), [this, number, attempt] {  // no answer: elsewhere, with the same id
    Client& waiting = clients_[static_cast<std::size_t>(number)];
    if (waiting.attempt != attempt || !waiting.request) return;
    waiting.hub = static_cast<int>(world_.rng().below(hubs_.size()));
    client_send(number);
  });
}

void Cluster::client_answer(int number, std::uint64_t attempt, int from, const AdminAnswer& answer) {
  Client& client = clients_[static_cast<std::size_t>(number)];
  if (client.attempt != attempt || !client.request) return;
  const auto again = [&](Nanos wait) {
    world_.in(wait, [this, number, attempt] {
      if (clients_[static_cast<std::size_t>(number)].attempt == attempt) client_send(number);
    });
  };
  switch (answer.code) {
    case Code::kNotActive:
      client.hub = static_cast<int>(world_.rng().below(hubs_.size()));
      for (const auto& hub : hubs_) {
        if (hub->id == answer.hint && hub->number != from) client.hub = hub->number;
      }
      return again(20 * kMs);
    case Code::kMaybeApplied:
    case Code::kBusy: return again(20 * kMs);
    case Code::kUnavailable:  // under this id nothing happened nor will: a new one
      // (When it was sent to several hubs, one of them may still hold it.)
      if (client.sends == 1 && !client.reading) history_.declared_void(client.request->id);
      client.request->id = {client.boot, ++client.sequence};
      client.sends = 0;
      return again(20 * kMs);
    default: break;
  }
  if (client.reading && (answer.code == Code::kOk || answer.code == Code::kNotFound)) {
    Told told;
    told.key = client.key;
    told.found = answer.code == Code::kOk;
    told.value = answer.value;
    told.receipt.version = answer.index;
    told.receipt.basis = Basis::kProof;
    told.strong = true;
    told.ended_at = world_.now();
    told.floor = client.floor;
    history_.check_read(told, "hub");
  }
  if (!client.reading && answer.code == Code::kOk) ++report_.writes_acknowledged;
  client.request.reset();
  world_.in(world_.between(kMs, 150 * kMs), [this, number] { client_turn(number); });
}

// ---- faults

void Cluster::fault() {
  if (!faults_) return;
  Rng& rng = world_.rng();
  Hub& hub = *hubs_[rng.below(hubs_.size())];
  Edge& edge = *edges_[rng.below(edges_.size())];
  const auto span = [&](Nanos most) { return world_.between(kMs, world_.chance(700) ? most / 8 : most); };
  switch (rng.below(12)) {
    case 0:
      if (hub.up) {
        crash_hub(hub);
        world_.in(span(4 * kSecond), [this, &hub] {
          if (!hub.up) start_hub(hub);
        });
      }
      break;
    case 1:
    case 2: {
      std::vector<int> up;
      for (const auto& one : hubs_) {
        if (one->up) up.push_back(one->number);
      }
      if (!up.empty()) ledger_->elect(up[rng.below(up.size())]);
      break;
    }
    case 3:
      if (edge.up) {
        crash_edge(edge, world_.chance(300));
        const bool revoke = world_.chance(700);
        world_.in(span(3 * kSecond), [this, &edge, revoke] {
          if (!edge.up) start_edge(edge, revoke);
        });
      }
      break;
    case 4:
      if (edge.up) edge.crash_after_ops = static_cast<int>(rng.below(30));
      break;
    case 5:
    case 6:
      for (auto& [id, conn] : conns_) {
        if (conn.open && conn.edge == edge.number) cut(conn);
      }
      break;
    case 7: partitioned_until_[{edge.number, hub.number}] = world_.now() + span(8 * kSecond); break;
    case 8: {
      const int leader = ledger_->leader();
      const int cut_off = world_.chance(600) && leader >= 0 ? leader : hub.number;
      ledger_->stall(cut_off, world_.now() + span(4 * kSecond));
      if (world_.chance(700)) ledger_->elect(static_cast<int>(rng.below(hubs_.size())));
      break;
    }
    case 9: pause(hub, span(4 * kSecond)); break;
    case 10:
      if (world_.chance(500)) {
        pause(edge, span(4 * kSecond));
      } else if (edge.up) {  // C2: the machine slept; its clock counts that
        const Nanos slept = span(8 * kSecond);
        pause(edge, slept);
        edge.suspended_ns += slept;
        edge.inbox.push_front([this, &edge] {
          for (auto& [key, entry] : edge.store.rows) entry.proven_at = kNever;
          step_edge(edge, EdgeDisrupted{});
        });
      }
      break;
    default:
      if (hub.up) post(hub, hub.incarnation, [this, &hub] { step_hub(hub, HubDisrupted{}); });
  }
  world_.in(world_.between(20 * kMs, 900 * kMs), [this] { fault(); });
}

// I3: at the linearization of each strong write no page has a live lease with a key of it unblocked.
void Cluster::check_lease(const Applied& applied) {
  if (!applied.effective) return;
  std::erase_if(pages_, [](const auto& entry) { return entry.second.expired(); });
  for (const ChangedValue& change : applied.changed) {
    if (!change.key.starts_with("cfg:")) continue;
    for (const auto& [number, weak] : pages_) {
      const auto page = weak.lock();
      if (!page || page->revoked) continue;
      const Edge& edge = *edges_[static_cast<std::size_t>(number)];
      if (h(edge) >= page->lease_until || edge.suspended_ns != page->suspended_ns) continue;
      if (slot_blocks(page->slot_word(slot_of_key(change.key))) != 0) continue;
      world_.violated("I3: index " + std::to_string(applied.index.value) + " writes '" + change.key +
                      "' while a page of " + edge.id + " has a lease for another " +
                      std::to_string(page->lease_until - h(edge)) + " ns and no block");
    }
  }
}

ClusterReport Cluster::run() {
  for (auto& hub : hubs_) start_hub(*hub);
  ledger_->elect(static_cast<int>(world_.rng().below(hubs_.size())));
  for (auto& edge : edges_) start_edge(*edge, true);
  for (int i = 0; i < static_cast<int>(edges_.size()); ++i) {
    for (int app = 0; app < 2; ++app) world_.in(world_.between(0, 50 * kMs), [this, i, app] { page_reader(i, app); });
    world_.in(world_.between(0, 50 * kMs), [this, i] { edge_reader(i); });
    world_.in(world_.between(0, 50 * kMs), [this, i] { edge_writer(i); });
  }
  for (int i = 0; i < static_cast<int>(clients_.size()); ++i)
    world_.in(world_.between(0, kSecond), [this, i] { client_turn(i); });
  world_.in(world_.between(kSecond, 3 * kSecond), [this] { fault(); });
  world_.run_until(options_.faults_ns);

  faults_ = false;  // everything is healed
  world_.stop_pauses();
  partitioned_until_.clear();
  hubs_apart_until_.clear();
  ledger_->heal();
  for (auto& hub : hubs_) {
    if (!hub->up) start_hub(*hub);
  }
  for (auto& edge : edges_) {
    if (!edge->up) start_edge(*edge, true);
    edge->crash_after_ops = -1;
  }
  ledger_->elect(static_cast<int>(world_.rng().below(hubs_.size())));
  world_.in(5 * kSecond, [this] { load_ = false; });
  world_.run_until(world_.now() + options_.quiet_ns - kSecond);
  const Index settled = history_.last();
  world_.run_until(world_.now() + kSecond);
  if (!world_.failed()) check_end(settled);
  report_.violation = world_.violation();
  report_.trace_hash = world_.trace_hash();
  report_.events = world_.events();
  report_.reads = history_.reads_checked();
  return report_;
}

void Cluster::check_end(Index settled) {  // I7, I8, I10
  history_.check_end();
  int active = 0;
  for (const auto& hub : hubs_) active += hub->core->active();
  if (active != 1) world_.violated("I10: " + std::to_string(active) + " hubs are active at the end");
  for (const auto& hub : hubs_) {
    if (hub->core->state().applied() < settled) world_.violated("I10: " + hub->id + " has not applied the whole log");
    if (hub->core->open_blocks() != 0) world_.violated("I10: a block is open for ever at " + hub->id);
  }
  for (const Client& client : clients_) {
    if (client.request) world_.violated("I10: an operator waits for ever");
  }
  for (const auto& edge : edges_) {
    const std::string& id = edge->id;
    if (!edge->core->session_open()) world_.violated("I10: " + id + " has no session");
    if (!edge->reads.empty()) world_.violated("I10: a read waits for ever at " + id);
    if (!edge->writes.empty()) world_.violated("I10: a write waits for ever at " + id);
    if (edge->core->open_blocks() != 0) world_.violated("I10: a block is open for ever at " + id);
    if (edge->core->outbox().counters().pending != 0) world_.violated("I10: records are pending for ever at " + id);
    if (edge->core->lease_until() <= h(*edge)) world_.violated("I10: " + id + " has no lease");
    if (edge->core->applied() > history_.last()) world_.violated("I4: " + id + " has applied what does not exist");
  }
}

}  // namespace tidelock::sim
