#include "sim/small_scope/digest.h"

namespace tidelock {

void StateDigest::add(const EdgeMeta& e) { (*this)(e.version, e.expires_at, e.epoch, e.proven_at, e.stamp, e.local); }
void StateDigest::add(const EdgeEntry& e) { (*this)(static_cast<const EdgeMeta&>(e), e.value); }
void StateDigest::add(const Contract& c) { (*this)(c.consistency, c.bound_ns, c.deadline_ns, c.token); }

std::unique_ptr<HubCore> StateDigest::copy(const HubCore& core, const StateRows& rows) {
  auto copied = std::make_unique<HubCore>(core);
  copied->state_.rows_ = &rows;
  return copied;
}
std::unique_ptr<EdgeCore> StateDigest::copy(const EdgeCore& core, const EdgeMemory& memory, const EdgeStore& store) {
  auto copied = std::make_unique<EdgeCore>(core);
  copied->memory_ = &memory;
  copied->store_ = &store;
  return copied;
}

// ---- hub

void StateDigest::add(const StateMachine& m) {
  (*this)(m.changed_rows_, m.applied_, m.term_, m.claim_hub_, m.claim_boot_, m.ledger_version_, m.seeded_, m.settings_,
          m.namespaces_, m.model_key_, m.lease_is_short_, m.ledger_time_, m.edges_, m.floors_, m.recalls_,
          m.uncertified_, m.ids_first_, m.ids_next_, m.first_expiry_, m.first_tombstone_);
}
void StateDigest::add(const HubCore& c) {
  (*this)(c.options_.id, c.options_.boot, c.state_, c.leading_, c.leader_, c.leader_address_, c.raising_, c.active_,
          c.term_, c.claimed_at_, c.lease_at_claim_ns_, c.authority_until_, c.claim_, c.claim_after_, c.beacon_,
          c.last_demand_, c.ledger_base_, c.ledger_base_h_, c.sequence_, c.disruptions_, c.first_attempt_,
          c.outstanding_, c.shortening_, c.lease_change_, c.lease_abort_, c.lease_abort_at_, c.rollout_moved_at_,
          c.seed_, c.registering_, c.waiting_, c.removing_, c.leases_, c.sessions_, c.by_edge_, c.writers_known_,
          c.ops_, c.appends_, c.in_flight_, c.aborts_due_, c.queue_, c.blocks_, c.last_block_, c.parked_, c.deferred_,
          c.rollouts_, c.rollouts_look_at_, c.recalls_look_at_, c.ring_, c.ring_from_);
}
void StateDigest::add(const HubAsked& a) { (*this)(a.token, a.request, a.who); }
void StateDigest::add(const HubCore::Session& s) {
  (*this)(s.conn, s.peer, s.open, s.number, s.protocol_version, s.edge, s.site, s.boot, s.opened_at, s.next_in,
          s.next_out, s.interest, s.sweep_at, s.slot_interest, s.acked, s.flush_age_ns, s.flushed, s.applied, s.staged,
          s.troubles, s.report, s.waiting);
}
void StateDigest::add(const HubCore::EdgeRequest& r) { (*this)(r.edge, r.boot, r.number); }
void StateDigest::add(const HubCore::Op& op) {
  (*this)(op.id, op.state, op.began, op.strong, op.block, op.body, op.certifies, op.asked, op.edge_request,
          op.model_operation, op.append_number, op.keys, op.newest_stamp, op.abort);
}
void StateDigest::add(const HubCore::OpenBlock& b) { (*this)(b.op, b.keys, b.acked); }
void StateDigest::add(const HubCore::Parked& p) { (*this)(p.what, p.appends); }
void StateDigest::add(const HubCore::Kept& k) { (*this)(k.record, k.ledger_time); }

// ---- edge

void StateDigest::add(const Outbox& o) {
  (*this)(o.rng_, o.incarnation_, o.next_number_, o.next_seq_, o.next_persist_, o.first_dead_, o.next_dead_,
          o.newest_stamp_, o.meta_dirty_, o.failed_, o.records_, o.newest_, o.by_since_, o.by_due_, o.by_expiry_,
          o.bytes_, o.queued_bytes_, o.os_waiters_, o.disk_waiters_, o.in_flight_, o.session_, o.retry_at_);
}
void StateDigest::add(const Outbox::Record& r) {
  (*this)(r.key, r.value, r.stamp, r.expires_at, r.since, r.due, r.in_flight, r.origin_tokens);
}
void StateDigest::add(const Outbox::InFlight& f) {
  (*this)(f.number, f.seqs, f.persist_number, f.durable, f.sent, f.sent_at, f.attempts, f.poison);
}
void StateDigest::add(const Outbox::Waiter& w) { (*this)(w.token, w.number); }
void StateDigest::add(const ClockGuard& g) { (*this)(g.rho_ppm_, g.epoch_, g.hub_boot_, g.levels_, g.fault_); }
void StateDigest::add(const ClockGuard::Level& l) { (*this)(l.older, l.newer); }
void StateDigest::add(const ClockGuard::Seen& s) { (*this)(s.hub_h, s.sent_at, s.received_at); }
void StateDigest::add(const EdgeCore& c) {
  const Stamp& made = c.hlc_.newest();
  (*this)(c.options_.id, c.options_.boot, c.options_.session_after, c.outbox_, made, c.newest_held_, c.joined_, c.rng_,
          c.guard_, c.applied_, c.fed_, c.highest_term_, c.fresh_at_, c.lease_until_, c.proofs_from_, c.writers_ns_,
          c.blocks_, c.blocked_slots_, c.epoch_, c.session_epoch_, c.strong_epoch_, c.ended_, c.strong_ended_,
          c.settings_, c.namespaces_);
  (*this)(c.state_, c.link_, c.session_, c.next_in_, c.next_out_, c.welcome_, c.heard_h_, c.heard_at_,
          c.first_mark_done_, c.fault_shown_, c.unlisted_, c.connect_at_, c.greeting_since_, c.backoff_ns_, c.hint_,
          c.last_nonce_, c.last_request_, c.last_link_, c.last_command_, c.last_local_, c.probes_, c.last_probe_at_,
          c.last_frame_at_, c.round_trip_ns_, c.requests_, c.wanted_, c.staged_, c.greeted_with_, c.report_, c.spoken_,
          c.demand_ns_, c.demand_before_ns_, c.demand_since_, c.reads_, c.writes_, c.lists_, c.unsequenced_);
}
void StateDigest::add(const EdgeCore::Ended& e) { (*this)(e.below, e.fresh_at); }
void StateDigest::add(const EdgeCore::Request& r) { (*this)(r.sent_at, r.invalidated); }
void StateDigest::add(const EdgeCore::WaitingRead& w) {
  (*this)(w.read.token, w.read.key, w.read.contract, w.began, w.deadline);
}
void StateDigest::add(const EdgeCore::WaitingList& w) {
  (*this)(w.list.token, w.list.prefix, w.list.after, w.request, w.deadline);
}
void StateDigest::add(const EdgeCore::WaitingWrite& w) {
  (*this)(w.write.token, w.write.write, w.write.level, w.write.wall_ms, w.write.others, w.id, w.request, w.accepted_at,
          w.deadline, w.sent);
}

}  // namespace tidelock
