// Edges of the simulated cluster: what the shell of an edge does with the core's actions, over memory that crashes.

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "codec/archive.h"
#include "sim/cluster.h"
#include "sim/describe.h"
#include "sim/models.h"

namespace tidelock::sim {
namespace {
constexpr Nanos kMs = kMillisecond;
constexpr Nanos kExpiryLag = 30 * kMs;
}  // namespace

std::optional<EdgeEntry> Cluster::SimStore::find(std::string_view key) const {
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
  edge.wake_at = edge.armed_at = kForever;
  edge.crash_after_ops = -1;
  edge.store_failed = false;
  edge.recalled.clear();
  edge.last_acked = {};
  edge.link = {};
  edge.conn = 0;
  edge.probes.clear();
  edge.marks.clear();
  EdgeOptions options;
  options.id = edge.id;
  options.site = "site";
  options.boot = Boot{world_.rng().next() | 1};
  options.writer = static_cast<std::uint64_t>(edge.number) + 1;
  options.namespaces = plan_.seed.namespaces;
  options.settings = plan_.seed.settings;
  options.joined = edge.joined;
  if (edge.page && revoke) {
    judge_.page_revoked(edge.page->number);
    edge.page->revoked = true;
    edge.page->lease_until = edge.page->fresh_at = edge.page->behind_at = kNever;
  }
  for (const LivingPage& one : pages_) {
    // F11: no session before the lease of any that was left behind has surely lapsed.
    const auto left = one.page.lock();
    if (left && !left->revoked && one.edge == edge.number)
      options.session_after = std::max(options.session_after, left->lease_until);
  }
  edge.page = std::make_shared<Page>(plan_.edge_memory_bytes);
  edge.page->namespaces = plan_.seed.namespaces;
  edge.page->rho_ppm = plan_.seed.settings.rho_ppm;
  edge.page->suspended_ns = edge.suspended_ns;
  edge.page->first_slot_version = ++boots_ << 32;
  edge.page->number = oracle::PageNo{boots_};
  pages_.push_back({edge.number, edge.page->number, edge.page});
  if (edge.unsound_since == kForever)  // C3: else nothing is promised of it
    judge_.page_opened(edge.page->number, "the page of " + edge.id, [this, &edge] { return h(edge); });
  const std::vector<std::pair<Bytes, Bytes>> rows(edge.outbox.rows().begin(), edge.outbox.rows().end());
  OutboxOptions outbox;
  outbox.answer_wait_ns = 5 * kSecond;
  if (has(Fault::kExtreme) && world_.chance(100)) outbox.records_max = 4;  // D7: it pushes back
  auto restored = Outbox::restore(outbox, rows, h(edge),
                                  static_cast<std::uint64_t>(world_.now() / kMs + edge.wall_offset_ms) + 10'000'000,
                                  Rng(world_.rng().next()));
  if (!restored) return world_.violated("D2: the outbox does not open: " + restored.error().message);
  edge.core =
      std::make_unique<EdgeCore>(options, edge.page->arena, edge.store, std::move(*restored), Rng(world_.rng().next()));
  world_.trace(10, static_cast<std::uint64_t>(edge.number));
  world_.say(edge.id, revoke ? "starts" : "starts, and cannot revoke the former page");
  post(edge, edge.incarnation, [this, &edge] { step_edge(edge, EdgeTick{}); });
  for (const StagedModel& model : edge.models) {  // its shell finds them on the disk, and verifies them anew
    post(edge, edge.incarnation, [this, &edge, model] { step_edge(edge, EdgeStagedModel{model, {}}); });
  }
}

void Cluster::crash_edge(Edge& edge, bool power) {
  world_.trace(11, static_cast<std::uint64_t>(edge.number), power);
  world_.say(edge.id, power ? "loses power" : "crashes");
  edge.up = false;
  edge.busy = false;
  ++edge.incarnation;
  edge.inbox.clear();
  edge.reads.clear();
  edge.writes.clear();
  judge_.died(edge.id);
  if (power) {
    judge_pages_of(edge, [this](oracle::PageNo page) { judge_.page_revoked(page); });
    edge.outbox.power_cut(world_.rng());
    edge.store.rows.clear();
    if (edge.page) {  // nobody on this machine runs on
      edge.page->revoked = true;
      edge.page->lease_until = edge.page->fresh_at = edge.page->behind_at = kNever;
    }
    for (const LivingPage& one : pages_) {
      const auto page = one.page.lock();
      if (page && one.edge == edge.number) page->revoked = true;
    }
  }
  edge.outbox.killed();
  cut_all(edge, false);
}

void Cluster::step_edge(Edge& edge, decltype(EdgeEvent::what) what) {
  const std::uint64_t incarnation = edge.incarnation;
  const Nanos decided_at = world_.now();
  EdgeActions actions;
  const EdgeEvent event{h(edge), std::move(what)};
  edge.core->step(event, actions);
  judge_edge_step(edge, event.what, actions);
  world_.trace(12, static_cast<std::uint64_t>(edge.number), actions.ops.size());
  for (const auto& op : actions.ops) {  // L2 first, as one batch
    if (const auto* put = std::get_if<EntryPut>(&op); put != nullptr && !put->known)
      edge.store.rows[put->key] = put->entry;
    if (const auto* erase = std::get_if<EntryErase>(&op)) edge.store.rows.erase(erase->key);
  }
  for (auto& op : actions.ops) {
    world_.maybe_pause(1'500 / plan_.edge_pauses);
    if (edge.incarnation != incarnation || world_.failed()) return;
    if (edge.crash_after_ops >= 0 && edge.crash_after_ops-- == 0) {
      crash_edge(edge, has(Fault::kPower) && world_.chance(300));
      restart_later(edge, kMs, 2 * kSecond);
      return;
    }
    if (world_.verbose()) {
      if (const std::string line = describe(op); !line.empty()) world_.say(edge.id, line);
    }
    if (!carry_out(edge, op, decided_at)) return;
  }
  judge_.sized("the arena of " + edge.id, edge.page->arena.bytes(), plan_.edge_memory_bytes);  // I11
  // Half of the edges drop what has expired soon; the others keep it until something takes its place.
  if (edge.number % 2 == 0) edge.page->arena.expire(h(edge) - kExpiryLag);
  arm(edge, actions.wake_at, [this, &edge] { step_edge(edge, EdgeTick{}); });
}

bool Cluster::carry_out(Edge& edge, EdgeActions::Op& op, Nanos decided_at) {
  Page& page = *edge.page;
  judge_page_op(edge, op);
  if (const auto* begin = std::get_if<PageBeginWrite>(&op)) {
    if ((++page.generations[begin->ns] & 1) == 0) world_.violated("F5: a write began inside another");
  } else if (const auto* end = std::get_if<PageEndWrite>(&op)) {
    if ((++page.generations[end->ns] & 1) != 0) world_.violated("F5: a write ended that had not begun");
  } else if (const auto* bump = std::get_if<PageBumpSlot>(&op)) {
    ++page.slots[bump->slot];
  } else if (const auto* opened = std::get_if<PageOpenBlock>(&op)) {
    for (const std::uint16_t slot : opened->slots) ++page.blocks[slot];
  } else if (const auto* closed = std::get_if<PageCloseBlock>(&op)) {
    for (const std::uint16_t slot : closed->slots) --page.blocks[slot];
  } else if (const auto* applied = std::get_if<PageApplied>(&op)) {
    page.applied = applied->applied;
  } else if (const auto* fresh = std::get_if<PageFresh>(&op)) {
    page.fresh_at = fresh->fresh_at;
    page.behind_at = page.writers_ns == kForever ? kNever : saturating_sub(page.fresh_at, page.writers_ns);
  } else if (const auto* lease = std::get_if<PageLease>(&op)) {
    if (watched_.contains(edge.number) && world_.now() >= watch_lapses_after_ && page.lease_until <= h(edge)) {
      world_.violated("R16: the lease of " + edge.id + " lapsed while a leader was replaced");
    }
    page.lease_until = lease->until;
  } else if (const auto* drop = std::get_if<PageDropProofs>(&op)) {
    page.lease_until = page.behind_at = page.fresh_at = kNever;
    page.proofs_from = drop->from;
    report_.clock_faults += edge.core->clock_fault() && !page.clock_fault;
    page.clock_fault = page.clock_fault || edge.core->clock_fault();
    page.suspended_ns = edge.suspended_ns;
  } else if (const auto* epochs = std::get_if<PageEpochs>(&op)) {
    page.verified_epoch = epochs->verified;
    page.strong_epoch = epochs->strong;
  } else if (const auto* policies = std::get_if<PagePolicies>(&op)) {
    page.namespaces = policies->namespaces;
    page.rho_ppm = policies->settings.rho_ppm;
    edge.joined = true;
  } else if (const auto* writers = std::get_if<PageWriters>(&op)) {
    page.writers_ns = writers->writers_ns;
  } else if (auto* put = std::get_if<EntryPut>(&op)) {
    page.arena.put(put->key, std::move(put->entry));
  } else if (const auto* erase = std::get_if<EntryErase>(&op)) {
    page.arena.erase(erase->key);
  } else if (auto* rows = std::get_if<OutboxPersist>(&op)) {
    persist(edge, *rows);
  } else if (const auto* link = std::get_if<LinkOpen>(&op)) {
    open_link(edge, link->link, link->hint);
  } else if (const auto* close = std::get_if<LinkClose>(&op)) {
    close_link(edge, close->link);
  } else if (auto* send = std::get_if<LinkSend>(&op)) {
    send_to_hub(edge, send->link, std::move(send->frame));
  } else if (std::holds_alternative<SessionOpened>(op)) {
    ask_what_is_staged(edge);
  } else if (const auto* changed = std::get_if<StrongChanged>(&op)) {
    stage_later(edge, *changed);
  } else if (const auto* recalled = std::get_if<VersionsRecalled>(&op)) {
    told_of_recalls(edge, *recalled);
  } else if (const auto* read = std::get_if<ReadDone>(&op)) {
    judge_read_done(edge, *read, decided_at);
  } else if (const auto* done = std::get_if<WriteDoneOp>(&op)) {
    judge_write_done(edge, *done);
  }
  return !world_.failed();
}

void Cluster::persist(Edge& edge, OutboxPersist& op) {
  const std::uint64_t incarnation = edge.incarnation;
  if (edge.store_failed) return;  // D3: for good; what came behind the commit that failed is not there
  if (faults_ && world_.now() < edge.disk_fails_until) {  // a batch is whole or not there; which, nobody is told
    edge.store_failed = true;
    if (world_.chance(300)) edge.outbox.write(op.number, std::move(op.rows));
    world_.say(edge.id, "its disk is full: the outbox stops, and the process ends soon");
    post(edge, incarnation, [this, &edge] { step_edge(edge, EdgeOutboxFailed{"no space left on device"}); });
    world_.in(world_.between(10 * kMs, 2 * kSecond), [this, &edge, incarnation] {
      if (edge.incarnation != incarnation) return;
      crash_edge(edge, false);
      restart_later(edge, kMs, 2 * kSecond);
    });
    return;
  }
  edge.outbox.write(op.number, std::move(op.rows));
  world_.in(op.sync ? world_.between(kMs / 5, plan_.sync_most) : 1,
            [this, &edge, incarnation, number = op.number, sync = op.sync] {
              if (edge.incarnation != incarnation) return;
              if (sync) edge.outbox.sync(number);
              post(edge, incarnation, [this, &edge, number, sync] {
                step_edge(edge, EdgeOutboxPersisted{number, sync ? AckLevel::kDisk : AckLevel::kOs});
              });
            });
}

// A shell asks each hub that it comes to: the record may have been among those that it was not replayed.
void Cluster::ask_what_is_staged(Edge& edge) {
  const int hub = active_hub();
  if (hub < 0) return;
  const std::string key = model_staged_key(kModelName);
  const auto stored = hub_of(hub).core->state().find(key);
  if (stored) stage_later(edge, StrongChanged{key, stored->value, stored->version});
}

// M3, M4: the bytes come after a while, and are verified, or fail to be.
void Cluster::stage_later(Edge& edge, const StrongChanged& changed) {
  if (changed.key != model_staged_key(kModelName) || !changed.value) return;
  const auto pointer = decode<ModelPointer>(*changed.value, "model pointer");
  if (!pointer) return world_.violated("M3: the staged pointer does not parse");
  const StagedModel model{kModelName, pointer->version};
  const bool known = std::any_of(edge.models.begin(), edge.models.end(),
                                 [&](const StagedModel& one) { return one.version == model.version; });
  if (known || edge.recalled.contains(model.version)) return;
  const Nanos takes = world_.between(10 * kMs, faults_ ? 800 * kMs : 50 * kMs);
  const bool bad = faults_ && world_.chance(50);
  world_.in(takes, [this, &edge, model, bad, incarnation = edge.incarnation] {
    if (edge.incarnation != incarnation) return;
    if (edge.recalled.contains(model.version)) return;
    if (!bad) edge.models.push_back(model);
    post(edge, incarnation,
         [this, &edge, model, bad] { step_edge(edge, EdgeStagedModel{model, bad ? "golden output 0 differs" : ""}); });
  });
}

// C3: two marks of one hub boot bound the relative rate. Once they lie so far apart that the error of this clock shows
// against both round trips and what sound clocks may differ by, the edge must have found it.
void Cluster::watch_clock(Edge& edge, const HubFrame& frame) {
  if (const auto* welcome = std::get_if<Welcome>(&frame.body);
      welcome != nullptr && welcome->hub_boot != edge.marks_of) {
    edge.marks.clear();  // also of a hub whose clock jumped meanwhile
    edge.marks_of = welcome->hub_boot;
  }
  const auto* mark = std::get_if<Mark>(&frame.body);
  if (mark == nullptr || !mark->proof || edge.conn == 0) return;
  const auto probe = edge.probes.find(mark->nonce);
  if (probe == edge.probes.end() || probe->second < edge.unsound_since) return;
  const Nanos sent = probe->second, received = world_.now();
  edge.probes.erase(probe);
  edge.marks.emplace_back(sent, received);
  const auto rho = static_cast<Nanos>(plan_.seed.settings.rho_ppm);
  const Nanos error_ppm = std::abs(edge.clock.ppm()) - 4 * rho;
  if (edge.core->clock_fault()) return;
  for (const auto& [first_sent, first_received] : edge.marks) {
    const Nanos apart = sent - first_received;
    // The guard keeps marks of some ages only (ClockGuard::Level), the youngest a quarter of a second apart: of closer
    // ones it may have kept neither, and of the others it has one within a third, which may have travelled longer.
    if (apart < kSecond) continue;
    const Nanos shown_by = apart / 3 / 1'000'000 * error_ppm - 3 * kMs;
    if (shown_by <= (received - sent) + (first_received - first_sent)) continue;
    Nanos longest = 0;
    for (const auto& [one_sent, one_received] : edge.marks) {
      if (one_sent >= first_sent - apart / 3) longest = std::max(longest, one_received - one_sent);
    }
    if (shown_by > 2 * longest) {
      return world_.violated("C3: the clock of " + edge.id + " runs " + std::to_string(edge.clock.ppm()) +
                             " ppm wrong, and two marks " + std::to_string(apart) + " ns apart did not show it");
    }
  }
}

}  // namespace tidelock::sim
