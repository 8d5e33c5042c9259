// Everything that the cluster tells its judge, and what it asks of the cores at the end. The judge sees the recorded
// history alone; what is looked up here in a node is what that node told somebody.

#include <algorithm>
#include <utility>

#include "sim/cluster.h"

namespace tidelock::sim {

// ---- writes

void Cluster::judge_sent(int edge, const HubFrame& frame) {
  if (const auto* done = std::get_if<WriteDone>(&frame.body)) {
    if (done->code == Code::kOk) history_.acknowledged(done->index);
  } else if (const auto* batch = std::get_if<BatchDone>(&frame.body)) {
    if (batch->code == Code::kOk) history_.acknowledged_batch(edge_of(edge).id, batch->incarnation, batch->number);
  }
}

void Cluster::judge_answered(AskToken token, const AdminAnswer& answer) {
  if (asked_.at(token.value).write && answer.code == Code::kOk) history_.acknowledged(answer.index);
}

void Cluster::judge_client_void(const Client& client) {
  // When it was sent to several hubs, one of them may still hold it.
  if (client.sends == 1 && !client.reading) history_.declared_void(client.request->id);
}

void Cluster::judge_edge_sent(Edge& edge, const EdgeFrame& frame) {
  if (const auto* through = std::get_if<WriteThrough>(&frame.body)) {
    through_[{edge.number, through->request.value + (edge.incarnation << 32)}] = through->id;
    last_request_[through->id] = through->request;
  } else if (const auto* probe = std::get_if<Probe>(&frame.body); probe != nullptr && edge.unsound_since != kForever) {
    edge.probes[probe->nonce] = world_.now();
  }
}

// A write that an active hub gave up goes on under another id.
void Cluster::judge_edge_event(Edge& edge, const decltype(EdgeEvent::what)& what) {
  const auto* in = std::get_if<EdgeFrameIn>(&what);
  if (in == nullptr || in->link != edge.link) return;
  const auto* done = std::get_if<WriteDone>(&in->frame.body);
  if (done == nullptr || done->code != Code::kUnavailable) return;
  const auto id = through_.find({edge.number, done->request.value + (edge.incarnation << 32)});
  if (id != through_.end() && last_request_.at(id->second) == done->request) history_.declared_void(id->second);
}

void Cluster::judge_edge_step(Edge& edge, const decltype(EdgeEvent::what)& what, const EdgeActions& actions,
                              Nanos fresh_before, Index applied_before) {
  const bool unsound = edge.unsound_since != kForever;
  const bool went_back = edge.core->fresh_at() < fresh_before || edge.core->applied() < applied_before;
  if (went_back && !std::holds_alternative<EdgeDisrupted>(what) && !edge.core->clock_fault()) {
    world_.violated("I4: fresh_at or applied of " + edge.id + " went back");
  }
  if (edge.core->clock_fault() && !unsound) world_.violated("C3: " + edge.id + " calls sound clocks a fault");
  if (const auto* in = std::get_if<EdgeFrameIn>(&what); in != nullptr && unsound) watch_clock(edge, *in);
  const auto* write = std::get_if<EdgeWrite>(&what);
  if (write == nullptr) return;
  for (const auto& op : actions.ops) {  // the stamp under which it will be sequenced
    const auto* put = std::get_if<ArenaPut>(&op);
    if (put == nullptr || !put->entry.local || put->key != write->write.key) continue;
    const auto it = edge.writes.find(write->token.value);
    if (it != edge.writes.end()) it->second.stamp = put->entry.stamp;
    history_.written_behind(put->key, put->entry.value, put->entry.stamp);
  }
}

void Cluster::judge_write_done(Edge& edge, const WriteDoneOp& done) {
  const auto it = edge.writes.find(done.token.value);
  if (it == edge.writes.end()) return world_.violated("I10: a write was answered twice at " + edge.id);
  const PendingWrite write = it->second;
  edge.writes.erase(it);
  if (done.code != Code::kOk) return;
  ++report_.writes;
  if (write.behind) {
    // D1: `os` survives a kill, not a power cut; only what survives both is held against the end.
    if (done.level != AckLevel::kOs) history_.durable(write.key, write.stamp);
  } else {
    edge.last_acked = std::max(edge.last_acked, done.index);
  }
}

// ---- reads

// C3: what a gateway says whose clock runs wrong is outside of the promise until two marks can show it; how often that
// happens is counted.
void Cluster::judge_told(const Edge& edge, Told told, const std::string& where) {
  if (told.strong) ++report_.strong_reads;
  if (edge.unsound_since == kForever) return history_.check_read(told, where);
  ++report_.broken_clock_answers;
  // The core decides and answers in one step, so what it says now it says with the fault known.
  if (where == edge.id && edge.core->clock_fault() && (told.strong || told.receipt.bound_ns != kForever)) {
    world_.violated("C3: " + edge.id + " knows that its clock runs wrong, and gives a proof of '" + told.key + "'");
  }
}

void Cluster::judge_read_done(Edge& edge, const ReadDone& done, Nanos decided_at) {
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
  judge_told(edge, std::move(told), edge.id);
}

void Cluster::judge_hub_answer(const Client& client, const AdminAnswer& answer) {
  Told told;
  told.key = client.key;
  told.found = answer.code == Code::kOk;
  told.value = answer.value;
  told.receipt.version = answer.index;
  told.receipt.basis = Basis::kProof;
  told.strong = true;
  told.ended_at = world_.now();
  told.floor = client.floor;
  ++report_.strong_reads;
  history_.check_read(told, "hub");
}

// S4: there is an index at which each value of the snapshot was the newest.
void Cluster::judge_snapshot(const std::vector<std::string>& names, const std::vector<Index>& floors,
                             const std::vector<ReadOutcome>& outcomes, const std::vector<PageValues>& values) {
  Index low, high{~0ull};
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (outcomes[i].negative) return;
    Index from, to{~0ull};
    for (const Version& version : history_.versions(names[i])) {
      if (version.index == outcomes[i].receipt.version && from.value == 0) from = version.index;
      if (version.index > outcomes[i].receipt.version && to.value == ~0ull) to = version.index;
    }
    low = std::max(low, from);
    high = std::min(high, to);
    Told told{names[i], true, values[i].value, outcomes[i].receipt, true, world_.now(), floors[i], {}};
    told.receipt.bound_ns = kForever;  // U of a snapshot speaks of its index
    ++report_.strong_reads;
    history_.check_read(told, "snapshot");
  }
  if (low >= high) world_.violated("S4: a snapshot mixes indexes");
}

// ---- always

// I3: at the linearization of each strong write no page has a live lease with a key of it unblocked.
void Cluster::judge_lease(const Applied& applied) {
  if (!applied.effective) return;
  std::erase_if(pages_, [](const auto& entry) { return entry.second.expired(); });
  for (const ChangedValue& change : applied.changed) {
    if (namespace_of(plan_.seed.namespaces, change.key).consistency != Consistency::kStrong) continue;
    const std::uint16_t slot = slot_of(change.key);
    for (const auto& [number, weak] : pages_) {
      const auto page = weak.lock();
      if (!page || page->revoked) continue;
      const Edge& edge = edge_of(number);
      if (h(edge) >= page->lease_until || edge.suspended_ns != page->suspended_ns) continue;
      if (slot_blocks(page->slot_word(slot)) != 0 || edge.unsound_since != kForever) continue;
      world_.violated("I3: index " + std::to_string(applied.index.value) + " writes '" + change.key +
                      "' while a page of " + edge.id + " has a lease for another " +
                      std::to_string(page->lease_until - h(edge)) + " ns and no block");
    }
  }
}

void Cluster::judge_end() {  // I7, I8
  history_.check_end();
  for (const auto& edge : edges_) {
    if (edge->core->applied() > ledger_->last())
      world_.violated("I4: " + edge->id + " has applied what does not exist");
  }
}

}  // namespace tidelock::sim
