// Sessions and the feed: what an edge is told, in which order, and under which authority (F1, F2, F7, F11, A3).

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/mutant.h"
#include "codec/archive.h"
#include "protocol/hub_core.h"

namespace tidelock {

static constexpr std::size_t kTroubleBytesMax = 512;  // of what an edge says of a version that it has not staged
namespace {
std::uint16_t slot_of_key(std::string_view key) { return static_cast<std::uint16_t>(hash64(key) & 0xFFFF); }
bool is_ring_key(std::string_view key) { return key.starts_with("model:") && key.ends_with(":current@next"); }
}  // namespace

void HubCore::send(Session& session, decltype(HubFrame::body) body) {
  out_->send.push_back({session.conn, HubFrame{session.number, session.next_out++, std::move(body)}});
}

HubCore::Session* HubCore::session_of(const NodeId& edge) {
  const auto it = by_edge_.find(edge);
  if (it == by_edge_.end()) return nullptr;
  return &sessions_.at(it->second);
}

void HubCore::on_connected(const HubConnected& event) {
  Session& session = sessions_[event.conn] = {};
  session.conn = event.conn;
  session.peer = event.peer;
}

void HubCore::on_disconnected(ConnId conn) {
  const auto it = sessions_.find(conn);
  if (it == sessions_.end()) return;
  const auto current = by_edge_.find(it->second.edge);
  if (TIDELOCK_MUTANT(kLeaseTableDropped)) leases_.erase(it->second.edge);
  if (current != by_edge_.end() && current->second == conn) by_edge_.erase(current);
  writers_known_.reset();
  if (it->second.waiting) waiting_.erase(it->second.waiting->edge);
  sessions_.erase(it);  // its lease stays in the table (A3)
}

void HubCore::end_session(ConnId conn, const std::string& reason) {
  const auto it = sessions_.find(conn);
  if (it == sessions_.end()) return;
  std::string hint = leading_ ? NodeId{} : leader_;
  if (!hint.empty() && !leader_address_.empty() && it->second.protocol_version >= 2) hint += "=" + leader_address_;
  send(it->second, Goodbye{reason, std::move(hint)});
  out_->close.push_back({conn, reason});
  on_disconnected(conn);
}

void HubCore::close_all_sessions(const std::string& reason) {
  while (!sessions_.empty()) end_session(sessions_.begin()->first, reason);
}

void HubCore::on_frame(const HubFrameIn& event) {
  const auto it = sessions_.find(event.conn);
  if (it == sessions_.end()) return;  // F1: of a session that has ended
  Session& session = it->second;
  const EdgeFrame& frame = event.frame;
  if (frame.number != session.next_in || (session.open && frame.session != session.number)) {  // F2
    end_session(event.conn, "message " + std::to_string(frame.number) + " of session " +
                                std::to_string(frame.session.value) + " where " + std::to_string(session.next_in) +
                                " was due");
    return;
  }
  ++session.next_in;
  if (const auto* hello = std::get_if<Hello>(&frame.body)) {
    on_hello(session, frame.session, *hello);
    return;
  }
  if (!session.open) {
    end_session(event.conn, "the first message of a session must be a hello");
    return;
  }
  const bool asks = std::holds_alternative<Probe>(frame.body) || std::holds_alternative<Fetch>(frame.body) ||
                    std::holds_alternative<ListKeys>(frame.body);
  if (asks && parked_.size() >= options_.ops_max) {  // X6: an edge may ask faster than authority comes back
    end_session(event.conn, "too many questions are waiting at this hub");
    return;
  }
  if (const auto* probe = std::get_if<Probe>(&frame.body)) {
    if (!on_probe(session, *probe)) parked_.push_back({std::pair{event.conn, *probe}, appends_});
  } else if (const auto* ack = std::get_if<BlockAck>(&frame.body)) {
    on_block_ack(session, *ack);
  } else if (const auto* fetch = std::get_if<Fetch>(&frame.body)) {
    if (!on_fetch(session, *fetch, appends_)) parked_.push_back({std::pair{event.conn, *fetch}, appends_});
  } else if (const auto* list = std::get_if<ListKeys>(&frame.body)) {
    if (!on_list_keys(session, *list, appends_)) parked_.push_back({std::pair{event.conn, *list}, appends_});
  } else if (const auto* write = std::get_if<WriteThrough>(&frame.body)) {
    on_write_through(session, *write);
  } else if (const auto* batch = std::get_if<WriteBatch>(&frame.body)) {
    on_write_batch(session, *batch);
  } else if (const auto* report = std::get_if<EdgeReport>(&frame.body)) {
    if (session.protocol_version >= kProtocolVersionRings) on_report(session, *report);
  } else if (const auto* staged = std::get_if<Staged>(&frame.body)) {
    rollout_moved_at_ = now_;
    std::erase_if(session.troubles, [&](const Staged& one) { return one.model == staged->model; });
    if (staged->error.empty()) {
      const bool known = std::any_of(session.staged.begin(), session.staged.end(), [&](const StagedModel& model) {
        return model.name == staged->model.name && model.version == staged->model.version;
      });
      if (!known && session.staged.size() < 256) session.staged.push_back(staged->model);
      note("staged", session.edge + " " + staged->model.name + " " + staged->model.version);
    } else {
      std::erase_if(session.staged, [&](const StagedModel& model) {
        return model.name == staged->model.name && model.version == staged->model.version;
      });
      if (session.troubles.size() < 256)
        session.troubles.push_back({staged->model, staged->error.substr(0, kTroubleBytesMax)});
      note("stage_failed",
           session.edge + " " + staged->model.name + " " + staged->model.version + ": " + staged->error);
    }
  }
}

void HubCore::on_hello(Session& session, SessionNo number, const Hello& hello) {  // F11
  session.number = number;
  std::string refusal;
  session.protocol_version = std::min(hello.protocol_version, options_.protocol_version);
  if (session.open || session.waiting) {
    refusal = "a second hello in one session";
  } else if (hello.edge != session.peer) {
    refusal = "edge id '" + hello.edge + "' does not match the certificate of '" + session.peer + "'";
  } else if (hello.protocol_version < kProtocolVersionMin || hello.protocol_version_min > options_.protocol_version) {
    refusal = "the edge speaks protocol versions " + std::to_string(hello.protocol_version_min) + " to " +
              std::to_string(hello.protocol_version) + ", this hub " + std::to_string(kProtocolVersionMin) + " to " +
              std::to_string(options_.protocol_version) + "; upgrade the older of the two";
  } else if (!active_ || !state_.seeded()) {
    refusal = "this hub is not active";
  } else if (hello.highest_term > term_ && !TIDELOCK_MUTANT(kNoTermTestAtOpen)) {
    refusal =
        "this hub's term " + std::to_string(term_.value) + " is older than " + std::to_string(hello.highest_term.value);
  } else if (hello.applied > state_.applied() && !TIDELOCK_MUTANT(kNoTermTestAtOpen)) {
    refusal = "this hub has applied " + std::to_string(state_.applied().value) + ", the edge " +
              std::to_string(hello.applied.value);
  } else if (hello.boot.value == 0 || number.value == 0) {
    refusal = "boot and session number start at 1";
  }
  if (!refusal.empty()) {
    end_session(session.conn, refusal);
    return;
  }
  // A6, G9: what it writes behind counts for no tombstone before, and its flush age for no bound.
  if (!ensure_registered(hello) && !TIDELOCK_MUTANT(kLeaseToStranger)) {
    if (const auto former = waiting_.find(hello.edge); former != waiting_.end())
      end_session(former->second, "the edge opened a newer session");
    waiting_[hello.edge] = session.conn;
    session.waiting = hello;
    return;
  }
  open_session(session, hello);
}

void HubCore::open_session(Session& session, const Hello& hello) {
  if (Session* former = session_of(hello.edge)) end_session(former->conn, "the edge opened a newer session");
  for (auto& [block_number, block] : blocks_) block.acked.erase(hello.edge);  // S3: from the current session only
  session.open = true;
  session.opened_at = now_;
  session.edge = hello.edge;
  session.site = hello.site;
  session.boot = hello.boot;
  session.applied = hello.applied;
  session.staged = hello.staged;
  by_edge_[hello.edge] = session.conn;
  writers_known_.reset();

  Welcome welcome;
  welcome.protocol_version = session.protocol_version;
  welcome.hub = options_.id;
  // C3: two readings of this clock bound its rate only when it did not jump between them.
  welcome.hub_boot = Boot{options_.boot.value + (TIDELOCK_MUTANT(kJumpNotTold) ? 0 : disruptions_)};
  welcome.hub_h = now_;
  welcome.term = term_;
  welcome.h0 = state_.applied();
  welcome.reset = hello.applied < ring_from_ && !TIDELOCK_MUTANT(kResetNotTold);
  welcome.settings = state_.settings();
  welcome.namespaces = state_.namespaces();
  welcome.model_key = state_.model_key();
  welcome.newest_stamp = newest_stamp_of(hello.edge);
  for (const auto& [block_number, block] : blocks_) welcome.open_blocks.emplace_back(term_, block_number);
  const bool replay = !welcome.reset;
  send(session, std::move(welcome));
  if (!TIDELOCK_MUTANT(kRecallNotToldAtOpen)) tell_recalls(session);  // M7
  if (replay && !TIDELOCK_MUTANT(kNoReplay)) {
    for (const Kept& kept : ring_) {
      if (kept.record.index <= hello.applied) continue;
      Record record = kept.record;
      const Nanos passed = std::max<Nanos>(0, saturating_sub(ledger_now(), kept.ledger_time));
      for (ChangedKey& changed : record.keys) {  // C5: a copy expires no later than the hub's, however late it is told
        if (changed.ttl_left_ns != kForever) changed.ttl_left_ns = std::max<Nanos>(0, changed.ttl_left_ns - passed);
      }
      send(session, std::move(record));
    }
  }
  for (const auto& [block_number, block] : blocks_) {  // S1
    if (TIDELOCK_MUTANT(kOpenBlocksNotTold))
      session.acked.insert(block_number);
    else
      send(session, Block{term_, block_number, block.keys});
  }
  last_demand_ = now_;
  note("session_open", hello.edge);
}

// G8: an edge that came back with an empty disk, and perhaps a clock that was set back, must not make stamps that lose
// against those it made before. What is still on its way to the ledger counts too.
Stamp HubCore::newest_stamp_of(const NodeId& edge) const {
  Stamp newest = state_.newest_batch_stamp(edge);
  for (const auto& [id, op] : ops_) {
    const auto* batch = std::get_if<Batch>(&op.body);
    if (batch != nullptr && batch->edge == edge) newest = std::max(newest, op.newest_stamp);
  }
  return newest;
}

bool HubCore::ensure_registered(const Hello& hello) {  // A6
  if (state_.edges().contains(hello.edge)) return true;
  if (!registering_.contains(hello.edge)) {
    const CommandId id = next_id();
    registering_[hello.edge] = id;
    append(id, RegisterEdge{hello.edge, hello.site});
  }
  return false;
}

void HubCore::on_registered(const NodeId& edge) {
  registering_.erase(edge);
  const auto it = waiting_.find(edge);
  if (it == waiting_.end()) return;
  Session& session = sessions_.at(it->second);
  waiting_.erase(it);
  const Hello hello = *std::exchange(session.waiting, std::nullopt);
  on_hello(session, session.number, hello);
}

void HubCore::on_registration_dropped(CommandId id) {
  const auto it =
      std::find_if(registering_.begin(), registering_.end(), [&](const auto& one) { return one.second == id; });
  if (it == registering_.end()) return;
  const auto hello = waiting_.find(it->first);
  registering_.erase(it);
  if (hello != waiting_.end()) end_session(hello->second, "its registration came to nothing; try again");  // I10
}

bool HubCore::on_probe(Session& session, const Probe& probe) {
  last_demand_ = now_;
  if (!has_authority(now_)) return false;  // A3: answered once an entry of ours was applied
  if (std::exchange(session.flush_age_ns, probe.flush_age_ns) != probe.flush_age_ns) writers_known_.reset();
  if (std::exchange(session.flushed, probe.flushed) != probe.flushed) writers_known_.reset();
  Mark mark;
  mark.nonce = probe.nonce;
  mark.index = state_.applied();
  mark.proof = true;
  mark.hub_h = now_;
  mark.writers_ns = writers_ns();
  session.applied = std::max(session.applied, mark.index);
  const bool all_acked = std::all_of(blocks_.begin(), blocks_.end(),
                                     [&](const auto& entry) { return session.acked.contains(entry.first); });
  if (probe.wants_lease && all_acked && (state_.edges().contains(session.edge) || TIDELOCK_MUTANT(kLeaseToStranger)) &&
      (!removing_.contains(session.edge) || TIDELOCK_MUTANT(kRemovedEdgeRenewed))) {
    // A3, A5, A6, S1: tested, recorded and queued in one step
    mark.lease_ns = shortening_ ? std::min(state_.lease_ns(), state_.settings().lease_short_ns) : state_.lease_ns();
    if (TIDELOCK_MUTANT(kLongLeaseEarly) && lease_change_) mark.lease_ns = state_.settings().lease_long_ns;
    Nanos& ends = leases_.try_emplace(session.edge, kNever).first->second;
    if (!TIDELOCK_MUTANT(kFirstExpiryKept) || ends <= now_) ends = std::max(ends, saturating_add(now_, mark.lease_ns));
  }
  send(session, mark);
  return true;
}

// An edge's copy expires no later than the hub's, so interest in an expired value is interest in nothing.
void HubCore::register_interest(Session& session, const std::string& key, Nanos expires_at) {
  if (session.interest.size() >= std::max(session.sweep_at, options_.interest_sweep_at)) {
    const Nanos ledger = ledger_now();
    std::erase_if(session.interest, [ledger](const auto& entry) { return entry.second <= ledger; });
    if (options_.interest_sweep_at != 0) session.sweep_at = 2 * session.interest.size();
  }
  if (session.interest.size() < options_.interest_max) {
    session.interest[key] = expires_at;
  } else {
    if (!TIDELOCK_MUTANT(kInterestFullDropped)) session.slot_interest.set(slot_of_key(key));  // coarser, never wrong
  }
}

bool HubCore::on_fetch(Session& session, const Fetch& fetch, std::uint64_t appends) {  // F7
  last_demand_ = now_;
  if (!has_authority(now_)) return false;
  for (const auto& wanted : fetch.wanted) {
    if (own_write_in_flight(wanted.key, appends)) return false;  // A3: a successor may already have shown it
  }
  FetchAnswer answer;
  answer.request = fetch.request;
  answer.index = state_.applied();
  answer.proof = true;
  const Nanos ledger = ledger_now();
  for (const auto& wanted : fetch.wanted) {
    FetchAnswer::Found found;
    found.key = wanted.key;
    if (auto stored = state_.find(wanted.key); stored && stored->value && stored->expires_at > ledger) {
      found.version = stored->version;
      found.stamp = stored->stamp;
      found.ttl_left_ns = stored->expires_at == kForever ? kForever : saturating_sub(stored->expires_at, ledger);
      found.same = wanted.known == stored->version;
      if (!found.same) found.value = std::move(stored->value);
    } else {
      found.stamp =
          state_.newest_stamp(wanted.key);  // D8: an edge's older pending write will lose against a deletion as well
    }
    if (!found.same || !TIDELOCK_MUTANT(kNoInterestWhenSame))
      register_interest(session, wanted.key,
                        found.ttl_left_ns == kForever ? kForever : saturating_add(ledger, found.ttl_left_ns));
    answer.found.push_back(std::move(found));
  }
  send(session, std::move(answer));
  return true;
}

// What is listed proves nothing about a value, but whoever deletes it all must not miss what was acknowledged before.
bool HubCore::on_list_keys(Session& session, const ListKeys& list, std::uint64_t appends) {
  if (!has_authority(now_)) return false;  // A3
  for (auto it = in_flight_.lower_bound(list.prefix); it != in_flight_.end() && it->first.starts_with(list.prefix);
       ++it) {
    if (own_write_in_flight(it->first, appends)) return false;  // a successor may already have shown it
  }
  StateMachine::Listing page = state_.list(list.prefix, list.after, ledger_now());
  send(session, KeysListed{list.request, std::move(page.keys), std::move(page.last), page.newest});
  return true;
}

Nanos HubCore::writers_ns() const {
  if (writers_known_) return *writers_known_;
  Nanos largest = 0;
  for (const auto& [edge, site] : state_.edges()) {
    const auto it = by_edge_.find(edge);
    const Session* session = it == by_edge_.end() ? nullptr : &sessions_.at(it->second);
    if (session == nullptr || !session->flushed) {  // a writer is away, or holds back more than it may
      largest = kForever;
      break;
    }
    largest = std::max(largest, session->flush_age_ns);
  }
  writers_known_ = largest;
  return largest;
}

ChangedKey HubCore::changed_key(const ChangedValue& change) const {
  ChangedKey changed;
  changed.key = change.key;
  changed.deleted = !change.now.value.has_value();
  changed.stamp = change.now.stamp;
  // M5: who is in a ring goes to every gateway whatever its size: each of them would ask for it at once.
  const bool pushed = change.now.value && (change.now.value->size() <= kPushValueBytesMax || is_ring_key(change.key));
  if (pushed) changed.value = change.now.value;
  if (change.now.expires_at != kForever) {
    const Nanos ledger = std::max(state_.ledger_time(), ledger_now());  // C5: the append took its time
    changed.ttl_left_ns = std::max<Nanos>(0, saturating_sub(change.now.expires_at, ledger));
  }
  return changed;
}

void HubCore::keep_for_replay(const Applied& applied, BlockNo block) {
  Record record;
  record.index = applied.index;
  record.term = applied.command.term;
  record.block = block;
  for (const ChangedValue& change : applied.changed) {
    if (!is_strong(change.key)) continue;
    ChangedKey& kept = record.keys.emplace_back(changed_key(change));
    // I11: the ring holds thousands; who was away asks for it
    if (kept.value && kept.value->size() > kPushValueBytesMax) kept.value.reset();
  }
  if (record.keys.empty()) return;
  ring_.push_back({std::move(record), std::max(state_.ledger_time(), ledger_now())});
  if (ring_.size() > options_.ring_max) {
    ring_from_ = ring_.front().record.index;
    ring_.pop_front();
  }
}

// F2: the feed carries records of strong keys to every session, others where the session is registered for them.
void HubCore::feed(const Applied& applied, BlockNo block) {
  if (applied.changed.empty()) {
    if (block.value != 0) close_block(block, true);  // a condition failed: nothing changed, the block still ends
    return;
  }
  if (block.value != 0) close_block(block, false);
  struct Change {
    ChangedKey key;
    bool strong;
    std::uint16_t slot;
    Nanos expires_at;
  };
  std::vector<Change> changes;
  for (const ChangedValue& change : applied.changed) {
    changes.push_back({changed_key(change), is_strong(change.key), slot_of_key(change.key), change.now.expires_at});
  }
  const auto* batch = std::get_if<Batch>(&applied.command.body);
  for (auto& [conn, session] : sessions_) {
    if (!session.open) continue;
    Record record;
    record.index = applied.index;
    record.term = applied.command.term;
    record.block = block;
    const bool author = batch != nullptr && batch->edge == session.edge;
    for (const Change& change : changes) {
      if (author) {  // it holds the bytes: the stamp says which of its writes took effect, and it stays registered
        register_interest(session, change.key.key, change.expires_at);
        record.keys.push_back(change.key);
        record.keys.back().value.reset();
      } else if (change.strong && !TIDELOCK_MUTANT(kStrongByInterest)) {
        record.keys.push_back(change.key);
      } else if (const auto it = session.interest.find(change.key.key); it != session.interest.end()) {
        record.keys.push_back(change.key);
        if ((!change.key.value && !change.key.deleted) || TIDELOCK_MUTANT(kInterestClearedByPush))
          session.interest.erase(it);  // only a hint: it fetches again
        else
          it->second = change.expires_at;
      } else if (session.slot_interest.test(change.slot)) {
        record.slots.push_back(change.slot);
        session.slot_interest.reset(change.slot);
      }
    }
    if (!record.keys.empty() || !record.slots.empty()) {
      send(session, std::move(record));
    } else if (block.value != 0) {  // no strong key of it changed: the block ends all the same
      send(session, Unblock{term_, block});
    }
  }
}

void HubCore::retry_parked() {
  if (parked_.empty() || !has_authority(now_)) return;
  std::vector<Parked> waiting = std::move(parked_);
  parked_.clear();
  for (Parked& item : waiting) {
    bool done = true;
    if (const auto* probe = std::get_if<std::pair<ConnId, Probe>>(&item.what)) {
      if (const auto it = sessions_.find(probe->first); it != sessions_.end())
        done = on_probe(it->second, probe->second);
    } else if (const auto* fetch = std::get_if<std::pair<ConnId, Fetch>>(&item.what)) {
      if (const auto it = sessions_.find(fetch->first); it != sessions_.end()) {
        done = on_fetch(it->second, fetch->second, item.appends);
      }
    } else if (const auto* list = std::get_if<std::pair<ConnId, ListKeys>>(&item.what)) {
      if (const auto it = sessions_.find(list->first); it != sessions_.end()) {
        done = on_list_keys(it->second, list->second, item.appends);
      }
    } else if (const auto* asked = std::get_if<std::pair<AskToken, AdminRequest>>(&item.what)) {
      done = answer_read(asked->first, asked->second, item.appends);
    }
    if (!done) parked_.push_back(std::move(item));
  }
}

}  // namespace tidelock
