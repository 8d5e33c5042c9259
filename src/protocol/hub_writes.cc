// Writes: when the active hub may append (A4), and how a strong write waits for every reader before it does (S1-S3).

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/mutant.h"
#include "codec/archive.h"
#include "codec/compress.h"
#include "protocol/hub_core.h"

namespace tidelock {
namespace {
constexpr std::size_t kBatchBytesMax = 1u << 20;  // DESIGN 5: a batch entry is at most 1 MiB
constexpr Nanos kRecallAgainAfter = 100 * kMillisecond;
}  // namespace

bool HubCore::is_strong(std::string_view key) const {
  return namespace_of(state_.namespaces(), key).consistency == Consistency::kStrong;
}

Nanos HubCore::short_wait_until() const {  // A4
  const ClusterSettings& settings = state_.settings();
  if (TIDELOCK_MUTANT(kNoWindowWait)) return claimed_at_;
  return saturating_add(claimed_at_, stretch(settings.authority_window_ns, settings.rho_ppm));
}

Nanos HubCore::strong_wait_until() const {  // A4
  const ClusterSettings& settings = state_.settings();
  if (TIDELOCK_MUTANT(kNoLeaseWait)) return claimed_at_;
  const Nanos window = TIDELOCK_MUTANT(kLeaseWaitWithoutWindow) ? 0 : settings.authority_window_ns;
  return saturating_add(claimed_at_, stretch(window + lease_at_claim_ns_, settings.rho_ppm));
}

// A3, for keys of every namespace: a strong read of a bounded key is answered here as well.
bool HubCore::own_write_in_flight(const std::string& key, std::uint64_t appends) const {
  const auto it = in_flight_.find(key);
  return it != in_flight_.end() && *it->second.begin() <= appends && !TIDELOCK_MUTANT(kOwnWriteIgnored);
}

void HubCore::forget_op(CommandId id) {
  const auto it = ops_.find(id);
  if (it == ops_.end()) return;
  for (const std::string& key : it->second.keys) {
    const auto numbers = in_flight_.find(key);
    if (numbers == in_flight_.end()) continue;
    numbers->second.erase(it->second.append_number);
    if (numbers->second.empty()) in_flight_.erase(numbers);
  }
  const auto* removal = std::get_if<RemoveEdge>(&it->second.body);
  const NodeId removed = removal == nullptr ? NodeId{} : removal->edge;
  ops_.erase(it);
  if (removal == nullptr) return;
  const bool another = std::any_of(ops_.begin(), ops_.end(), [&](const auto& entry) {
    const auto* same = std::get_if<RemoveEdge>(&entry.second.body);
    return same != nullptr && same->edge == removed;
  });
  if (!another) removing_.erase(removed);  // A6: done, or given up: leases are granted again
}

void HubCore::start_write(Op op) {
  TIDELOCK_ASSERT(active_);
  // A1: found applied before, by id; S1: its block closed with it. Not before the deposed hub's authority has ended
  // (A4): it may not have applied that entry yet and still tell edges that nothing newer exists (I2).
  if (const auto outcome = state_.outcome(op.id);
      outcome && (now_ >= short_wait_until() || TIDELOCK_MUTANT(kRetryAnsweredEarly))) {
    const bool conflict = outcome->second == Code::kConflict;
    finish(op, outcome->second, conflict ? "the condition did not hold" : "", outcome->first);
    return;
  }
  if (const auto it = ops_.find(op.id);
      it != ops_.end()) {  // a retry of a write that is on its way: answer the newest asker
    if (op.asked) it->second.asked = op.asked;
    if (op.edge_request) it->second.edge_request = op.edge_request;
    return;
  }
  if (ops_.size() >= options_.ops_max) {
    finish(op, Code::kBusy, "too many writes are waiting at this hub", {});
    return;
  }
  if (auto* put = std::get_if<Put>(&op.body)) {
    if (state_.ledger_version() < kLedgerVersionStays &&
        std::any_of(put->writes.begin(), put->writes.end(), only_asks)) {
      write_anew(*put);
      if (const auto ok = check_write_extent(put->writes); !ok) {
        finish(op, Code::kInvalid, ok.error().message, {});
        return;
      }
    }
    for (const KeyWrite& write : put->writes)  // S4: strong as a whole
      op.strong = op.strong || (is_strong(write.key) && !only_asks(write));
  }
  if (const auto* removal = std::get_if<RemoveEdge>(&op.body)) removing_.insert(removal->edge);
  const CommandId id = op.id;
  ops_.emplace(id, std::move(op));
  queue_.push_back(id);
}

// For a ledger that hubs of yesterday read: a key that is only asked for is written with the value that it has. (If it
// changes before that is applied, the condition refuses the whole.)
void HubCore::write_anew(Put& put) const {
  for (KeyWrite& write : put.writes) {
    if (!only_asks(write)) continue;
    write.condition = Condition::kVersionIs;
    if (const auto held = state_.find(write.key)) write.value = held->value;
    write.keep_ttl = write.value.has_value();
  }
}

void HubCore::open_block(Op& op) {  // S1
  op.block = last_block_ = BlockNo{last_block_.value + 1};
  op.state = Op::State::kBlocking;
  OpenBlock block;
  block.op = op.id;
  for (const KeyWrite& write : std::get<Put>(op.body).writes) {
    if (!only_asks(write)) block.keys.push_back(write.key);
  }
  for (auto& [conn, session] : sessions_) {
    if (session.open) send(session, Block{term_, op.block, block.keys});
  }
  std::get<Put>(op.body).block = op.block;
  blocks_.emplace(op.block, std::move(block));
}

void HubCore::close_block(BlockNo number, bool tell_edges) {
  if (blocks_.erase(number) == 0) return;
  for (auto& [conn, session] : sessions_) {
    session.acked.erase(number);
    if (tell_edges && session.open && !TIDELOCK_MUTANT(kUnblockNotTold)) send(session, Unblock{term_, number});
  }
}

void HubCore::on_block_ack(Session& session, const BlockAck& ack) {
  const auto it = blocks_.find(ack.number);
  if (ack.term != term_ || it == blocks_.end()) return;  // S3: (edge, boot, term, number), of an open block only
  session.acked.insert(ack.number);
  it->second.acked[session.edge] = session.boot;
}

bool HubCore::block_satisfied(const OpenBlock& block) const {
  // S3, and the exception of A4: the block was sent after the short wait (advance_ops opens none before it), so once
  // every registered edge has acknowledged it, no page can serve the old value, whatever the deposed hub granted.
  if (now_ < strong_wait_until() && !TIDELOCK_MUTANT(kExceptionByLeaseholders)) {
    return std::all_of(state_.edges().begin(), state_.edges().end(),
                       [&](const auto& edge) { return block.acked.contains(edge.first); });
  }
  return std::none_of(leases_.begin(), leases_.end(),
                      [&](const auto& lease) { return lease_holds(block, lease.first, lease.second); });
}

// S3: whether the lease of that edge, which ends then, stands in the way of the write.
bool HubCore::lease_holds(const OpenBlock& block, const NodeId& edge, Nanos ends) const {
  if (TIDELOCK_MUTANT(kCertificateForgetsSilent) && !by_edge_.contains(edge)) {
    if (const auto op = ops_.find(block.op); op != ops_.end() && op->second.certifies) return false;
  }
  return ends > now_ && !block.acked.contains(edge);
}

// The instant at which a message left its edge, or an earlier one: its answer to our clock had to travel first (C5).
// Not before the session was open, whatever a message says.
Nanos HubCore::sent_at(const Session& session, const SentAt& sent) const {
  const Nanos left = saturating_add(sent.hub_h, shrink(sent.since_ns, state_.settings().rho_ppm));
  return std::clamp(left, session.opened_at, now_);
}

void HubCore::append_op(Op& op) {
  op.state = Op::State::kAppended;
  // A time to live counts from acceptance at the writing node: the way here and every wait at this hub are part of it.
  const Nanos waited = stretch(saturating_sub(now_, op.began), state_.settings().rho_ppm);
  const auto age = [waited](auto& written) {
    if (written.ttl_ns > 0) written.ttl_ns = std::max<Nanos>(1, written.ttl_ns - waited);
  };
  op.append_number = ++appends_;
  if (auto* put = std::get_if<Put>(&op.body)) {
    for (KeyWrite& write : put->writes) {
      if (!only_asks(write)) age(write), op.keys.push_back(write.key);
    }
  } else if (auto* batch = std::get_if<Batch>(&op.body)) {
    for (BatchRecord& record : batch->records) age(record), op.keys.push_back(record.key);
  }
  for (const std::string& key : op.keys) in_flight_[key].insert(op.append_number);
  if (TIDELOCK_MUTANT(kBlockReleasedAtAppend)) close_block(op.block, false);
  if (auto* put = std::get_if<Put>(&op.body)) {
    if (op.certifies) {  // M7
      complete(*op.certifies, op);
      append(op.id, CertifyRecall{*put, *op.certifies});
    } else {
      append(op.id, *put);
    }
  } else if (const auto* recall = std::get_if<RecallVersion>(&op.body)) {
    append(op.id, *recall);
  } else if (auto* batch = std::get_if<Batch>(&op.body)) {
    append(op.id, *batch);
    batch->records = {};  // edge and number stay to recognise a repeat
  } else {
    append(op.id, std::get<RemoveEdge>(op.body));
  }
}

void HubCore::advance_ops() {
  if (queue_.empty()) return;
  std::deque<CommandId> waiting;
  for (const CommandId& id : queue_) {
    const auto it = ops_.find(id);
    if (it == ops_.end()) continue;
    Op& op = it->second;
    bool ready = now_ >= short_wait_until();  // A4
    if (ready && op.state == Op::State::kQueued) {
      if (const auto outcome = state_.outcome(id)) {  // A1: a retry that came before the wait was over
        finish(op, outcome->second, outcome->second == Code::kConflict ? "the condition did not hold" : "",
               outcome->first);
        continue;
      }
    }
    if (const auto* removal = std::get_if<RemoveEdge>(&op.body)) {  // A6
      const auto lease = leases_.find(removal->edge);
      const Nanos lapsed = std::max(lease == leases_.end() ? kNever : lease->second, strong_wait_until());
      ready = now_ >= lapsed || TIDELOCK_MUTANT(kRemovalWithoutWaiting);
      if (!ready) wake(lapsed);
    } else if (op.strong && (ready || TIDELOCK_MUTANT(kBlockBeforeWindowWait))) {
      if (op.state == Op::State::kQueued) open_block(op);
      ready = ready && (block_satisfied(blocks_.at(op.block)) || TIDELOCK_MUTANT(kAppendWithoutAcks) ||
                        (op.certifies && TIDELOCK_MUTANT(kCertificateBeforeLapse)));
      if (!ready) {
        if (now_ < strong_wait_until()) wake(strong_wait_until());
        for (const auto& [edge, ends] : leases_) {
          if (ends > now_) wake(ends);
        }
      }
    } else if (!ready) {
      wake(short_wait_until());
    }
    if (ready) {
      append_op(op);
    } else {
      waiting.push_back(id);
    }
  }
  queue_ = std::move(waiting);
}

void HubCore::finish(Op& op, Code code, std::string message, Index index) {
  if (op.asked) {
    AdminAnswer reply;
    reply.code = code;
    reply.message = message;
    reply.index = index;
    answer(*op.asked, std::move(reply));
  }
  if (op.edge_request) {
    Session* session = session_of(op.edge_request->edge);
    if (session != nullptr && session->boot == op.edge_request->boot) {
      send(*session, WriteDone{op.edge_request->number, code, message, index});
    }
  }
  if (code == Code::kOk && !op.model_operation.empty()) {
    note(op.model_operation, "index " + std::to_string(index.value));
  }
  if (op.certifies && code != Code::kOk) recalls_look_at_ = saturating_add(now_, kRecallAgainAfter);  // M7: anew
  if (const auto* batch = std::get_if<Batch>(&op.body); batch != nullptr && code != Code::kOk) {
    if (Session* session = session_of(batch->edge)) {  // D5: under its number nothing is lost by sending it again
      send(*session, BatchDone{batch->incarnation, batch->number, {}, 0, Code::kBusy, message});
    }
  }
  forget_op(CommandId{op.id});  // `op` is gone after this line when it was a member
}

void HubCore::on_write_applied(const Applied& applied) {
  const auto it = ops_.find(applied.command.id);
  if (it == ops_.end()) return;
  Op& op = it->second;
  if (applied.effective) {
    finish(op, applied.code, applied.message, applied.index);
  } else if (applied.applied_before) {
    if (op.block.value != 0) close_block(op.block, true);  // S1: a retry found applied by id closes its block too
    finish(op, applied.code, applied.message, *applied.applied_before);
  } else if (active_ &&
             (applied.command.term == term_ ||
              TIDELOCK_MUTANT(kFencedSpeaksForOwn))) {  // fenced or aborted: no effect, now or ever. (An entry of an
    // earlier term with this id, fenced now, says nothing about the append that this hub made or will make.)
    if (op.block.value != 0) close_block(op.block, true);
    finish(op, Code::kUnavailable, "the write was fenced; nothing happened", {});
  }
}

void HubCore::on_write_through(Session& session, const WriteThrough& write) {
  Op op;
  op.id = write.id;
  op.began = sent_at(session, write.sent);
  op.edge_request = EdgeRequest{session.edge, session.boot, write.request};
  std::string problem;
  if (const auto ok = check_write_extent(write.writes); !ok) problem = ok.error().message;
  for (const KeyWrite& one : write.writes) {
    if (const auto ok = validate_key(one.key); !ok) problem = ok.error().message;
    if (one.value && one.value->size() > kValueBytesMax) problem = "value of '" + one.key + "' is above 1 MiB";
    const bool asks = only_asks(one) && state_.ledger_version() >= kLedgerVersionStays;
    if (one.key.starts_with("model:") && !asks)
      problem = "'" + one.key + "': model keys are written by `tidelock model`";
    if (namespace_of(state_.namespaces(), one.key).write_mode != WriteMode::kThrough) {
      problem = "'" + one.key + "' is not in a write-through namespace";
    }
  }
  if (!problem.empty()) {
    finish(op, Code::kInvalid, std::move(problem), {});
    return;
  }
  op.body = Put{write.writes, {}};
  start_write(std::move(op));
}

void HubCore::on_write_batch(Session& session, const WriteBatch& write) {  // D5
  const auto refuse = [&](Code code, std::string why) {
    send(session, BatchDone{write.incarnation, write.number, {}, 0, code, std::move(why)});
  };
  if (state_.last_batch(session.edge, write.incarnation) >= write.number &&
      now_ >= short_wait_until()) {  // as in start_write
    send(session, BatchDone{write.incarnation, write.number, state_.applied(), 0, Code::kOk, "applied before"});
    return;
  }
  for (const auto& [id, op] : ops_) {
    const auto* pending = std::get_if<Batch>(&op.body);
    if (pending != nullptr && pending->edge == session.edge && pending->incarnation == write.incarnation &&
        pending->number == write.number) {
      return;  // on its way; its BatchDone goes to the edge's current session
    }
  }
  const auto raw = decompress(write.records, kBatchBytesMax, "write-behind batch");
  if (!raw) return refuse(Code::kInvalid, raw.error().message);
  auto records = decode<std::vector<BatchRecord>>(*raw, "write-behind batch");
  if (!records) return refuse(Code::kInvalid, records.error().message);
  for (const BatchRecord& record : *records) {
    const auto ok = validate_key(record.key);
    if (!ok) return refuse(Code::kInvalid, ok.error().message);
    const Namespace& policy = namespace_of(state_.namespaces(), record.key);
    if (policy.write_mode != WriteMode::kBehind || policy.scope != Scope::kRegion) {
      return refuse(Code::kInvalid, "'" + record.key + "' is not in a write-behind namespace of the region");
    }
  }
  if (ops_.size() >= options_.ops_max) return refuse(Code::kBusy, "too many writes are waiting at this hub");
  Op op;
  op.id = next_id();
  op.began = sent_at(session, write.sent);
  for (const BatchRecord& record : *records) op.newest_stamp = std::max(op.newest_stamp, record.stamp);
  op.body = Batch{session.edge, write.incarnation, write.number, std::move(*records)};
  start_write(std::move(op));
}

void HubCore::on_batch_applied(const Applied& applied) {
  const auto& batch = std::get<Batch>(applied.command.body);
  const auto it = ops_.find(applied.command.id);
  if (it == ops_.end()) return;  // another hub's, or an earlier term's: the edge asks again
  forget_op(applied.command.id);
  Session* session = session_of(batch.edge);
  if (session == nullptr) return;
  BatchDone done;
  done.incarnation = batch.incarnation;
  done.number = batch.number;
  done.index = applied.index;
  done.superseded = applied.superseded;
  if (!applied.effective && !applied.applied_before &&
      state_.last_batch(batch.edge, batch.incarnation) < batch.number) {
    done.code = applied.code == Code::kOk ? Code::kBusy : applied.code;
    done.message = applied.message;
  } else if (applied.code != Code::kOk) {
    done.code = applied.code;
    done.message = applied.message;
  }
  send(*session, std::move(done));
}

}  // namespace tidelock
