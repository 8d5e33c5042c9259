// The life of a record: accepted -> queued -> in flight -> flushed. On the way it may be superseded (while queued, by a
// newer write of its key), expire, or turn out to be poison. Each step that changes what a restart must find is one
// commit:
//
//   accept        put the record, erase the queued record that it replaces
//   compose       put the composition; sent when the commit is known to be on disk (D5)
//   BatchDone     erase the records and the composition, move to the next number
//   split, bury   put the smaller composition / erase the record and put a dead letter
//
// Killed between any two of them, a restart finds the records that were not known to be applied, and the composition of
// the batch that may have been applied. It sends that one first, under its number: if it had been applied the hub says
// so. A restart writes the composition once more before it sends: that it could be read back does not mean that it was
// synced.
//
// Rows:  m            incarnation, next number, newest stamp, counters: with every commit that erases something
//        f            number and records of the batch in flight
//        r SEQUENCE   a record, in order of acceptance
//        d NUMBER     a dead letter

#include "protocol/outbox.h"

#include <algorithm>

#include "base/assert.h"
#include "base/mutant.h"
#include "codec/archive.h"
#include "codec/compress.h"

namespace tidelock {
namespace {

struct MetaRow {
  std::uint64_t incarnation = 0;
  std::uint64_t next_number = 1;
  Stamp newest_stamp;
  std::uint64_t flushed = 0, superseded = 0, expired = 0, shed = 0, lost = 0, batches = 0;
  std::uint64_t first_dead = 1, next_dead = 1;
  template <class A>
  void fields(A& a) {
    a(incarnation, next_number, newest_stamp, flushed, superseded, expired, shed, lost, batches, first_dead, next_dead);
  }
};
struct CompositionRow {
  std::uint64_t number = 0;
  std::vector<std::uint64_t> seqs;
  template <class A>
  void fields(A& a) {
    a(number, seqs);
  }
};
struct RecordRow {
  std::string key;
  std::optional<Bytes> value;
  Stamp stamp;
  std::uint64_t clock_run = 0;
  Nanos accepted_at = 0;
  std::uint64_t accepted_wall_ms = 0;
  Nanos expires_at = kForever;
  Nanos since = 0;
  Nanos due = 0;
  template <class A>
  void fields(A& a) {
    a(key, value, stamp, clock_run, accepted_at, accepted_wall_ms, expires_at, since, due);
  }
};
struct DeadLetter {
  BatchRecord record;
  std::string why;
  template <class A>
  void fields(A& a) {
    a(record, why);
  }
};

constexpr std::size_t kExpireMax = 1'024;  // per call; the rest follows at once
constexpr std::size_t kBatchBytesLimit = 512u << 10;
constexpr std::size_t kBatchRecordsLimit = 16'384;

Bytes numbered_row(char kind, std::uint64_t number) {
  Bytes key(1, kind);
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift));
  return key;
}
std::uint64_t row_number(BytesView key) {
  std::uint64_t number = 0;
  for (const char c : key.substr(1)) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

OutboxDone reached(std::uint64_t token, AckLevel level) { return {token, Code::kOk, {}, level, 0}; }
OutboxDone failed(std::uint64_t token, Code code, std::string message) {
  return {token, code, std::move(message), AckLevel::kOs, 0};
}

}  // namespace

// --------------------------------------------------------------------------------------------------------- restart

Result<Outbox> Outbox::restore(OutboxOptions options, const std::vector<std::pair<Bytes, Bytes>>& rows, Nanos now,
                               std::uint64_t wall_ms, Rng rng) {
  options.batch_bytes_max = std::min(options.batch_bytes_max, kBatchBytesLimit);
  options.batch_records_max = std::clamp<std::size_t>(options.batch_records_max, 1, kBatchRecordsLimit);
  Outbox outbox(options, rng);
  if (rows.empty()) {
    outbox.incarnation_ = outbox.rng_.next() | 1;  // never 0
    outbox.meta_dirty_ = true;
    return outbox;
  }
  if (auto ok = outbox.load(rows, now, wall_ms); !ok) return fail(ok.error());
  return outbox;
}

Result<void> Outbox::load(const std::vector<std::pair<Bytes, Bytes>>& rows, Nanos now, std::uint64_t wall_ms) {
  bool has_meta = false;
  std::optional<CompositionRow> composition;
  for (const auto& [key, value] : rows) {
    const char kind = key.empty() ? '\0' : key[0];
    if (kind == 'm' && key.size() == 1) {
      const auto meta = decode<MetaRow>(value, "outbox head");
      if (!meta) return fail(meta.error());
      has_meta = true;
      incarnation_ = meta->incarnation;
      next_number_ = meta->next_number;
      newest_stamp_ = std::max(newest_stamp_, meta->newest_stamp);
      counters_.flushed = meta->flushed;
      counters_.superseded = meta->superseded;
      counters_.expired = meta->expired;
      counters_.shed = meta->shed;
      counters_.lost = meta->lost;
      counters_.batches = meta->batches;
      first_dead_ = meta->first_dead;
      next_dead_ = meta->next_dead;
    } else if (kind == 'f' && key.size() == 1) {
      auto row = decode<CompositionRow>(value, "outbox composition");
      if (!row) return fail(row.error());
      composition = std::move(*row);
    } else if (kind == 'r' && key.size() == 9) {
      auto row = decode<RecordRow>(value, "outbox record");
      if (!row) return fail(row.error());
      Record record;
      record.key = std::move(row->key);
      record.value = std::move(row->value);
      record.stamp = row->stamp;
      if (row->clock_run == options_.clock_run && row->accepted_at <= now) {
        record.expires_at = row->expires_at;
        record.since = row->since;
        record.due = row->due;
      } else {  // another run of the elapsed clock
        const std::uint64_t away_ms = wall_ms > row->accepted_wall_ms ? wall_ms - row->accepted_wall_ms : 0;
        const Nanos away = away_ms > static_cast<std::uint64_t>(kForever / kMillisecond)
                               ? kForever
                               : static_cast<Nanos>(away_ms) * kMillisecond;
        const Nanos left = saturating_sub(saturating_sub(row->expires_at, row->accepted_at), away);
        record.expires_at = row->expires_at == kForever ? kForever : saturating_add(now, std::max<Nanos>(left, 0));
        record.since = kNever;  // how long ago is not known
        record.due = now;
      }
      newest_stamp_ = std::max(newest_stamp_, record.stamp);
      records_.emplace(row_number(key), std::move(record));
    } else if (kind != 'd' || key.size() != 9) {
      return fail(Code::kCorrupt, "outbox: unknown row 0x" + to_hex(key));
    }
  }
  if (!has_meta || incarnation_ == 0) return fail(Code::kCorrupt, "outbox: rows without their head");
  if (composition) {  // D5: what may have been sent, under the number that it may have been sent with
    if (composition->number != next_number_) {
      return fail(Code::kCorrupt, "outbox: composition of batch " + std::to_string(composition->number) + ", but " +
                                      std::to_string(next_number_) + " is next");
    }
    if (composition->seqs.empty()) return fail(Code::kCorrupt, "outbox: batch in flight without records");
    InFlight batch;
    batch.number = composition->number;
    batch.seqs = std::move(composition->seqs);
    in_flight_ = std::move(batch);
    for (const std::uint64_t seq : in_flight_->seqs) {
      const auto it = records_.find(seq);
      if (it == records_.end())
        return fail(Code::kCorrupt,
                    "outbox: batch in flight names record " + std::to_string(seq) + ", which is not there");
      if (it->second.in_flight)
        return fail(Code::kCorrupt, "outbox: batch in flight names record " + std::to_string(seq) + " twice");
      it->second.in_flight = true;
    }
  }
  for (const auto& [seq, record] : records_) {
    if (const auto it = newest_.find(record.key); it != newest_.end() && !records_.at(it->second).in_flight) {
      return fail(Code::kCorrupt, "outbox: two queued records of '" + record.key + "'");
    }
    newest_[record.key] = seq;
    bytes_ += record.bytes();
    index(seq);
  }
  if (!records_.empty()) next_seq_ = records_.rbegin()->first + 1;
  counters_.pending = records_.size();
  counters_.written = counters_.flushed + counters_.superseded + counters_.expired + counters_.pending +
                      counters_.shed + counters_.lost;
  return {};
}

// ------------------------------------------------------------------------------------------------------ bookkeeping

void Outbox::index(std::uint64_t seq) {
  const Record& record = records_.at(seq);
  by_since_.emplace(record.since, seq);
  if (record.in_flight) return;
  by_due_.emplace(record.due, seq);
  if (record.expires_at != kForever) by_expiry_.emplace(record.expires_at, seq);
  queued_bytes_ += record.bytes();
}

void Outbox::unindex(std::uint64_t seq) {
  const Record& record = records_.at(seq);
  by_since_.erase({record.since, seq});
  if (record.in_flight) return;
  by_due_.erase({record.due, seq});
  by_expiry_.erase({record.expires_at, seq});
  queued_bytes_ -= record.bytes();
}

void Outbox::remove(std::uint64_t seq, OutboxActions& out) {
  unindex(seq);
  const auto it = records_.find(seq);
  bytes_ -= it->second.bytes();
  if (const auto newest = newest_.find(it->second.key); newest != newest_.end() && newest->second == seq)
    newest_.erase(newest);
  records_.erase(it);
  --counters_.pending;
  meta_dirty_ = true;
  out.persist.emplace_back(numbered_row('r', seq), std::nullopt);
}

// The hub misses a write of this key for as long as before, and whoever waits for the older is content with the newer.
void Outbox::supersede(std::uint64_t older, std::uint64_t newer, OutboxActions& out) {
  Record& from = records_.at(older);
  Record& to = records_.at(newer);
  unindex(newer);
  to.since = std::min(to.since, from.since);
  to.due = std::min(to.due, from.due);
  to.origin_tokens.insert(to.origin_tokens.end(), from.origin_tokens.begin(), from.origin_tokens.end());
  index(newer);
  remove(older, out);
  ++counters_.superseded;
}

void Outbox::number_rows(OutboxActions& out) {
  TIDELOCK_ASSERT(counters_.adds_up() && counters_.pending == records_.size());
  if (failed_) out.persist.clear();  // D3: nothing is tried again
  if (out.persist.empty()) {
    out.sync = false;
    return;
  }
  if (meta_dirty_) {
    out.persist.emplace_back(Bytes("m"), encode(MetaRow{incarnation_, next_number_, newest_stamp_, counters_.flushed,
                                                        counters_.superseded, counters_.expired, counters_.shed,
                                                        counters_.lost, counters_.batches, first_dead_, next_dead_}));
    meta_dirty_ = false;
  }
  out.persist_number = next_persist_++;
}

// ----------------------------------------------------------------------------------------------------------- accept

Result<void> Outbox::check(const WriteBehind& write) const {
  if (auto ok = validate_key(write.key); !ok) return ok;
  const std::size_t size = write.key.size() + (write.value ? write.value->size() : 0);
  if (size > kRecordBytesMax) {
    return fail(Code::kInvalid, "key and value are " + std::to_string(size) +
                                    " bytes; a write-behind record has at most " + std::to_string(kRecordBytesMax) +
                                    " bytes");
  }
  if (write.ttl_ns < 0)
    return fail(Code::kInvalid, "ttl_ns is " + std::to_string(write.ttl_ns) + "; it must be 0 (none) or more");
  if (write.stamp <= newest_stamp_) {
    return fail(Code::kInvalid, "the stamp of '" + write.key + "' is not newer than the one before");
  }
  return {};
}

bool Outbox::has_room(const WriteBehind& write) const {  // D7
  const auto replaced = replaceable(write.key);
  const std::size_t freed = replaced ? records_.at(*replaced).bytes() : 0;
  const std::size_t needed = write.key.size() + (write.value ? write.value->size() : 0) + kRecordOverhead;
  if (needed <= freed) return true;
  if (bytes_ - freed + needed > options_.bytes_max - options_.bytes_max / 20) return false;
  return replaced || records_.size() < options_.records_max - options_.records_max / 20;
}

void Outbox::accept(Nanos now, std::uint64_t wall_ms, WriteBehind write, OutboxActions& out) {
  expire(now, out);
  const auto busy = [&](std::string why) {
    out.done.push_back({write.token, Code::kBusy, std::move(why), AckLevel::kOs, options_.busy_retry_ns});
  };
  if (const auto ok = check(write); !ok) {
    out.done.push_back(failed(write.token, ok.error().code, ok.error().message));
  } else if (failed_) {
    busy("the outbox is read-only: " + *failed_);
  } else if (!has_room(write)) {
    busy("the outbox is full: " + std::to_string(bytes_) + " of " + std::to_string(options_.bytes_max) + " bytes, " +
         std::to_string(records_.size()) + " of " + std::to_string(options_.records_max) + " records");
  } else {
    admit(now, wall_ms, std::move(write), out);
  }
  work(now, out);
}

// A queued record of the key is replaced; one in flight stays, its batch is what it is (D5).
std::optional<std::uint64_t> Outbox::replaceable(const std::string& key) const {
  const auto newest = newest_.find(key);
  if (newest == newest_.end() || records_.at(newest->second).in_flight) return std::nullopt;
  return newest->second;
}

void Outbox::admit(Nanos now, std::uint64_t wall_ms, WriteBehind write, OutboxActions& out) {
  const auto replaced = replaceable(write.key);
  const std::uint64_t seq = next_seq_++;
  if (write.level == AckLevel::kOs) os_waiters_.push_back({write.token, next_persist_});
  if (write.level == AckLevel::kDisk) disk_waiters_.push_back({write.token, next_persist_});
  out.sync = out.sync || (write.level == AckLevel::kDisk && !TIDELOCK_MUTANT(kAckBeforeSync));

  Record record;
  record.key = std::move(write.key);
  record.value = std::move(write.value);
  record.stamp = write.stamp;
  record.expires_at = write.ttl_ns == 0 ? kForever : saturating_add(now, write.ttl_ns);
  record.since = now;
  // Half the age to gather, half to get there. Whoever waits for the origin does not wait for others.
  record.due = write.level == AckLevel::kOrigin ? now : saturating_add(now, std::max<Nanos>(write.flush_age_ns, 0) / 2);
  if (write.level == AckLevel::kOrigin) record.origin_tokens.push_back(write.token);

  newest_stamp_ = record.stamp;
  bytes_ += record.bytes();
  newest_[record.key] = seq;
  const Record& kept = records_.emplace(seq, std::move(record)).first->second;
  index(seq);
  ++counters_.written;
  ++counters_.pending;
  if (replaced) supersede(*replaced, seq, out);
  out.persist.emplace_back(numbered_row('r', seq),
                           encode(RecordRow{kept.key, kept.value, kept.stamp, options_.clock_run, now, wall_ms,
                                            kept.expires_at, kept.since, kept.due}));
}

void Outbox::persisted(Nanos now, std::uint64_t number, AckLevel level, OutboxActions& out) {  // D1
  const auto release = [&](std::deque<Waiter>& waiters, AckLevel reached_level) {
    for (; !waiters.empty() && waiters.front().number <= number; waiters.pop_front()) {
      out.done.push_back(reached(waiters.front().token, reached_level));
    }
  };
  release(os_waiters_, AckLevel::kOs);
  if (level != AckLevel::kOs || TIDELOCK_MUTANT(kAckBeforeSync)) {
    release(disk_waiters_, AckLevel::kDisk);
    if (in_flight_ && in_flight_->persist_number != 0 && in_flight_->persist_number <= number)
      in_flight_->durable = true;
  }
  work(now, out);
}

void Outbox::store_failed(Nanos now, const std::string& why, OutboxActions& out) {  // D3
  if (!failed_) {
    failed_ = why;
    for (const auto* waiters : {&os_waiters_, &disk_waiters_}) {
      for (const Waiter& waiter : *waiters)
        out.done.push_back(failed(waiter.token, Code::kMaybeApplied, "the outbox could not store the write: " + why));
    }
    os_waiters_.clear();
    disk_waiters_.clear();
    out.alarms.push_back("the outbox is read-only: " + why);
  }
  work(now, out);
}

// ------------------------------------------------------------------------------------------------------------ flush

void Outbox::session_open(Nanos now, OutboxActions& out) {
  session_ = true;
  retry_at_ = kNever;
  if (in_flight_) in_flight_->sent = false;
  work(now, out);
}

void Outbox::session_closed() {
  session_ = false;
  if (in_flight_) in_flight_->sent = false;
}

void Outbox::tick(Nanos now, OutboxActions& out) { work(now, out); }

void Outbox::work(Nanos now, OutboxActions& out) {
  expire(now, out);
  if (!in_flight_) compose(now, out);
  if (in_flight_) {
    if (in_flight_->persist_number == 0) put_composition(out);
    if (in_flight_->sent && saturating_sub(now, in_flight_->sent_at) >= options_.answer_wait_ns)
      in_flight_->sent = false;
    if ((in_flight_->durable || TIDELOCK_MUTANT(kCompositionNotSynced)) && session_ && !in_flight_->sent &&
        now >= retry_at_)
      transmit(now, out);
  }
  out.wake_at = std::min(out.wake_at, next_wake());
  number_rows(out);
}

Nanos Outbox::next_wake() const {
  Nanos wake = by_expiry_.empty() ? kForever : by_expiry_.begin()->first;
  if (!session_) return wake;
  if (in_flight_) {
    if (in_flight_->sent) {
      wake = std::min(wake, saturating_add(in_flight_->sent_at, options_.answer_wait_ns));
    } else if (in_flight_->durable) {
      wake = std::min(wake, retry_at_);
    }
  } else if (!by_due_.empty() && !failed_) {
    wake = std::min(wake, std::max(retry_at_, by_due_.begin()->first));
  }
  return wake;
}

void Outbox::expire(Nanos now, OutboxActions& out) {
  for (std::size_t n = 0; n < kExpireMax && !by_expiry_.empty() && by_expiry_.begin()->first <= now; ++n) {
    const std::uint64_t seq = by_expiry_.begin()->second;
    for (const std::uint64_t token : records_.at(seq).origin_tokens) {
      out.done.push_back(failed(token, Code::kMaybeApplied, "the record expired before the hub confirmed it"));
    }
    remove(seq, out);
    ++counters_.expired;
  }
}

bool Outbox::batch_is_due(Nanos now) const {
  if (by_due_.empty()) return false;
  return by_due_.begin()->first <= now || queued_bytes_ >= options_.batch_bytes_max ||
         by_due_.size() >= options_.batch_records_max;
}

// The oldest records first, so that stamps leave in order. Only in a session: until then a newer write may still
// replace an older one.
void Outbox::compose(Nanos now, OutboxActions& out) {
  if (!session_ || failed_ || now < retry_at_ || !batch_is_due(now)) return;
  InFlight batch;
  batch.number = next_number_;
  std::size_t bytes = 0;
  for (const auto& [seq, record] : records_) {
    if (TIDELOCK_MUTANT(kBatchOutOfOrder) && seq == records_.begin()->first && records_.size() > 1) continue;
    if (batch.seqs.size() >= options_.batch_records_max) break;
    if (!batch.seqs.empty() && bytes + record.bytes() > options_.batch_bytes_max) break;
    bytes += record.bytes();
    batch.seqs.push_back(seq);
  }
  for (const std::uint64_t seq : batch.seqs) {
    unindex(seq);
    records_.at(seq).in_flight = true;
    index(seq);
  }
  in_flight_ = std::move(batch);
  put_composition(out);
}

void Outbox::put_composition(OutboxActions& out) {  // D5
  if (failed_) return;
  in_flight_->persist_number = next_persist_;
  out.persist.emplace_back(Bytes("f"), encode(CompositionRow{in_flight_->number, in_flight_->seqs}));
  out.sync = true;
}

void Outbox::transmit(Nanos now, OutboxActions& out) {
  std::vector<BatchRecord> records;
  records.reserve(in_flight_->seqs.size());
  for (const std::uint64_t seq : in_flight_->seqs) {
    const Record& record = records_.at(seq);
    if (record.expires_at <= now) continue;
    records.push_back({record.key, record.value, record.stamp,
                       record.expires_at == kForever ? 0 : saturating_sub(record.expires_at, now)});
  }
  if (in_flight_->attempts++ > 0) ++counters_.resent;
  in_flight_->sent = true;
  in_flight_->sent_at = now;
  out.send = WriteBatch{incarnation_, in_flight_->number, compress(encode(records)), {}};
}

void Outbox::back_off(Nanos now) {
  in_flight_->sent = false;
  const std::uint32_t doublings = std::min<std::uint32_t>(in_flight_->attempts, 16);
  const Nanos longest = std::min(options_.backoff_max_ns, options_.backoff_first_ns << doublings);
  retry_at_ =
      saturating_add(now, 1 + static_cast<Nanos>(rng_.below(static_cast<std::uint64_t>(std::max<Nanos>(longest, 1)))));
}

void Outbox::batch_done(Nanos now, const BatchDone& answer, OutboxActions& out) {
  const bool ours = in_flight_ && answer.incarnation == incarnation_ &&
                    (answer.number == in_flight_->number || TIDELOCK_MUTANT(kAnyBatchAnswerCounts));
  // A batch that was sent in an earlier session may be confirmed in this one before it was sent again; a refusal counts
  // only when it answers what was sent last.
  if (ours && (answer.code == Code::kOk || TIDELOCK_MUTANT(kRefusalTakenForDone)) && in_flight_->durable) {
    on_applied(answer, out);
  } else if (ours && in_flight_->sent) {
    if (answer.code == Code::kInvalid) {  // D6
      back_off(now);
      if (++in_flight_->poison >= options_.poison_answers) on_poison(answer.message, out);
    } else if (answer.code == Code::kConflict) {
      // The hub lacks batches before this one, which it had confirmed: its ledger was replaced. A new incarnation
      // starts at 1 with the same records; the old numbers would leave a hole for ever.
      out.alarms.push_back("the hub does not know this outbox: " + answer.message);
      back_off(now);
      incarnation_ = rng_.next() | 1;
      next_number_ = 1;
      in_flight_->number = 1;
      in_flight_->persist_number = 0;
      in_flight_->durable = false;
      meta_dirty_ = true;
    } else {  // kBusy, fenced, aborted, unknown: again, under the same number
      back_off(now);
    }
  }
  work(now, out);
}

void Outbox::on_applied(const BatchDone& answer, OutboxActions& out) {
  const Nanos sent_at = in_flight_->sent_at;
  std::uint64_t applied = 0;
  for (const std::uint64_t seq : in_flight_->seqs) {
    const Record& record = records_.at(seq);
    const bool travelled = record.expires_at > sent_at;
    for (const std::uint64_t token : record.origin_tokens) {
      out.done.push_back(travelled
                             ? reached(token, AckLevel::kOrigin)
                             : failed(token, Code::kMaybeApplied, "the record expired before the hub confirmed it"));
    }
    travelled ? ++applied : ++counters_.expired;
    remove(seq, out);
  }
  const std::uint64_t superseded = std::min<std::uint64_t>(answer.superseded, applied);
  counters_.superseded += superseded;
  counters_.flushed += applied - superseded;
  ++counters_.batches;
  next_number_ = in_flight_->number + 1;
  in_flight_.reset();
  retry_at_ = kNever;
  out.persist.emplace_back(Bytes("f"), std::nullopt);
}

void Outbox::on_poison(const std::string& why, OutboxActions& out) {  // D6
  if (in_flight_->seqs.size() > 1) {
    split(out);
  } else {
    bury(why, out);
  }
}

void Outbox::split(OutboxActions& out) {
  const std::size_t half = in_flight_->seqs.size() / 2;
  const std::vector<std::uint64_t> returned(in_flight_->seqs.begin() + static_cast<std::ptrdiff_t>(half),
                                            in_flight_->seqs.end());
  in_flight_->seqs.resize(half);
  in_flight_->persist_number = 0;
  in_flight_->durable = false;
  in_flight_->poison = 0;
  for (const std::uint64_t seq : returned) {
    unindex(seq);
    records_.at(seq).in_flight = false;
    index(seq);
    const auto newest = newest_.find(records_.at(seq).key);
    if (newest == newest_.end()) {  // written again meanwhile, and that write has expired: it stays overwritten
      for (const std::uint64_t token : records_.at(seq).origin_tokens) {
        out.done.push_back(failed(token, Code::kMaybeApplied, "the record was overwritten by one that has expired"));
      }
      remove(seq, out);
      ++counters_.superseded;
    } else if (newest->second != seq) {  // its key was written again meanwhile
      supersede(seq, newest->second, out);
    }
  }
}

void Outbox::bury(const std::string& why, OutboxActions& out) {
  TIDELOCK_ASSERT(in_flight_->seqs.size() == 1);
  const std::uint64_t seq = in_flight_->seqs.front();
  const Record record = records_.at(seq);
  for (const std::uint64_t token : record.origin_tokens) out.done.push_back(failed(token, Code::kInvalid, why));
  remove(seq, out);
  ++counters_.lost;
  out.alarms.push_back("the hub refuses '" + record.key + "' for good: " + why);
  if (next_dead_ - first_dead_ >= options_.dead_letters_max)
    out.persist.emplace_back(numbered_row('d', first_dead_++), std::nullopt);
  out.persist.emplace_back(numbered_row('d', next_dead_++),
                           encode(DeadLetter{{record.key, record.value, record.stamp, 0}, why}));
  in_flight_.reset();  // its number is still free
  out.persist.emplace_back(Bytes("f"), std::nullopt);
}

// ------------------------------------------------------------------------------------------------------------ reads

std::optional<PendingWrite> Outbox::pending(std::string_view key) const {
  const auto it = newest_.find(std::string(key));
  if (it == newest_.end()) return std::nullopt;
  const Record& record = records_.at(it->second);
  return PendingWrite{record.value, record.expires_at, record.stamp, record.in_flight};
}

std::vector<std::string> Outbox::pending_keys() const {
  std::vector<std::string> keys;
  keys.reserve(newest_.size());
  for (const auto& [key, seq] : newest_) keys.push_back(key);
  return keys;
}

bool Outbox::flushed_in_time(Nanos now, Nanos flush_age_ns) const {
  if (by_since_.empty()) return true;
  const Nanos since = by_since_.begin()->first;
  return since != kNever && saturating_sub(now, since) <= flush_age_ns;
}

}  // namespace tidelock
