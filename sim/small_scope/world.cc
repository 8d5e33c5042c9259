#include "sim/small_scope/world.h"

#include <algorithm>

#include "base/assert.h"
#include "codec/archive.h"
#include "protocol/read_order.h"
#include "sim/describe.h"

namespace tidelock::sim {
namespace {

constexpr Nanos kMs = kMillisecond;
const std::array<std::string, 2> kKeys = {"s:0", "s:1"};

// Renewal (0.8 s) < end of authority (1 s) < end of a lease (1.6 s): all meet within a few jumps.
Seed small_seed() {
  Seed seed;
  seed.settings.authority_window_ns = kSecond;
  seed.settings.lease_long_ns = seed.settings.lease_short_ns = 1'600 * kMs;
  Namespace strong;
  strong.prefix = "s:";
  strong.consistency = Consistency::kStrong;
  strong.scope = Scope::kRegion;
  strong.write_mode = WriteMode::kThrough;
  seed.namespaces = {strong, Namespace{}};
  return seed;
}

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
  std::uint64_t z = (hash ^ word) + 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return hash * 0x100000001B3ull + (z ^ (z >> 31));
}
std::uint64_t mix(std::uint64_t hash, Nanos time) { return mix(hash, static_cast<std::uint64_t>(time)); }

// The hash of what is told from outside of any node's past.
enum Cause : std::uint64_t { kStart = 1, kTick, kAsk, kRefused, kLeading, kDeposed, kDrop, kGone };

struct StillClock {
  struct Reading {
    Nanos earliest, latest, suspended_ns;
  };
  Reading now() const { return {at, at, 0}; }
  Reading past() const { return now(); }
  Nanos at;
};

struct OneTier {
  static constexpr int kTiers = 1;
  Candidate lookup(int, std::uint64_t) const {
    Candidate candidate;
    if (entry == nullptr) return candidate;
    candidate.state = Candidate::State::kFound;
    candidate.negative = !entry->value;
    candidate.local = entry->local;
    candidate.version = entry->version;
    candidate.epoch = entry->epoch;
    candidate.proven_at = entry->proven_at;
    candidate.expires_at = entry->expires_at;
    return candidate;
  }
  Source source(int) const { return Source::kArena; }
  const EdgeEntry* entry;
};

std::string number_of(std::size_t number) { return std::to_string(number); }

}  // namespace

// ---- what the cores stand on

std::optional<Bytes> SmallWorld::Rows::row(std::string_view key) const {
  const auto it = rows.find(key);
  return it == rows.end() ? std::nullopt : std::optional<Bytes>(it->second);
}
void SmallWorld::Rows::visit(std::string_view prefix,
                             const std::function<bool(std::string_view, std::string_view)>& visit) const {
  for (auto it = rows.lower_bound(prefix); it != rows.end() && it->first.starts_with(prefix); ++it) {
    if (!visit(it->first, it->second)) return;
  }
}
std::optional<EdgeEntry> SmallWorld::Store::find(std::string_view key) const {
  const auto it = rows.find(key);
  if (it == rows.end()) return std::nullopt;
  EdgeEntry entry = it->second;
  entry.epoch = 0;  // F8
  return entry;
}

SmallWorld::SmallWorld(const SmallScope& scope) : left_(scope) {
  for (std::size_t i = 0; i < kNodes; ++i) {
    hubs_[i].id = "hub-" + number_of(i);
    edges_[i].id = "edge-" + number_of(i);
    hubs_[i].past = mix(11, i), edges_[i].past = mix(12, i);
    start_hub(i);
    start_edge(i);
  }
  leader_ = 0;
  step(0, HubLeadership{true, hubs_[0].id}, kLeading);
  settle();
  // Both keys get a first value; then to the start of a lease, with no message on its way.
  for (std::size_t i = 0; i < kNodes; ++i) {
    KeyWrite write;
    write.key = kKeys[i];
    write.value = "first" + number_of(i);
    step(0, HubAsked{AskToken{++asked_}, AdminRequest{CommandId{90, i + 1}, WriteKeys{{write}}}}, kAsk);
  }
  const auto ready = [&] {
    return floor_.size() == kKeys.size() && std::all_of(edges_.begin(), edges_.end(), [&](const Edge& edge) {
             const Page& page = pages_[edge.page];
             return page.arena.entries() == kKeys.size() && page.fresh_at == now_ && page.lease_until > now_;
           });
  };
  for (int turns = 0; !ready() && violation_.empty(); ++turns) {
    TIDELOCK_ASSERT(turns < 100);
    Nanos next = kForever;
    for (const Hub& hub : hubs_) next = std::min(next, hub.wake_at);
    for (const Edge& edge : edges_) next = std::min(next, edge.wake_at);
    now_ = std::max(now_, next);
    settle();
  }
  TIDELOCK_ASSERT(reads_ == 0);
  rooted_ = true;
  judge_reads();
  commits_ = acknowledged_ = 0;
  for (std::size_t i = 0; i < kNodes; ++i) clients_[i].id = CommandId{91, i + 1};
}

// Everything that can happen without the clock, in a fixed order.
void SmallWorld::settle() {
  using Kind = Choice::Kind;
  const auto calm = [](const Choice& choice) {
    return choice.kind == Kind::kToHub || choice.kind == Kind::kToEdge || choice.kind == Kind::kCommit ||
           choice.kind == Kind::kEntry || choice.kind == Kind::kTickHub || choice.kind == Kind::kTickEdge;
  };
  for (;;) {
    const std::vector<Choice> all = choices();
    const auto next = std::find_if(all.begin(), all.end(), calm);
    if (next == all.end()) return;
    take(*next);
  }
}

void SmallWorld::start_hub(std::size_t number) {
  Hub& hub = hubs_[number];
  HubOptions options;
  options.id = hub.id;
  options.boot = Boot{100 * (number + 1) + ++hub.boot};
  options.seed = small_seed();
  hub.core = std::make_unique<HubCore>(options, hub.rows);
  hub.wake_at = kForever;
  hub.untold = false;
  hub.past = mix(mix(hub.past, kStart), now_);
}

void SmallWorld::start_edge(std::size_t number) {
  Edge& edge = edges_[number];
  EdgeOptions options;
  options.id = edge.id;
  options.site = "site";
  options.boot = Boot{1'000 * (number + 1) + ++edge.boot};
  options.writer = number + 1;
  const Seed seed = small_seed();
  options.namespaces = seed.namespaces;
  options.settings = seed.settings;
  for (const Page& page : pages_) {  // F11
    if (page.edge == number && !page.revoked) options.session_after = std::max(options.session_after, page.lease_until);
  }
  edge.page = pages_.size();
  pages_.emplace_back().edge = number;
  edge.conn = 0;
  edge.told.clear();
  auto outbox = Outbox::restore({}, {}, now_, 1'000, Rng(7));
  TIDELOCK_ASSERT(outbox.has_value());
  edge.core = std::make_unique<EdgeCore>(options, pages_.back().arena, edge.store, std::move(*outbox), Rng(8 + number));
  edge.wake_at = now_;
  edge.past = mix(mix(edge.past, kStart), now_);
}

void SmallWorld::break_conn(Conn& conn, bool hub_died) {
  if (hub_died) {  // what it had sent may still arrive
    conn.to_hub.clear();
    if (conn.open) conn.to_edge.push_back({EdgeLinkDown{conn.link, "broken"}, kGone});
  } else {
    conn.to_edge.clear();
    if (conn.open) conn.to_hub.push_back({HubDisconnected{}, kGone});
  }
  conn.open = false;
}

// ---- choices

std::vector<SmallWorld::Choice> SmallWorld::choices() const {
  using Kind = Choice::Kind;
  std::vector<Choice> out;
  const auto add = [&](Kind kind, std::size_t who = 0, std::size_t what = 0) {
    out.push_back({kind, static_cast<std::uint8_t>(who), static_cast<std::uint8_t>(what)});
  };
  std::size_t position = 0;
  for (const auto& [id, conn] : conns_) {
    if (!conn.to_hub.empty()) add(Kind::kToHub, position);
    if (!conn.to_edge.empty()) add(Kind::kToEdge, position);
    ++position;
  }
  for (std::size_t i = 0; i < kNodes; ++i) {
    const Hub& hub = hubs_[i];
    if (!hub.appends.empty()) {
      add(Kind::kCommit, i);
      if (left_.unknown > 0) add(Kind::kUnknown, i);
    }
    if (hub.core->state().applied().value < ledger_.size()) add(Kind::kEntry, i);
    if (hub.wake_at <= now_) add(Kind::kTickHub, i);
    if (edges_[i].wake_at <= now_) add(Kind::kTickEdge, i);
  }
  for (std::size_t i = 0; i < late_.size(); ++i) add(Kind::kCommitLate, 0, i);
  if (!rooted_) return out;
  for (std::size_t i = 0; i < kNodes; ++i) {
    if (hubs_[i].untold) add(Kind::kTell, i);
    if (hubs_[i].core->active()) {
      for (std::size_t client = 0; client < kNodes; ++client) {
        const Client& one = clients_[client];
        const bool again = one.asked && !one.done && (one.may_retry || one.hub != i) && left_.retries > 0;
        if ((!one.asked && left_.writes > 0) || again) add(Kind::kWrite, client, i);
      }
      for (std::size_t key = 0; key < kKeys.size() && left_.hub_reads > 0; ++key) add(Kind::kRead, i, key);
    }
    if (left_.failovers > 0 && leader_ != i) add(Kind::kLead, i);
    if (left_.crashes > 0 && left_.edge_crashes > 0) add(Kind::kCrashEdge, i), add(Kind::kOrphanPage, i);
    if (left_.crashes > 0 && left_.hub_crashes > 0) add(Kind::kCrashHub, i);
  }
  if (left_.jumps > 0 && next_instant() != kForever) add(Kind::kJump);
  return out;
}

Nanos SmallWorld::next_instant() const {
  const auto it = instants_.upper_bound(now_);
  Nanos next = it == instants_.end() ? kForever : *it;
  for (const Edge& edge : edges_) {
    if (edge.wake_at > now_) next = std::min(next, edge.wake_at);
  }
  return next;
}

std::string SmallWorld::describe(Choice choice) const {
  using Kind = Choice::Kind;
  const auto command = [](const Append& append) {
    const auto decoded = decode<Command>(append.command, "command");
    return decoded ? sim::describe(*decoded) : "?";
  };
  const std::string who = number_of(choice.who);
  switch (choice.kind) {
    case Kind::kToHub:
    case Kind::kToEdge: {
      const Conn& conn = std::next(conns_.begin(), choice.who)->second;
      const std::string hub = hubs_[conn.hub].id, edge = edges_[conn.edge].id;
      if (choice.kind == Kind::kToHub) {
        const auto* in = std::get_if<HubFrameIn>(&conn.to_hub.front().what);
        const bool up = std::holds_alternative<HubConnected>(conn.to_hub.front().what);
        return hub + " gets from " + edge + ": " +
               (in != nullptr ? sim::describe(in->frame)
                : up          ? "connected"
                              : "disconnected");
      }
      const auto* in = std::get_if<EdgeFrameIn>(&conn.to_edge.front().what);
      const bool up = std::holds_alternative<EdgeLinkUp>(conn.to_edge.front().what);
      return edge + " gets from " + hub + ": " +
             (in != nullptr ? sim::describe(in->frame)
              : up          ? "link up"
                            : "link down");
    }
    case Kind::kCommit:
      return "ledger commits " + number_of(ledger_.size() + 1) + " of hub-" + who + ": " +
             command(hubs_[choice.who].appends.front());
    case Kind::kCommitLate:
      return "ledger commits late " + number_of(ledger_.size() + 1) + ": " + command(late_[choice.what]);
    case Kind::kUnknown:
      return "hub-" + who + " is told: unknown outcome of " + command(hubs_[choice.who].appends.front());
    case Kind::kEntry:
      return "hub-" + who + " applies " + number_of(hubs_[choice.who].core->state().applied().value + 1);
    case Kind::kTickHub: return "hub-" + who + " ticks";
    case Kind::kTickEdge: return "edge-" + who + " ticks";
    case Kind::kWrite: return "write " + who + " is asked of hub-" + number_of(choice.what);
    case Kind::kRead: return "a strong read of " + kKeys[choice.what] + " is asked of hub-" + who;
    case Kind::kJump: return "the clock moves on by " + std::to_string((next_instant() - now_) / kMicrosecond) + " us";
    case Kind::kLead: return "hub-" + who + " leads the ledger";
    case Kind::kTell: return "hub-" + who + " is told that it does not lead";
    case Kind::kCrashEdge: return "edge-" + who + " crashes and restarts, its page revoked";
    case Kind::kOrphanPage: return "edge-" + who + " crashes and restarts, its page left behind";
    case Kind::kCrashHub: return "hub-" + who + " crashes and restarts";
  }
  return {};
}

void SmallWorld::take(Choice choice) {
  using Kind = Choice::Kind;
  switch (choice.kind) {
    case Kind::kToHub:
    case Kind::kToEdge: {
      const auto it = std::next(conns_.begin(), choice.who);
      const std::size_t hub = it->second.hub, edge = it->second.edge;
      if (choice.kind == Kind::kToHub) {
        Message<HubWhat> message = std::move(it->second.to_hub.front());
        it->second.to_hub.pop_front();
        if (auto* in = std::get_if<HubFrameIn>(&message.what)) in->conn = ConnId{it->first};
        if (auto* up = std::get_if<HubConnected>(&message.what)) *up = {ConnId{it->first}, edges_[edge].id};
        if (auto* down = std::get_if<HubDisconnected>(&message.what)) down->conn = ConnId{it->first};
        step(hub, std::move(message.what), mix(message.hash, it->first));
      } else {
        Message<EdgeWhat> message = std::move(it->second.to_edge.front());
        it->second.to_edge.pop_front();
        step_edge(edge, std::move(message.what), mix(message.hash, it->first));
      }
      std::erase_if(conns_, [](const auto& entry) {
        return !entry.second.open && entry.second.to_hub.empty() && entry.second.to_edge.empty();
      });
      break;
    }
    case Kind::kCommit: {
      const Append append = std::move(hubs_[choice.who].appends.front());
      hubs_[choice.who].appends.pop_front();
      commit(append);
      break;
    }
    case Kind::kCommitLate: {
      const Append append = std::move(late_[choice.what]);
      late_.erase(late_.begin() + choice.what);
      commit(append);
      break;
    }
    case Kind::kUnknown: {
      --left_.unknown;
      late_.push_back(std::move(hubs_[choice.who].appends.front()));
      hubs_[choice.who].appends.pop_front();
      step(choice.who, HubDropped{late_.back().id, Code::kMaybeApplied}, mix(kDrop, late_.back().hash));
      break;
    }
    case Kind::kEntry: {
      const std::uint64_t index = hubs_[choice.who].core->state().applied().value + 1;
      const Entry& entry = ledger_[index - 1];
      step(choice.who, HubCommitted{Index{index}, entry.command}, entry.hash);
      break;
    }
    case Kind::kTickHub: step(choice.who, HubTick{}, kTick); break;
    case Kind::kTickEdge: step_edge(choice.who, EdgeTick{}, kTick); break;
    case Kind::kWrite: write(choice.who, choice.what); break;
    case Kind::kRead: {
      --left_.hub_reads;
      const std::string& key = kKeys[choice.what];
      reading_[++asked_] = {key, floor_[key]};
      step(choice.who, HubAsked{AskToken{asked_}, AdminRequest{CommandId{92, asked_}, ReadKey{key}}},
           mix(kAsk, mix(asked_, std::uint64_t{choice.what})));
      break;
    }
    case Kind::kJump:
      --left_.jumps;
      now_ = next_instant();
      break;
    case Kind::kLead: {
      --left_.failovers;
      const auto former = std::exchange(leader_, choice.who);
      if (former) hubs_[*former].untold = true;
      step(choice.who, HubLeadership{true, hubs_[choice.who].id}, kLeading);
      break;
    }
    case Kind::kTell:
      hubs_[choice.who].untold = false;
      step(choice.who, HubLeadership{false, hubs_[*leader_].id}, mix(kDeposed, *leader_));
      break;
    case Kind::kCrashEdge:
    case Kind::kOrphanPage: {
      --left_.crashes, --left_.edge_crashes;
      Edge& edge = edges_[choice.who];
      if (choice.kind == Kind::kCrashEdge) pages_[edge.page].revoked = true;
      edge.past = mix(edge.past, static_cast<std::uint64_t>(choice.kind) + 100);
      for (auto& [id, conn] : conns_) {
        if (conn.edge == choice.who) break_conn(conn, false);
      }
      start_edge(choice.who);
      break;
    }
    case Kind::kCrashHub: {
      --left_.crashes, --left_.hub_crashes;
      Hub& hub = hubs_[choice.who];
      for (auto& [id, conn] : conns_) {
        if (conn.hub == choice.who) break_conn(conn, true);
      }
      for (Append& append : std::exchange(hub.appends, {})) late_.push_back(std::move(append));
      if (leader_ == choice.who) leader_.reset();
      for (Client& client : clients_) {
        if (client.hub == choice.who && client.asked) client.may_retry = !client.done;
      }
      start_hub(choice.who);
      break;
    }
  }
  if (rooted_) judge_reads();
}

void SmallWorld::write(std::size_t number, std::size_t hub) {
  Client& client = clients_[number];
  if (client.asked)
    --left_.retries;
  else
    --left_.writes;
  client.asked = true;
  client.may_retry = false;
  client.hub = hub;
  WriteKeys body;
  for (std::size_t key = 0; key <= number; ++key) {  // the second sets both keys: its block overlaps the first one's
    KeyWrite write;
    write.key = kKeys[key];
    write.value = "of write " + number_of(number);
    body.writes.push_back(std::move(write));
  }
  step(hub, HubAsked{AskToken{1'000 * (number + 1)}, AdminRequest{client.id, std::move(body)}},
       mix(kAsk, std::uint64_t{100} + number));
}

// ---- one step of a core

void SmallWorld::step(std::size_t number, HubWhat what, std::uint64_t hash) {
  Hub& hub = hubs_[number];
  hub.past = mix(mix(hub.past, hash), now_);
  const bool was_active = hub.core->active();
  HubActions actions;
  hub.core->step(HubEvent{now_, std::move(what)}, actions);
  for (auto& [key, value] : actions.rows.rows) {
    if (value)
      hub.rows.rows[key] = std::move(*value);
    else
      hub.rows.rows.erase(key);
  }
  const ClusterSettings settings = small_seed().settings;
  if (hub.core->active() && !was_active) {  // A4
    instants_.insert(now_ + stretch(settings.authority_window_ns, settings.rho_ppm));
    instants_.insert(now_ + stretch(settings.authority_window_ns + settings.lease_long_ns, settings.rho_ppm));
  }
  std::uint64_t ordinal = 0;
  for (auto& append : actions.append) {
    instants_.insert(now_ + shrink(settings.authority_window_ns, settings.rho_ppm));  // A2
    hub.appends.push_back({append.id, std::move(append.command), mix(hub.past, ++ordinal)});
  }
  for (auto& send : actions.send) {
    const auto* mark = std::get_if<Mark>(&send.frame.body);
    if (mark != nullptr && mark->lease_ns > 0) instants_.insert(now_ + mark->lease_ns);  // A3
    const auto it = conns_.find(send.conn.value);
    if (it == conns_.end() || !it->second.open) continue;
    it->second.to_edge.push_back({EdgeFrameIn{it->second.link, std::move(send.frame)}, mix(hub.past, ++ordinal)});
  }
  for (const auto& close : actions.close) {
    const auto it = conns_.find(close.conn.value);
    if (it == conns_.end() || !it->second.open) continue;
    it->second.open = false;
    it->second.to_hub.clear();
    it->second.to_edge.push_back({EdgeLinkDown{it->second.link, "closed"}, mix(hub.past, ++ordinal)});
  }
  for (const auto& answer : actions.answers) answered(answer.token, answer.answer);
  hub.wake_at = actions.wake_at;
}

void SmallWorld::step_edge(std::size_t number, EdgeWhat what, std::uint64_t hash) {
  Edge& edge = edges_[number];
  edge.past = mix(mix(edge.past, hash), now_);
  const auto* in = std::get_if<EdgeFrameIn>(&what);
  if (in != nullptr) judge_told(edge, in->frame);
  EdgeActions actions;
  edge.core->step(EdgeEvent{now_, std::move(what)}, actions);
  for (auto& op : actions.ops) carry_out(edge, op);
  edge.wake_at = actions.wake_at;
}

void SmallWorld::carry_out(Edge& edge, EdgeActions::Op& op) {
  constexpr std::uint64_t kOneBlock = 1ull << 56;
  Page& page = pages_[edge.page];
  if (const auto* bump = std::get_if<PageBumpSlot>(&op)) {
    ++page.words[bump->slot];
  } else if (const auto* opened = std::get_if<PageOpenBlock>(&op)) {
    for (const std::uint16_t slot : opened->slots) page.words[slot] += kOneBlock;
  } else if (const auto* closed = std::get_if<PageCloseBlock>(&op)) {
    for (const std::uint16_t slot : closed->slots) page.words[slot] -= kOneBlock;
  } else if (const auto* applied = std::get_if<PageApplied>(&op)) {
    page.applied = applied->applied;
  } else if (const auto* fresh = std::get_if<PageFresh>(&op)) {
    page.fresh_at = fresh->fresh_at;
  } else if (const auto* lease = std::get_if<PageLease>(&op)) {
    page.lease_until = lease->until;
    instants_.insert(lease->until);
  } else if (const auto* drop = std::get_if<PageDropProofs>(&op)) {
    page.lease_until = page.fresh_at = kNever;
    page.proofs_from = drop->from;
  } else if (const auto* epochs = std::get_if<PageEpochs>(&op)) {
    page.verified_epoch = epochs->verified;
    page.strong_epoch = epochs->strong;
  } else if (auto* put = std::get_if<EntryPut>(&op)) {
    edge.store.rows[put->key] = put->entry;
    page.arena.put(put->key, std::move(put->entry));
  } else if (const auto* erase = std::get_if<EntryErase>(&op)) {
    edge.store.rows.erase(erase->key);
    page.arena.erase(erase->key);
  } else if (const auto* link = std::get_if<LinkOpen>(&op)) {
    open_conn(edge, link->link, link->hint);
  } else if (std::holds_alternative<LinkClose>(op)) {
    if (const auto it = conns_.find(std::exchange(edge.conn, 0)); it != conns_.end()) break_conn(it->second, false);
  } else if (auto* send = std::get_if<LinkSend>(&op)) {
    if (const auto* ack = std::get_if<BlockAck>(&send->frame.body)) {
      if (const auto told = edge.told.find({ack->term, ack->number}); told != edge.told.end())
        page.promised[told->first] = told->second;
    }
    const auto it = conns_.find(edge.conn);
    if (it == conns_.end() || !it->second.open) return;
    it->second.to_hub.push_back(
        {HubFrameIn{{}, std::move(send->frame)}, mix(edge.past, std::uint64_t{it->second.to_hub.size()})});
  }
}

void SmallWorld::open_conn(Edge& edge, LinkNo link, const std::string& hint) {
  std::size_t hub = edge.next_hub;
  for (std::size_t i = 0; i < kNodes; ++i) {
    if (hubs_[i].id == hint) hub = i;
  }
  edge.next_hub = (hub + 1) % kNodes;
  const auto number = static_cast<std::size_t>(&edge - edges_.data());
  edge.conn = 1'000 * (number + 1) + ++edge.conns;
  Conn& conn = conns_[edge.conn];
  conn.edge = number;
  conn.hub = hub;
  conn.link = link;
  conn.to_hub.push_back({HubConnected{}, edge.past});
  conn.to_edge.push_back({EdgeLinkUp{link}, edge.past});
}

// ---- ledger and clients

void SmallWorld::commit(const Append& append) {
  ledger_.push_back({append.command, mix(ledger_.empty() ? 1 : ledger_.back().hash, append.hash)});
  const Index index{ledger_.size()};
  const auto command = decode<Command>(append.command, "command");
  if (!command) return violated("a hub appended what does not parse");
  if (std::holds_alternative<Claim>(command->body)) term_ = Term{index.value};
  if (command->term != term_) return;  // A1: fenced
  if (const auto* abort = std::get_if<Abort>(&command->body)) {
    if (!effects_.contains(abort->target)) aborted_.insert(abort->target);
  }
  const auto* put = std::get_if<Put>(&command->body);
  if (put == nullptr || aborted_.contains(command->id) || !effects_.try_emplace(command->id, index).second) return;
  judge_effect(index, *put);
}

void SmallWorld::answered(AskToken token, const AdminAnswer& answer) {
  if (const auto read = reading_.find(token.value); read != reading_.end()) {
    const auto [key, floor] = read->second;
    reading_.erase(read);
    if (answer.code != Code::kOk) return;
    if (answer.index < floor)
      violated("I1: a strong read of " + key + " at a hub returned " + number_of(answer.index.value) + ", and " +
               number_of(floor.value) + " was known before it began");
    floor_[key] = std::max(floor_[key], answer.index);
    return;
  }
  CommandId id{90, token.value};
  if (token.value >= 1'000) {
    Client& client = clients_[token.value / 1'000 - 1];
    id = client.id;
    client.done = client.done || answer.code == Code::kOk;
    client.may_retry = answer.code == Code::kMaybeApplied || answer.code == Code::kNotActive;
  }
  if (answer.code != Code::kOk) return;
  ++acknowledged_;
  const auto effect = effects_.find(id);
  if (effect == effects_.end() || effect->second != answer.index)
    return violated("I1: a write was acknowledged at index " + number_of(answer.index.value) +
                    ", where it did not take effect");
  const auto command = decode<Command>(ledger_[answer.index.value - 1].command, "command");
  for (const KeyWrite& write : std::get<Put>(command->body).writes)
    floor_[write.key] = std::max(floor_[write.key], answer.index);
}

// ---- the judge

void SmallWorld::judge_told(Edge& edge, const HubFrame& frame) {
  auto& promised = pages_[edge.page].promised;
  if (const auto* block = std::get_if<Block>(&frame.body)) {
    edge.told[{block->term, block->number}] = block->keys;
  } else if (const auto* record = std::get_if<Record>(&frame.body)) {
    promised.erase({record->term, record->block});
  } else if (const auto* unblock = std::get_if<Unblock>(&frame.body)) {
    promised.erase({unblock->term, unblock->number});
  } else if (const auto* welcome = std::get_if<Welcome>(&frame.body)) {  // weaker than F11, which waits for the mark
    std::erase_if(promised, [&](const auto& entry) {
      return entry.first.first < welcome->term || std::find(welcome->open_blocks.begin(), welcome->open_blocks.end(),
                                                            entry.first) == welcome->open_blocks.end();
    });
  }
}

void SmallWorld::judge_effect(Index index, const Put& put) {
  ++commits_;
  for (const KeyWrite& write : put.writes) {
    newest_[write.key] = index;
    for (std::size_t i = 0; i < pages_.size(); ++i) {
      const auto word = pages_[i].words.find(slot_of(write.key));
      const bool blocked = word != pages_[i].words.end() && slot_blocks(word->second) != 0;
      if (!pages_[i].revoked && now_ < pages_[i].lease_until && !blocked)
        violated("I3: a write of " + write.key + " takes effect at index " + number_of(index.value) + " while page " +
                 number_of(i) + " of edge-" + number_of(pages_[i].edge) + " has a lease and no block");
    }
  }
}

void SmallWorld::judge_reads() {
  struct PageView {
    const Page& page;
    Nanos fresh_at() const { return page.fresh_at; }
    Nanos behind_at() const { return page.fresh_at; }
    Nanos lease_until() const { return page.lease_until; }
    Index applied() const { return page.applied; }
    std::uint64_t verified_epoch() const { return page.verified_epoch; }
    std::uint64_t strong_epoch() const { return page.strong_epoch; }
    Nanos suspended_ns() const { return 0; }
    Nanos proofs_from() const { return page.proofs_from; }
    bool revoked() const { return page.revoked; }
    std::uint32_t rho_ppm() const { return 200; }
    std::uint64_t slot_word(std::uint16_t slot) const {
      const auto it = page.words.find(slot);
      return it == page.words.end() ? 0 : it->second;
    }
  };
  static const ReadPolicy policy = read_policy(small_seed().namespaces.front());
  const StillClock clock{now_};
  for (const std::string& key : kKeys) {
    Index newest = floor_[key], oldest{~0ull};
    for (const Page& page : pages_) {
      OneTier values{page.arena.look(key)};
      const ReadOutcome outcome = read_in_order(PageView{page}, clock, values, slot_of(key), policy,
                                                ReadContract{Consistency::kStrong, kForever, {}});
      if (outcome.must_ask != MustAsk::kNo) continue;
      ++reads_;
      newest = std::max(newest, outcome.receipt.version);
      oldest = std::min(oldest, outcome.receipt.version);
      for (const auto& [block, keys] : page.promised) {
        if (std::find(keys.begin(), keys.end(), key) != keys.end())
          violated("I5: edge-" + number_of(page.edge) + " acknowledged a block of " + key +
                   ", and its page serves a strong read before the block has ended");
      }
    }
    if (oldest < newest)  // the one that returned the newest may have been the first of them
      violated("I1: a strong read of " + key + " returned " + number_of(oldest.value) + ", and " +
               number_of(newest.value) + " was acknowledged or read before");
    if (newest > newest_[key]) violated("I1: a strong read of " + key + " returned what did not take effect");
    floor_[key] = newest;
  }
}

std::uint64_t SmallWorld::key() const {
  std::uint64_t hash = mix(ledger_.size(), now_);
  for (const Hub& hub : hubs_) {
    hash = mix(mix(hash, hub.past), std::uint64_t{hub.untold});
    for (const Append& append : hub.appends) hash = mix(hash, append.hash);
    hash = mix(hash, hub.appends.size());
  }
  for (const Edge& edge : edges_) hash = mix(hash, edge.past);
  for (const auto& [id, conn] : conns_) {
    hash = mix(mix(hash, id), std::uint64_t{conn.open});
    for (const auto& message : conn.to_hub) hash = mix(hash, message.hash);
    hash = mix(hash, conn.to_hub.size());
    for (const auto& message : conn.to_edge) hash = mix(hash, message.hash);
  }
  std::uint64_t late = 0;  // in whatever order they came to be unknown
  for (const Append& append : late_) late += mix(17, append.hash);
  hash = mix(hash, late);
  if (!ledger_.empty()) hash = mix(hash, ledger_.back().hash);
  hash = mix(hash, leader_ ? *leader_ : 7);
  for (const int left : {left_.writes, left_.retries, left_.hub_reads, left_.jumps, left_.unknown, left_.failovers,
                         left_.edge_crashes, left_.hub_crashes, left_.crashes})
    hash = mix(hash, static_cast<std::uint64_t>(left));
  for (const Client& client : clients_)
    hash = mix(hash, std::uint64_t{client.asked} << 3 | std::uint64_t{client.may_retry} << 2 |
                         std::uint64_t{client.done} << 1 | std::uint64_t{client.hub});
  for (const auto& [key, index] : floor_) hash = mix(hash, index.value);
  for (const auto& [token, begun] : reading_) hash = mix(mix(hash, token), begun.second.value);
  return hash;
}

}  // namespace tidelock::sim
