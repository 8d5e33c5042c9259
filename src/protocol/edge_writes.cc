// Writes at the edge: kept on the gateway, sent behind through the durable outbox, or through the hub (DESIGN 5, D1,
// D8).

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/mutant.h"
#include "protocol/edge_core.h"

namespace tidelock {
namespace {
constexpr Nanos kJoinRetry = 500 * kMillisecond;
}

void EdgeCore::on_write(const EdgeWrite& write) {
  const auto refuse = [&](const Error& error) {
    WriteDoneOp done;
    done.token = write.token;
    done.code = error.code;
    done.message = error.message;
    done.retry_after_ns = error.detail_ns;
    emit(std::move(done));
  };
  if (const auto ok = allowed(write.write); !ok) return refuse(ok.error());
  const Namespace& ns = policy(write.write.key);
  if (!write.others.empty()) {
    std::vector<KeyWrite> all = {write.write};
    all.insert(all.end(), write.others.begin(), write.others.end());
    if (const auto ok = check_write_extent(all); !ok) return refuse(ok.error());
    for (const KeyWrite& one : all) {
      if (const auto ok = allowed(one); !ok) return refuse(ok.error());
      if (policy(one.key).write_mode == WriteMode::kThrough) continue;
      return refuse({Code::kInvalid,
                     "key '" + one.key + "' is not written through the hub: such keys are written one by one",
                     {},
                     0});
    }
  }
  if (only_asks(write.write) && ns.write_mode != WriteMode::kThrough) {
    return refuse(
        {Code::kInvalid, "key '" + write.write.key + "' is not written through the hub: nobody can be asked", {}, 0});
  }
  const bool behind = ns.write_mode == WriteMode::kBehind && ns.scope == Scope::kRegion;
  if (behind && !joined_)  // G9: it could be older than a deletion that was collected without this edge
    return refuse({Code::kBusy, "this edge has not joined its cluster yet", {}, kJoinRetry});
  if (ns.write_mode == WriteMode::kThrough)
    write_through(write);
  else if (behind)
    write_behind(write, ns, lifetime_of(write.write));
  else
    write_local(write, ns, lifetime_of(write.write));
}

Result<void> EdgeCore::allowed(const KeyWrite& write) const {
  if (auto ok = validate_key(write.key); !ok) return ok;
  if (write.value) {
    if (auto ok = validate_value(*write.value); !ok) return ok;
  }
  if (write.ttl_ns < 0) return fail(Code::kInvalid, "ttl must be positive");
  if (write.key.starts_with("model:") && !only_asks(write)) {
    return fail(Code::kDenied, "key '" + write.key + "': model keys are written by `tidelock model`");
  }
  return {};
}

Nanos EdgeCore::lifetime_of(const KeyWrite& write) const {  // its namespace's, where it says nothing of one
  const bool unsaid = write.value && write.ttl_ns == 0 && !write.keep_ttl;
  return unsaid ? policy(write.key).ttl_ns : write.ttl_ns;
}

bool EdgeCore::admit(const EdgeWrite& write, Nanos* expires_at) {
  const auto entry = find(write.write.key);
  const bool present = entry && now_ < entry->expires_at && entry->value.has_value();
  if (present) *expires_at = entry->expires_at;
  bool holds = true;
  switch (write.write.condition) {
    case Condition::kNone: break;
    case Condition::kAbsent: holds = !present; break;
    case Condition::kPresent: holds = present; break;
    case Condition::kVersionStays:  // refused before
    case Condition::kVersionIs: holds = (present ? entry->version : Index{}) == write.write.expected; break;
    case Condition::kAbsentOrSame: holds = !present || entry->value == write.write.value; break;
  }
  if (holds && (write.write.value || present)) return true;
  WriteDoneOp done;
  done.token = write.token;
  done.code = holds ? Code::kOk : Code::kConflict;  // a delete of what is not there
  done.message = holds ? "" : "the condition did not hold";
  done.changed = false;
  emit(std::move(done));
  return false;
}

void EdgeCore::write_local(const EdgeWrite& write, const Namespace& ns, Nanos ttl) {
  Nanos old_expiry = kForever;
  if (!admit(write, &old_expiry)) return;
  WriteDoneOp done;
  done.token = write.token;
  done.level = AckLevel::kOs;
  if (write.write.value) {
    KeyWrite* given = given_ == &write.write ? given_ : nullptr;
    EdgeEntry entry;
    entry.version = Index{++last_local_};
    if (given != nullptr)
      entry.value = std::move(given->value);
    else
      entry.value = write.write.value;
    entry.local = true;
    if (ns.scope == Scope::kRegion) entry.epoch = epoch_;  // else nobody has to verify it
    if (write.write.keep_ttl)
      entry.expires_at = old_expiry;
    else if (ttl > 0)
      entry.expires_at = saturating_add(now_, ttl);
    done.index = entry.version;
    hold(given != nullptr ? std::move(given->key) : std::string(write.write.key), std::move(entry), true);
  } else {
    forget(write.write.key, true);
  }
  emit(std::move(done));
}

void EdgeCore::write_behind(const EdgeWrite& write, const Namespace& ns, Nanos ttl) {
  Nanos old_expiry = kForever;
  if (write.write.value) {
    if (!admit(write, &old_expiry)) return;
  }
  if (write.write.keep_ttl) ttl = old_expiry == kForever ? 0 : std::max<Nanos>(1, old_expiry - now_);
  // G8: a write comes after what its writer could read here, so its stamp must too. (A stamp too far ahead is not
  // learnt: then that value wins, at the hub and here.)
  const auto before = find(write.write.key);
  if (before) (void)hlc_.observe(before->stamp, write.wall_ms);
  (void)hlc_.observe(newest_held_, write.wall_ms);  // of a key that was read, and has left memory and L2 since
  WriteBehind record;
  record.key = write.write.key;
  record.value = write.write.value;
  record.ttl_ns = ttl;
  record.stamp = hlc_.tick(write.wall_ms);
  record.level = write.level.value_or(AckLevel::kDisk);  // D1: the default of write-behind
  record.token = write.token.value;
  record.flush_age_ns = ns.flush_age_ns;
  EdgeEntry entry;
  entry.version = Index{};  // not sequenced yet
  entry.value = record.value;
  entry.stamp = record.stamp;
  entry.local = true;
  // I2: a mark vouches for it only where the hub has us registered for the key, so that a newer write of somebody else
  // would have come. Otherwise the first bounded read asks the hub; interest in a value that expires ends with that
  // value.
  const bool wins = !before || now_ >= before->expires_at || before->stamp < record.stamp;
  const bool registered = TIDELOCK_MUTANT(kOwnWriteVouchedFor) ? before.has_value()
                                                               : before && covered(write.write.key, *before) &&
                                                                     (before->local || before->expires_at == kForever);
  entry.epoch = registered ? before->epoch : 0;
  entry.proven_at = registered ? before->proven_at : kNever;
  if (ttl > 0) entry.expires_at = saturating_add(now_, ttl);
  OutboxActions actions;
  outbox_.accept(now_, write.wall_ms, std::move(record), actions);
  const bool refused = std::any_of(actions.done.begin(), actions.done.end(), [&](const OutboxDone& done) {
    return done.token == write.token.value && done.code != Code::kOk;
  });
  if (!refused && wins) {
    hold(write.write.key, std::move(entry), true);  // D8: reads overlay the edge's own pending writes
    unsequenced_.insert(write.write.key);
  }
  drain_outbox(std::move(actions));
}

// After a batch was answered: records of ours that took effect were adopted when the feed brought them. What is still
// local and no longer pending lost against a newer stamp, or was applied before a failover: fetch it on the next read.
void EdgeCore::drop_superseded() {
  for (auto it = unsequenced_.begin(); it != unsequenced_.end();) {
    const auto held = in_memory(*it);
    const bool local = held && held->local;
    if (local && outbox_.pending(*it)) {
      ++it;
      continue;
    }
    if (local) forget(*it, true);
    it = unsequenced_.erase(it);
  }
}

void EdgeCore::write_through(const EdgeWrite& write) {
  WaitingWrite waiting;
  waiting.write = write;
  waiting.write.write.ttl_ns = lifetime_of(write.write);
  Nanos patience = std::max(policy(write.write.key).deadline_ns, 5 * kSecond);
  for (KeyWrite& one : waiting.write.others) {
    one.ttl_ns = lifetime_of(one);
    patience = std::max(patience, policy(one.key).deadline_ns);
  }
  waiting.id = CommandId{options_.boot.value, ++last_command_};
  waiting.accepted_at = now_;
  waiting.deadline = saturating_add(now_, patience);
  auto [it, fresh] = writes_.emplace(write.token, std::move(waiting));
  TIDELOCK_ASSERT(fresh);
  wake(it->second.deadline);
  send_through(it->second);
}

void EdgeCore::send_through(WaitingWrite& waiting) {
  if (state_ != State::kOpen) return;
  std::vector<KeyWrite> writes = {waiting.write.write};
  writes.insert(writes.end(), waiting.write.others.begin(), waiting.write.others.end());
  // A hub of yesterday cannot read it. It waits for another hub until its deadline: an earlier one may have it.
  if (!hub_keeps_unwritten() && std::any_of(writes.begin(), writes.end(), only_asks)) return;
  waiting.request = RequestNo{++last_request_};
  waiting.sent = true;
  for (KeyWrite& write : writes) {  // their lifetimes count from acceptance here
    if (write.ttl_ns > 0 && !TIDELOCK_MUTANT(kTtlIgnoresWait))
      write.ttl_ns = std::max<Nanos>(1, write.ttl_ns - saturating_sub(now_, waiting.accepted_at));
  }
  send(WriteThrough{waiting.request, waiting.id, std::move(writes), sent_now()});  // the id is that of every retry
}

void EdgeCore::on_write_done(const WriteDone& answer) {
  for (auto& [token, waiting] : writes_) {
    if (waiting.request != answer.request) continue;
    if (answer.code == Code::kUnavailable || answer.code == Code::kNotActive) {
      // The word of an active hub: under this id nothing happened, nor ever will. Repeat it as a new command.
      waiting.id = CommandId{options_.boot.value, ++last_command_};
      waiting.sent = false;
      send_through(waiting);
      return;
    }
    WriteDoneOp done;
    done.token = token;
    done.code = answer.code;
    done.message = answer.message;
    done.index = answer.index;
    done.level = AckLevel::kOrigin;
    done.changed = answer.code == Code::kOk;
    emit(std::move(done));
    writes_.erase(token);
    return;
  }
}

void EdgeCore::drain_outbox(OutboxActions actions) {
  if (actions.persist_number != 0)
    emit(OutboxPersist{std::move(actions.persist), actions.persist_number, actions.sync});
  if (actions.send && state_ == State::kOpen) {
    actions.send->sent = sent_now();
    send(std::move(*actions.send));
  }
  for (OutboxDone& outcome : actions.done) {
    WriteDoneOp done;
    done.token = WriteToken{outcome.token};
    done.code = outcome.code;
    done.message = std::move(outcome.message);
    done.level = outcome.level;
    done.retry_after_ns = outcome.retry_after_ns;
    emit(std::move(done));
  }
  for (std::string& what : actions.alarms) note("outbox_alarm", std::move(what));
  wake(actions.wake_at);
}

}  // namespace tidelock
