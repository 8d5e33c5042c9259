#include "sim/small_scope/world.h"

#include <algorithm>

#include "base/assert.h"
#include "codec/archive.h"
#include "sim/describe.h"
#include "sim/small_scope/digest.h"

namespace tidelock::sim {
namespace {

constexpr Nanos kMs = kMillisecond;

std::string number_of(std::size_t number) { return std::to_string(number); }

}  // namespace

// Renewal (0.8 s) < end of authority (1 s) < end of a lease (1.6 s): all meet within a few jumps.
Seed SmallWorld::small_seed() {
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

// ---- what the cores stand on

std::optional<Bytes> SmallWorld::Rows::row(std::string_view key) const {
  const auto it = rows.find(key);
  return it == rows.end() ? std::nullopt : std::optional<Bytes>(it->second);
}
void SmallWorld::Rows::visit(std::string_view prefix, std::string_view from,
                             const std::function<bool(std::string_view, std::string_view)>& visit) const {
  for (auto it = rows.lower_bound(from); it != rows.end() && it->first.starts_with(prefix); ++it) {
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
    start_hub(i);
    start_edge(i);
  }
  leader_ = 0;
  step(0, HubLeadership{true, hubs_[0].id});
  settle();
  // Both keys get a first value; then to the start of a lease, with no message on its way.
  for (std::size_t i = 0; i < kNodes; ++i) {
    KeyWrite write;
    write.key = kKeys[i];
    write.value = "first" + number_of(i);
    step(0, HubAsked{AskToken{++asked_}, AdminRequest{CommandId{90, i + 1}, WriteKeys{{write}}}});
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

SmallWorld::SmallWorld(const SmallWorld& o)
    : left_(o.left_),
      rooted_(o.rooted_),
      now_(o.now_),
      hubs_(o.hubs_),
      edges_(o.edges_),
      pages_(o.pages_),
      conns_(o.conns_),
      ledger_(o.ledger_),
      late_(o.late_),
      leader_(o.leader_),
      instants_(o.instants_),
      clients_(o.clients_),
      asked_(o.asked_),
      term_(o.term_),
      effects_(o.effects_),
      aborted_(o.aborted_),
      newest_(o.newest_),
      floor_(o.floor_),
      reading_(o.reading_),
      violation_(o.violation_),
      reads_(o.reads_),
      commits_(o.commits_),
      acknowledged_(o.acknowledged_) {
  for (std::size_t i = 0; i < kNodes; ++i) {
    hubs_[i].core = StateDigest::copy(*o.hubs_[i].core, hubs_[i].rows);
    edges_[i].core = StateDigest::copy(*o.edges_[i].core, pages_[edges_[i].page].arena, edges_[i].store);
  }
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
}

void SmallWorld::break_conn(Conn& conn, bool hub_died) {
  if (hub_died) {  // what it had sent may still arrive
    conn.to_hub.clear();
    if (conn.open) conn.to_edge.push_back(EdgeLinkDown{conn.link, "broken"});
  } else {
    conn.to_edge.clear();
    if (conn.open) conn.to_hub.push_back(HubDisconnected{});
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
    if (!hub.appends.empty() && hub.appends.front().lost) {
      if (!hub.untold) add(Kind::kDrop, i);
    } else if (!hub.appends.empty()) {
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
  if (left_.expiries > 0) {
    for (std::size_t i = 0; i < ends().size(); ++i) add(Kind::kExpire, 0, i);
  }
  return out;
}

std::vector<Nanos> SmallWorld::ends() const {
  std::set<Nanos> all;
  for (const Page& page : pages_) {
    if (!page.revoked) all.insert(page.lease_until);
  }
  for (const Hub& hub : hubs_) {
    if (!hub.core->active()) continue;
    all.insert(hub.core->latest_lease());
    all.insert(hub.waits.begin(), hub.waits.end());
  }
  return {all.upper_bound(now_), all.end()};
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
        const auto* in = std::get_if<HubFrameIn>(&conn.to_hub.front());
        const bool up = std::holds_alternative<HubConnected>(conn.to_hub.front());
        return hub + " gets from " + edge + ": " +
               (in != nullptr ? sim::describe(in->frame)
                : up          ? "connected"
                              : "disconnected");
      }
      const auto* in = std::get_if<EdgeFrameIn>(&conn.to_edge.front());
      const bool up = std::holds_alternative<EdgeLinkUp>(conn.to_edge.front());
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
    case Kind::kDrop: return "hub-" + who + " is told: no outcome of " + command(hubs_[choice.who].appends.front());
    case Kind::kEntry:
      return "hub-" + who + " applies " + number_of(hubs_[choice.who].core->state().applied().value + 1);
    case Kind::kTickHub: return "hub-" + who + " ticks";
    case Kind::kTickEdge: return "edge-" + who + " ticks";
    case Kind::kWrite: return "write " + who + " is asked of hub-" + number_of(choice.what);
    case Kind::kRead: return "a strong read of " + kKeys[choice.what] + " is asked of hub-" + who;
    case Kind::kJump: return "the clock moves on by " + std::to_string((next_instant() - now_) / kMicrosecond) + " us";
    case Kind::kExpire:
      return "nothing happens for " + std::to_string((ends()[choice.what] - now_) / kMicrosecond) + " us";
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
        HubWhat message = std::move(it->second.to_hub.front());
        it->second.to_hub.pop_front();
        if (auto* in = std::get_if<HubFrameIn>(&message)) in->conn = ConnId{it->first};
        if (auto* up = std::get_if<HubConnected>(&message)) *up = {ConnId{it->first}, edges_[edge].id};
        if (auto* down = std::get_if<HubDisconnected>(&message)) down->conn = ConnId{it->first};
        step(hub, std::move(message));
      } else {
        EdgeWhat message = std::move(it->second.to_edge.front());
        it->second.to_edge.pop_front();
        step_edge(edge, std::move(message));
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
      Append append = std::move(hubs_[choice.who].appends.front());
      hubs_[choice.who].appends.pop_front();
      const CommandId id = append.id;
      keep_late(std::move(append));
      step(choice.who, HubDropped{id, Code::kMaybeApplied});
      break;
    }
    case Kind::kDrop: {
      const CommandId id = hubs_[choice.who].appends.front().id;
      hubs_[choice.who].appends.pop_front();
      step(choice.who, HubDropped{id, Code::kMaybeApplied});
      break;
    }
    case Kind::kEntry: {
      const std::uint64_t index = hubs_[choice.who].core->state().applied().value + 1;
      step(choice.who, HubCommitted{Index{index}, ledger_[index - 1]});
      break;
    }
    case Kind::kTickHub: step(choice.who, HubTick{}); break;
    case Kind::kTickEdge: step_edge(choice.who, EdgeTick{}); break;
    case Kind::kWrite: write(choice.who, choice.what); break;
    case Kind::kRead: {
      --left_.hub_reads;
      const std::string& key = kKeys[choice.what];
      reading_[++asked_] = {key, floor_[key]};
      step(choice.who, HubAsked{AskToken{asked_}, AdminRequest{CommandId{92, asked_}, ReadKey{key}}});
      break;
    }
    case Kind::kJump:
      --left_.jumps;
      now_ = next_instant();
      break;
    case Kind::kExpire:
      --left_.expiries;
      now_ = ends()[choice.what];
      break;
    case Kind::kLead: {
      --left_.failovers;
      const auto former = std::exchange(leader_, choice.who);
      if (former) hubs_[*former].untold = true;
      hubs_[choice.who].untold = false;
      step(choice.who, HubLeadership{true, hubs_[choice.who].id});
      break;
    }
    case Kind::kTell:
      hubs_[choice.who].untold = false;
      step(choice.who, HubLeadership{false, hubs_[*leader_].id});
      break;
    case Kind::kCrashEdge:
    case Kind::kOrphanPage: {
      --left_.crashes, --left_.edge_crashes;
      Edge& edge = edges_[choice.who];
      if (choice.kind == Kind::kCrashEdge) pages_[edge.page].revoked = true;
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
      for (Append& append : std::exchange(hub.appends, {})) {
        if (!append.lost) keep_late(std::move(append));
      }
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
  step(hub, HubAsked{AskToken{1'000 * (number + 1)}, AdminRequest{client.id, std::move(body)}});
}

// ---- one step of a core

void SmallWorld::step(std::size_t number, HubWhat what) {
  Hub& hub = hubs_[number];
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
    hub.waits = {now_ + stretch(settings.authority_window_ns, settings.rho_ppm),
                 now_ + stretch(settings.authority_window_ns + settings.lease_long_ns, settings.rho_ppm)};
    instants_.insert(hub.waits.begin(), hub.waits.end());
  }
  for (auto& append : actions.append) {
    instants_.insert(now_ + shrink(settings.authority_window_ns, settings.rho_ppm));  // A2
    hub.appends.push_back({append.id, std::move(append.command), leader_ != number});
  }
  for (auto& send : actions.send) {
    const auto* mark = std::get_if<Mark>(&send.frame.body);
    if (mark != nullptr && mark->lease_ns > 0) instants_.insert(now_ + mark->lease_ns);  // A3
    const auto it = conns_.find(send.conn.value);
    if (it == conns_.end() || !it->second.open) continue;
    it->second.to_edge.push_back(EdgeFrameIn{it->second.link, std::move(send.frame)});
  }
  for (const auto& close : actions.close) {
    const auto it = conns_.find(close.conn.value);
    if (it == conns_.end() || !it->second.open) continue;
    it->second.open = false;
    it->second.to_hub.clear();
    it->second.to_edge.push_back(EdgeLinkDown{it->second.link, "closed"});
  }
  for (const auto& answer : actions.answers) answered(answer.token, answer.answer);
  hub.wake_at = actions.wake_at;
}

void SmallWorld::step_edge(std::size_t number, EdgeWhat what) {
  Edge& edge = edges_[number];
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
    it->second.to_hub.push_back(HubFrameIn{{}, std::move(send->frame)});
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
  conn.to_hub.push_back(HubConnected{});
  conn.to_edge.push_back(EdgeLinkUp{link});
}

// ---- ledger and clients

void SmallWorld::keep_late(Append append) {
  const auto at = std::ranges::upper_bound(late_, append.id, {}, &Append::id);
  late_.insert(at, std::move(append));
}

void SmallWorld::commit(const Append& append) {
  ledger_.push_back(append.command);
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
  const auto command = decode<Command>(ledger_[answer.index.value - 1], "command");
  for (const KeyWrite& write : std::get<Put>(command->body).writes)
    floor_[write.key] = std::max(floor_[write.key], answer.index);
}

std::uint64_t SmallWorld::key() const {
  StateDigest digest;
  digest(now_, leader_, ledger_.size());
  std::uint64_t applied = ledger_.size();
  for (const Hub& hub : hubs_) {
    digest(*hub.core, hub.waits, hub.rows.rows, hub.boot, hub.wake_at, hub.untold, hub.appends.size());
    for (const Append& append : hub.appends) digest(append.id, append.command, append.lost);
    applied = std::min(applied, hub.core->state().applied().value);
  }
  for (; applied < ledger_.size(); ++applied) digest(ledger_[applied]);
  for (const Edge& edge : edges_) {
    digest(*edge.core, edge.store.rows, edge.boot, edge.conns, edge.wake_at, edge.page, edge.next_hub, edge.conn,
           edge.told);
  }
  for (const Page& page : pages_) {
    digest(page.edge, page.revoked);
    if (page.revoked) continue;
    digest(page.fresh_at, page.lease_until, page.proofs_from, page.applied, page.verified_epoch, page.strong_epoch,
           page.words, page.promised);
    for (const std::string& key : kKeys) {
      const EdgeEntry* entry = page.arena.look(key);
      digest(entry != nullptr);
      if (entry != nullptr) digest(*entry);
    }
  }
  for (const auto& [id, conn] : conns_) {
    digest(id, conn.edge, conn.hub, conn.link, conn.open, conn.to_hub.size(), conn.to_edge.size());
    for (const HubWhat& message : conn.to_hub) {
      digest(message.index());
      if (const auto* in = std::get_if<HubFrameIn>(&message)) digest(in->frame);
    }
    for (const EdgeWhat& message : conn.to_edge) {
      digest(message.index());
      if (const auto* in = std::get_if<EdgeFrameIn>(&message)) digest(in->frame);
    }
  }
  for (const Append& append : late_) digest(append.id, append.command);
  digest(late_.size());
  for (auto it = instants_.upper_bound(now_); it != instants_.end(); ++it) digest(*it);
  digest(left_.writes, left_.retries, left_.hub_reads, left_.jumps, left_.expiries, left_.unknown, left_.failovers,
         left_.edge_crashes, left_.hub_crashes, left_.crashes);
  for (const Client& client : clients_) digest(client.asked, client.may_retry, client.done, client.hub);
  digest(asked_, term_, effects_, aborted_, newest_, floor_, reading_);
  return digest.hash;
}

}  // namespace tidelock::sim
