// Everything that the cluster tells its judge, and what it asks of the cores at the end. The judge sees the recorded
// history alone; what is looked up here in a node is what that node told somebody.

#include <algorithm>
#include <utility>

#include "codec/archive.h"
#include "sim/cluster.h"
#include "sim/models.h"
#include "sim/translate.h"

namespace tidelock::sim {

// ---- writes

void Cluster::judge_sent(const Conn& conn, const HubFrame& frame) {
  if (const auto* done = std::get_if<WriteDone>(&frame.body)) {
    const auto id = through_.find({conn.edge, done->request.value + (conn.edge_incarnation << 32)});
    if (id == through_.end()) return;
    if (done->code == Code::kOk) judge_.acknowledged(id->second, done->index);
    if (done->code == Code::kConflict) judge_.refused(id->second);
  } else if (const auto* batch = std::get_if<BatchDone>(&frame.body)) {
    const NodeId& edge = edge_of(conn.edge).id;
    if (batch->code == Code::kOk) judge_.acknowledged_batch(edge, batch->incarnation, batch->number, batch->superseded);
    if (batch->code == Code::kInvalid) judge_.batch_refused(edge, batch->incarnation, batch->number);
  } else if (const auto* block = std::get_if<Block>(&frame.body)) {
    judge_.block_announced(block->term, block->number, block->keys);
  } else if (const auto* mark = std::get_if<Mark>(&frame.body); mark != nullptr && mark->lease_ns > 0) {
    judge_.lease_sent(edge_of(conn.edge).id, mark->index, mark->lease_ns);
  }
}

void Cluster::judge_answered(AskToken token, const AdminAnswer& answer) {
  const Asked& asked = asked_.at(token.value);
  if (asked.write && answer.code == Code::kOk && answer.index.value != 0) judge_.acknowledged(answer.index);
}

void Cluster::judge_client_void(const Client& client) {
  // When it was sent to several hubs, one of them may still hold it.
  if (client.sends == 1 && !client.reading) judge_.declared_void(client.request->id);
}

void Cluster::judge_edge_sent(Edge& edge, const EdgeFrame& frame) {
  if (const auto* through = std::get_if<WriteThrough>(&frame.body)) {
    through_[{edge.number, through->request.value + (edge.incarnation << 32)}] = through->id;
    last_request_[through->id] = through->request;
  } else if (const auto* ack = std::get_if<BlockAck>(&frame.body)) {
    judge_.block_acknowledged(edge.page->number, ack->term, ack->number);
  } else if (const auto* batch = std::get_if<WriteBatch>(&frame.body)) {
    const auto stamps = stamps_of(*batch);
    if (!stamps) return world_.violated("D5: " + edge.id + " sends a batch that does not parse");
    judge_.batch_sent(edge.id, batch->incarnation, batch->number, *stamps);
  }
}

// A frame of the current link that the edge took: behind a hole in the numbers it hears nothing, and ends the session.
bool Cluster::took(const Edge& edge, const EdgeFrameIn& in, const EdgeActions& actions) const {
  return in.link == edge.link && std::none_of(actions.ops.begin(), actions.ops.end(),
                                              [](const auto& op) { return std::holds_alternative<LinkClose>(op); });
}

// A write that an active hub gave up goes on under another id.
void Cluster::judge_void(const Edge& edge, const HubFrame& frame) {
  const auto* done = std::get_if<WriteDone>(&frame.body);
  if (done == nullptr || done->code != Code::kUnavailable) return;
  const auto id = through_.find({edge.number, done->request.value + (edge.incarnation << 32)});
  if (id != through_.end() && last_request_.at(id->second) == done->request) judge_.declared_void(id->second);
}

void Cluster::judge_edge_step(Edge& edge, const decltype(EdgeEvent::what)& what, const EdgeActions& actions) {
  const bool unsound = edge.unsound_since != kForever;
  if (edge.core->clock_fault() && !unsound) world_.violated("C3: " + edge.id + " calls sound clocks a fault");
  if (const auto* in = std::get_if<EdgeFrameIn>(&what); in != nullptr && took(edge, *in, actions)) {
    judge_void(edge, in->frame);
    if (unsound) watch_clock(edge, in->frame);
  }
  if (std::holds_alternative<EdgeDisrupted>(what)) {  // C2: the marks before it bound nothing any more
    edge.probes.clear();
    edge.marks.clear();
  }
  for (const auto& op : actions.ops) {  // the core counts from here, however late it is sent
    const auto* send = std::get_if<LinkSend>(&op);
    const auto* probe = send == nullptr ? nullptr : std::get_if<Probe>(&send->frame.body);
    if (probe != nullptr && unsound) edge.probes[probe->nonce] = world_.now();
  }
  if (const auto* in = std::get_if<EdgeFrameIn>(&what)) {  // what every registered edge has passed, it goes on from
    const auto* welcome = std::get_if<Welcome>(&in->frame.body);
    if (welcome != nullptr) edge.wall_most_ms = std::max(edge.wall_most_ms, welcome->newest_stamp.wall_ms);
  }
  for (const auto& op : actions.ops) {
    if (const auto* opened = std::get_if<SessionOpened>(&op))
      judge_.session_opened(edge.id, edge.incarnation, opened->term);
  }
  const auto* write = std::get_if<EdgeWrite>(&what);
  if (write == nullptr) return;
  const auto pending = edge.writes.find(write->token.value);
  edge.wall_most_ms = std::max(edge.wall_most_ms, write->wall_ms);
  for (const auto& op : actions.ops) {
    const auto* persist = std::get_if<OutboxPersist>(&op);
    if (persist != nullptr && pending != edge.writes.end()) pending->second.persisted_with = persist->number;
  }
  for (const auto& op : actions.ops) {  // the stamp under which it will be sequenced
    const auto* put = std::get_if<EntryPut>(&op);
    if (put == nullptr || put->known || !put->entry.local || put->key != write->write.key) continue;
    if (put->entry.value != write->write.value) continue;  // an older own write, from L2
    if (put->entry.stamp.wall_ms > edge.wall_most_ms + 500)
      world_.violated("G8: " + edge.id + " learnt its time from a stamp that is too far ahead");
    if (pending != edge.writes.end()) pending->second.stamp = put->entry.stamp;
    judge_.written_behind(edge.id, put->key, put->entry.value, fact(put->entry.stamp), write->write.ttl_ns);
  }
}

void Cluster::judge_write_done(Edge& edge, const WriteDoneOp& done) {
  judge_.answered(edge.id, edge.incarnation, done.token.value);
  const auto it = edge.writes.find(done.token.value);
  if (it == edge.writes.end()) return;
  const PendingWrite write = it->second;
  edge.writes.erase(it);
  if (done.code != Code::kOk) return;
  ++report_.writes;
  if (write.behind) {
    // D1: `os` survives a kill, not a power cut; only what survives both is held against the end.
    if (done.level != AckLevel::kOs) judge_.durable(write.key, fact(write.stamp));
    if (done.level == AckLevel::kOrigin) judge_.sequenced(write.key, fact(write.stamp));
    const std::uint64_t unsynced = edge.outbox.oldest_unsynced();
    if (done.level == AckLevel::kDisk && unsynced != 0 && unsynced <= write.persisted_with)
      world_.violated("D1: " + edge.id + " calls a write of '" + write.key + "' durable that is not synced");
  } else {
    edge.last_acked = std::max(edge.last_acked, done.index);
  }
}

// ---- reads

// C3: what a gateway says whose clock runs wrong is outside of the promise until two marks can show it; how often that
// happens is counted.
void Cluster::judge_told(const Edge& edge, const oracle::Told& told) {
  if (told.strong) ++report_.strong_reads;
  if (edge.unsound_since == kForever) return judge_.read(told);
  ++report_.broken_clock_answers;
  // The core decides and answers in one step, so what it says now it says with the fault known.
  if (told.where == edge.id && edge.core->clock_fault() && (told.strong || told.bound_ns != kForever)) {
    world_.violated("C3: " + edge.id + " knows that its clock runs wrong, and gives a proof of '" + told.key + "'");
  }
}

void Cluster::judge_read_done(Edge& edge, const ReadDone& done, Nanos decided_at) {
  judge_.answered(edge.id, edge.incarnation, done.token.value);
  const auto it = edge.reads.find(done.token.value);
  if (it == edge.reads.end()) return;
  const PendingRead read = it->second;
  edge.reads.erase(it);
  // What needs no step is what a step would have answered at this instant, with its value and without a flag.
  if (read.hit && (done.value != read.hit->value || done.receipt.version != read.hit->version ||
                   done.receipt.fallback || (done.code != Code::kOk && done.code != Code::kNotFound))) {
    world_.violated("F3: memory of " + edge.id + " answers '" + read.key + "' other than a step at the same instant");
  }
  if (done.code != Code::kOk && done.code != Code::kNotFound) return;
  oracle::Told told = told_of(edge.id, read.key, done.code == Code::kOk, done.value, done.receipt);
  told.strong = read.consistency == Consistency::kStrong && !done.receipt.fallback;
  if (read.consistency == Consistency::kBounded && !done.receipt.fallback)
    told.bound_asked_ns = resolve(read.contract, read_policy(namespace_of(plan_.seed.namespaces, read.key))).bound_ns;
  told.looked_at = told.ended_at = decided_at;  // F6: the asker adds the time since it asked
  told.floor = read.floor;
  if (!done.receipt.fallback) told.token = read.contract.token;
  if (done.receipt.basis == Basis::kLease) {
    told.page = edge.page->number;
    told.tested_at = world_.now();  // what its page shows now is what the core decided by
  }
  judge_told(edge, told);
}

void Cluster::judge_hub_answer(const Client& client, const AdminAnswer& answer, Nanos decided_at) {
  Receipt receipt;
  receipt.version = answer.index;
  receipt.basis = Basis::kProof;
  oracle::Told told = told_of("hub", client.key, answer.code == Code::kOk, answer.value, receipt);
  told.strong = true;
  told.looked_at = decided_at;
  told.ended_at = world_.now();
  told.floor = client.floor;
  ++report_.strong_reads;
  judge_.read(told);
}

// S4: there is an index at which each value of the snapshot was the newest.
void Cluster::judge_snapshot(const std::string& where, const std::vector<std::string>& names,
                             const std::vector<Index>& floors, const std::vector<ReadOutcome>& outcomes) {
  std::vector<oracle::Member> members;
  for (std::size_t i = 0; i < names.size(); ++i)
    members.push_back({names[i], !outcomes[i].negative, outcomes[i].receipt.version, floors[i]});
  report_.strong_reads += members.size();
  judge_.snapshot(where, members);
}

// ---- pages

void Cluster::judge_pages_of(const Edge& edge, const std::function<void(oracle::PageNo)>& tell) {
  for (const LivingPage& one : pages_) {
    if (one.edge == edge.number) tell(one.number);
  }
}

void Cluster::judge_page_op(const Edge& edge, const EdgeActions::Op& op) {
  const oracle::PageNo page = edge.page->number;
  if (const auto* opened = std::get_if<PageOpenBlock>(&op)) judge_.page_blocked(page, opened->slots);
  if (const auto* closed = std::get_if<PageCloseBlock>(&op)) judge_.page_unblocked(page, closed->slots);
  if (const auto* applied = std::get_if<PageApplied>(&op)) judge_.page_applied(page, applied->applied);
  if (const auto* fresh = std::get_if<PageFresh>(&op)) judge_.page_fresh(page, fresh->fresh_at);
  if (const auto* lease = std::get_if<PageLease>(&op)) judge_.page_lease(page, lease->until);
  if (std::holds_alternative<PageDropProofs>(op)) judge_.page_dropped_proofs(page);
  if (const auto* pointer = std::get_if<StrongChanged>(&op)) judge_.activated(page, pointer->key, pointer->version);
}

// ---- always

bool Cluster::judge_commit(Index index, const Bytes& command) {
  std::erase_if(pages_, [this](const LivingPage& one) {
    if (one.page.expired()) judge_.page_gone(one.number);
    return one.page.expired();
  });
  const auto entry = entry_of(command);
  const oracle::Effect effect = judge_.committed(index, entry ? &*entry : nullptr);
  const std::string current = model_current_key(kModelName);
  for (const std::string& key : effect.changed) {
    if (key == current) judge_activation(index);
  }
  judge_rollout(index, effect.changed);
  if (plan_.recalls) judge_recalls(index);
  return effect.effective;
}

// M4, M5: what is put in force was verified by some edge.
void Cluster::judge_activation(Index index) {
  const oracle::Version& newest = judge_.ledger().versions(model_current_key(kModelName)).back();
  if (!newest.value) return;  // M7: recalled, and nothing took its place
  std::string activated;
  if (const auto pointer = decode<ModelPointer>(*newest.value, "model pointer")) activated = pointer->version;
  const bool verified = std::any_of(edges_.begin(), edges_.end(), [&](const auto& edge) {
    return std::any_of(edge->models.begin(), edge->models.end(),
                       [&](const StagedModel& model) { return model.version == activated; });
  });
  if (!verified) world_.violated("M5: index " + std::to_string(index.value) + " activates what no edge has verified");
}

void Cluster::judge_end() {
  std::vector<oracle::HubAtRest> hubs;
  for (const auto& hub : hubs_) {
    const StateMachine& state = hub->core->state();
    hubs.push_back({hub->id, hub->core->active(), state.applied(), hub->core->open_blocks()});
    for (const auto& [key, versions] : judge_.ledger().keys()) {
      const auto held = state.find(key);
      judge_.holds(hub->id, state.applied(), key, held ? held->value : std::nullopt, held ? held->version : Index{});
    }
  }
  std::vector<oracle::EdgeAtRest> edges;
  for (const auto& edge : edges_) {
    const EdgeCore& core = *edge->core;
    const bool lease = core.lease_until() > core.fresh_at();
    edges.push_back(
        {edge->id, core.session_open(), lease, core.applied(), core.open_blocks(), core.outbox().counters().pending});
  }
  judge_.at_rest(goal_, hubs, edges);
}

}  // namespace tidelock::sim
