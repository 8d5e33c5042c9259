// Edges of the model cluster: what the shell of an edge does with the core's actions, over memory that crashes.

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "sim/cluster.h"
#include "sim/describe.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;

void put_rows(std::map<Bytes, Bytes>& rows, const OutboxRows& changes) {
  for (const auto& [key, value] : changes) {
    if (value)
      rows[key] = *value;
    else
      rows.erase(key);
  }
}
}  // namespace

std::optional<EdgeEntry> Cluster::SimStore::find(std::string_view key) const {
  if (step != nullptr) {
    for (auto it = step->ops.rbegin(); it != step->ops.rend(); ++it) {
      if (const auto* put = std::get_if<StorePut>(&*it); put != nullptr && put->key == key) {
        EdgeEntry entry = put->entry;
        entry.epoch = 0;
        return entry;
      }
      if (const auto* erase = std::get_if<StoreErase>(&*it); erase != nullptr && erase->key == key) return std::nullopt;
    }
  }
  const auto it = rows.find(key);
  if (it == rows.end()) return std::nullopt;
  EdgeEntry entry = it->second;
  entry.epoch = 0;  // F8
  return entry;
}

void Cluster::start_edge(Edge& edge, bool revoke) {
  ++edge.incarnation;
  edge.up = true;
  edge.busy = false;
  edge.inbox.clear();
  edge.crash_after_ops = -1;
  edge.last_acked = {};
  edge.link = {};
  EdgeOptions options;
  options.id = edge.id;
  options.site = "site";
  options.boot = Boot{world_.rng().next() | 1};
  options.writer = static_cast<std::uint64_t>(edge.number) + 1;
  options.memory_bytes = world_.chance(200) ? 900 : 1u << 20;  // sometimes a few entries only: the others rest in L2
  options.namespaces = seed_.namespaces;
  options.settings = seed_.settings;
  if (edge.page) {
    if (revoke) {
      edge.page->revoked = true;
      edge.page->lease_until = edge.page->fresh_at = edge.page->behind_at = kNever;
    }
  }
  for (const auto& [number, weak] :
       pages_) {  // F11: no session before the lease of any that was left behind has surely lapsed
    const auto left = weak.lock();
    if (left && !left->revoked && number == edge.number)
      options.session_after = std::max(options.session_after, left->lease_until);
  }
  edge.page = std::make_shared<Page>();
  edge.page->namespaces = seed_.namespaces;
  edge.page->rho_ppm = seed_.settings.rho_ppm;
  edge.page->suspended_ns = edge.suspended_ns;
  edge.page->first_slot_version = ++boots_ << 32;
  pages_.emplace_back(edge.number, edge.page);
  const std::vector<std::pair<Bytes, Bytes>> rows(edge.outbox.begin(), edge.outbox.end());
  OutboxOptions outbox;
  outbox.answer_wait_ns = 5 * kSecond;
  auto restored = Outbox::restore(outbox, rows, h(edge),
                                  static_cast<std::uint64_t>(world_.now() / kMs + edge.wall_offset_ms) + 1'000'000,
                                  Rng(world_.rng().next()));
  if (!restored) return world_.violated("D2: the outbox does not open: " + restored.error().message);
  edge.core = std::make_unique<EdgeCore>(options, edge.store, std::move(*restored), Rng(world_.rng().next()));
  world_.trace(10, static_cast<std::uint64_t>(edge.number));
  world_.say(edge.id + (revoke ? " starts" : " starts, and cannot revoke the former page"));
  post(edge, edge.incarnation, [this, &edge] { step_edge(edge, EdgeTick{}); });
}

void Cluster::crash_edge(Edge& edge, bool power) {
  world_.trace(11, static_cast<std::uint64_t>(edge.number), power);
  world_.say(edge.id + (power ? " loses power" : " crashes"));
  edge.up = false;
  edge.busy = false;
  ++edge.incarnation;
  edge.inbox.clear();
  edge.reads.clear();
  edge.writes.clear();
  if (power) {  // what was not synced may be gone, from some commit on
    edge.outbox = edge.outbox_disk;
    const std::size_t kept = world_.rng().below(edge.unsynced.size() + 1);
    for (std::size_t i = 0; i < kept; ++i) put_rows(edge.outbox, edge.unsynced[i].second);
    edge.store.rows.clear();
    if (edge.page) {  // nobody on this machine runs on
      edge.page->revoked = true;
      edge.page->lease_until = edge.page->fresh_at = edge.page->behind_at = kNever;
    }
  }
  edge.outbox_disk =
      edge.outbox;  // a process that was killed: the next one finds everything, and syncs it with its first commit
  edge.unsynced.clear();
  for (auto& [id, conn] : conns_) {
    if (conn.open && conn.edge == edge.number) cut(conn);
  }
}

void Cluster::step_edge(Edge& edge, decltype(EdgeEvent::what) what) {
  const std::uint64_t incarnation = edge.incarnation;
  const Nanos decided_at = world_.now();
  EdgeActions actions;
  edge.store.step = &actions;
  const Nanos fresh_before = edge.core->fresh_at();
  const Index applied_before = edge.core->applied();
  const bool disrupted = std::holds_alternative<EdgeDisrupted>(what);
  const auto* write = std::get_if<EdgeWrite>(&what);
  if (const auto* in = std::get_if<EdgeFrameIn>(&what);
      in != nullptr && in->link == edge.link && std::holds_alternative<WriteDone>(in->frame.body)) {
    const auto& done = std::get<WriteDone>(in->frame.body);  // the edge goes on under another id
    const auto id = through_.find({edge.number, done.request.value + (edge.incarnation << 32)});
    if (done.code == Code::kUnavailable && id != through_.end() && last_request_.at(id->second) == done.request)
      history_.declared_void(id->second);
  }
  edge.core->step(EdgeEvent{h(edge), what}, actions);
  edge.store.step = nullptr;
  if (!disrupted && (edge.core->fresh_at() < fresh_before || edge.core->applied() < applied_before)) {
    if (!edge.core->clock_fault()) world_.violated("I4: fresh_at or applied of " + edge.id + " went back");
  }
  if (edge.core->clock_fault()) world_.violated("C3: " + edge.id + " calls sound clocks a fault");
  world_.trace(12, static_cast<std::uint64_t>(edge.number), actions.ops.size());
  if (write != nullptr) {  // the stamp under which it will be sequenced
    for (const auto& op : actions.ops) {
      const auto* put = std::get_if<ArenaPut>(&op);
      if (put == nullptr || !put->entry.local || put->key != write->write.key) continue;
      const auto it = edge.writes.find(write->token.value);
      if (it != edge.writes.end()) it->second.stamp = put->entry.stamp;
      history_.written_behind(put->key, put->entry.value, put->entry.stamp);
    }
  }
  for (const auto& op : actions.ops) {  // L2 first, as one batch
    if (const auto* put = std::get_if<StorePut>(&op)) edge.store.rows[put->key] = put->entry;
    if (const auto* erase = std::get_if<StoreErase>(&op)) edge.store.rows.erase(erase->key);
  }
  for (auto& op : actions.ops) {
    world_.maybe_pause(1'500);
    if (edge.incarnation != incarnation || world_.failed()) return;
    if (edge.crash_after_ops >= 0 && edge.crash_after_ops-- == 0) {
      crash_edge(edge, world_.chance(300));
      const bool revoke = world_.chance(700);
      world_.in(world_.between(kMs, 2 * kSecond), [this, &edge, revoke] {
        if (!edge.up) start_edge(edge, revoke);
      });
      return;
    }
    if (world_.verbose()) {
      if (const std::string line = describe(op); !line.empty()) world_.say(edge.id + " " + line);
    }
    if (!carry_out(edge, op, decided_at)) return;
  }
  const std::uint64_t wake = ++edge.wake_no;
  if (actions.wake_at != kForever) {
    world_.at(edge.clock.when(actions.wake_at), [this, &edge, incarnation, wake] {
      if (edge.wake_no == wake) post(edge, incarnation, [this, &edge] { step_edge(edge, EdgeTick{}); });
    });
  }
}

bool Cluster::carry_out(Edge& edge, EdgeActions::Op& op, Nanos decided_at) {
  Page& page = *edge.page;
  const std::uint64_t incarnation = edge.incarnation;
  if (const auto* begin = std::get_if<PageBeginWrite>(&op)) {
    if ((++page.generations[begin->ns] & 1) == 0) world_.violated("F5: a write began inside another");
  } else if (const auto* end = std::get_if<PageEndWrite>(&op)) {
    if ((++page.generations[end->ns] & 1) != 0) world_.violated("F5: a write ended that had not begun");
  } else if (const auto* bump = std::get_if<PageBumpSlot>(&op)) {
    ++page.slots[bump->slot];
  } else if (const auto* opened = std::get_if<PageOpenBlock>(&op)) {
    for (const std::uint16_t slot : opened->slots) ++page.blocks[slot];
  } else if (const auto* closed = std::get_if<PageCloseBlock>(&op)) {
    for (const std::uint16_t slot : closed->slots) {
      if (--page.blocks[slot] < 0) world_.violated("S2: a block closed that was not open");
    }
  } else if (const auto* applied = std::get_if<PageApplied>(&op)) {
    if (applied->applied < page.applied) world_.violated("I4: applied went back on the page of " + edge.id);
    page.applied = applied->applied;
  } else if (const auto* fresh = std::get_if<PageFresh>(&op)) {
    if (fresh->fresh_at < page.fresh_at) world_.violated("I4: fresh_at went back on the page of " + edge.id);
    page.fresh_at = fresh->fresh_at;
    page.behind_at = page.writers_ns == kForever ? kNever : saturating_sub(page.fresh_at, page.writers_ns);
  } else if (const auto* lease = std::get_if<PageLease>(&op)) {
    if (lease->until < page.lease_until) world_.violated("I4: the lease went back on the page of " + edge.id);
    page.lease_until = lease->until;
  } else if (std::holds_alternative<PageDropProofs>(op)) {
    page.lease_until = page.behind_at = page.fresh_at = kNever;
    page.suspended_ns = edge.suspended_ns;
  } else if (const auto* epochs = std::get_if<PageEpochs>(&op)) {
    page.verified_epoch = epochs->verified;
    page.strong_epoch = epochs->strong;
  } else if (const auto* policies = std::get_if<PagePolicies>(&op)) {
    page.namespaces = policies->namespaces;
    page.rho_ppm = policies->settings.rho_ppm;
  } else if (const auto* writers = std::get_if<PageWriters>(&op)) {
    page.writers_ns = writers->writers_ns;
  } else if (auto* put = std::get_if<ArenaPut>(&op)) {
    page.arena[put->key] = put->entry;
  } else if (const auto* erase = std::get_if<ArenaErase>(&op)) {
    page.arena.erase(erase->key);
  } else if (const auto* persist = std::get_if<OutboxPersist>(&op)) {
    put_rows(edge.outbox, persist->rows);
    edge.unsynced.emplace_back(persist->number, persist->rows);
    const std::uint64_t number = persist->number;
    const bool sync = persist->sync;
    world_.in(sync ? world_.between(kMs / 5, 5 * kMs) : 1, [this, &edge, incarnation, number, sync] {
      if (edge.incarnation != incarnation) return;
      while (sync && !edge.unsynced.empty() && edge.unsynced.front().first <= number) {
        put_rows(edge.outbox_disk, edge.unsynced.front().second);
        edge.unsynced.pop_front();
      }
      post(edge, incarnation, [this, &edge, number, sync] {
        step_edge(edge, EdgeOutboxPersisted{number, sync ? AckLevel::kDisk : AckLevel::kOs});
      });
    });
  } else if (const auto* link = std::get_if<LinkOpen>(&op)) {
    edge.link = link->link;
    open_link(edge, link->link, link->hint);
  } else if (const auto* close = std::get_if<LinkClose>(&op)) {
    if (edge.link == close->link) edge.link = {};
    for (auto& [id, conn] : conns_) {
      if (!conn.open || conn.edge != edge.number || conn.edge_incarnation != incarnation || conn.link != close->link)
        continue;
      conn.open = false;
      conn.cut_to_edge = world_.now();
      conn.last_to_hub = std::max({conn.last_to_hub, world_.now() + network_delay(), reach(conn.edge, conn.hub)});
      world_.at(conn.last_to_hub,
                [this, conn_id = conn.id, hub_number = conn.hub, hub_incarnation = conn.hub_incarnation] {
                  Hub& hub = *hubs_[static_cast<std::size_t>(hub_number)];
                  post(hub, hub_incarnation, [this, &hub, conn_id] { step_hub(hub, HubDisconnected{conn_id}); });
                });
    }
  } else if (auto* send = std::get_if<LinkSend>(&op)) {
    if (const auto* through = std::get_if<WriteThrough>(&send->frame.body)) {
      through_[{edge.number, through->request.value + (incarnation << 32)}] = through->id;
      last_request_[through->id] = through->request;
    }
    for (auto& [id, conn] : conns_) {
      if (!conn.open || conn.edge != edge.number || conn.edge_incarnation != incarnation || conn.link != send->link)
        continue;
      conn.last_to_hub = std::max({conn.last_to_hub, world_.now() + network_delay(), reach(conn.edge, conn.hub)});
      world_.at(conn.last_to_hub, [this, conn_id = conn.id, frame = std::move(send->frame)] {
        const Conn& over = conns_.at(conn_id.value);
        if (world_.now() > over.cut_to_hub) return;
        Hub& hub = *hubs_[static_cast<std::size_t>(over.hub)];
        post(hub, over.hub_incarnation, [this, &hub, conn_id, frame] { step_hub(hub, HubFrameIn{conn_id, frame}); });
      });
      break;
    }
  } else if (const auto* read = std::get_if<ReadDone>(&op)) {
    on_read_done(edge, *read, decided_at);
  } else if (const auto* done = std::get_if<WriteDoneOp>(&op)) {
    on_write_done(edge, *done);
  }
  return !world_.failed();
}

void Cluster::on_read_done(Edge& edge, const ReadDone& done, Nanos decided_at) {
  const auto it = edge.reads.find(done.token.value);
  if (it == edge.reads.end()) return world_.violated("I10: a read was answered twice at " + edge.id);
  const PendingRead read = it->second;
  edge.reads.erase(it);
  if (done.code != Code::kOk && done.code != Code::kNotFound) return;
  Told told;
  told.key = read.key;
  told.found = done.code == Code::kOk;
  told.value = done.value;
  told.receipt = done.receipt;
  told.strong = read.consistency == Consistency::kStrong && !done.receipt.fallback;
  told.ended_at = decided_at;  // F6: the asker adds the time since it asked
  told.floor = read.floor;
  if (!done.receipt.fallback) told.token = read.contract.token;
  history_.check_read(told, edge.id);
}

void Cluster::on_write_done(Edge& edge, const WriteDoneOp& done) {
  const auto it = edge.writes.find(done.token.value);
  if (it == edge.writes.end()) return world_.violated("I10: a write was answered twice at " + edge.id);
  const PendingWrite write = it->second;
  edge.writes.erase(it);
  if (done.code != Code::kOk) return;
  ++report_.writes_acknowledged;
  if (write.behind) {
    // D1: `os` survives a kill, not a power cut; only what survives both is held against the end.
    if (done.level != AckLevel::kOs) history_.durable(write.key, write.stamp);
  } else {
    edge.last_acked = std::max(edge.last_acked, done.index);
  }
}

}  // namespace tidelock::sim
