// Outbox decides what happens to write-behind records between the app and the hub (DESIGN 5; D1, D5-D8, I8): when a
// record is durable, which records replace which, what goes into a batch, when it is sent again, what is told to whom.
//
// Pure:      every call carries the time; chance (backoff, incarnations) comes from the Rng handed in.
// Threads:   one.
// Cost:      accept and pending are O(log records); composing a batch is O(records in it).
// Rows:      `persist` is committed by the shell all or nothing and in the order of its numbers, so that a number known
// to be
//            on disk covers all before it, those of earlier runs included. `sync` asks for a synced commit (group
//            commit: the shell may gather for at most 5 ms or 256 KiB, D1). The shell answers with persisted(number,
//            level). A failed commit is store_failed (D3).
// I8:        a record is acknowledged at kDisk after its row is on disk, and its row leaves only after the hub has
// applied it
//            (or a newer record of its key is in the same commit, or it expired, or it is in the dead-letter log).
// D5:        the composition of a batch (number and records) is on disk before its first byte is sent. Whatever is
// killed
//            whenever, the same number never means other records, so a hub that has applied it may say "applied
//            before".
//            Lifetimes are told as what is left, so each transmission says them anew; a record that has expired
//            meanwhile stays out of it, and an empty batch still uses its number up.
// D6:        kInvalid means that the hub refused the batch and its number is free. After poison_answers of them the
// batch is
//            halved under the same number, down to the record at fault, which goes to the dead-letter log.
// Order:     one batch is outstanding at a time; records leave in the order of their stamps (the hubs' collection of
//            tombstones rests on this, see state_machine.cc).
// Limits:    bytes and records (D7): above 95 % a write is refused with kBusy. Nothing is shed.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/time.h"
#include "protocol/commands.h"
#include "protocol/messages.h"

namespace tidelock {

// D1: how far a record had come when it was acknowledged.
enum class AckLevel : std::uint8_t {
  kOs,      // with the kernel: survives kill -9, not a power cut
  kDisk,    // synced here
  kOrigin,  // applied by the ledger
};
constexpr AckLevel last_enumerator(AckLevel) { return AckLevel::kOrigin; }

// Rows of the outbox's own column family; nullopt erases.
using OutboxRows = std::vector<std::pair<Bytes, std::optional<Bytes>>>;

struct OutboxOptions {
  std::size_t bytes_max = 64u << 20;  // of pending records, with kRecordOverhead each
  std::size_t records_max = 500'000;
  std::size_t batch_bytes_max = 256u << 10;  // before compression; a single larger record travels alone
  std::size_t batch_records_max = 4'096;
  Nanos backoff_first_ns = 50 * kMillisecond;  // doubling with full jitter, after kBusy and the like
  Nanos backoff_max_ns = 5 * kSecond;
  Nanos answer_wait_ns = 30 * kSecond;  // no BatchDone in an open session for this long: sent again (D5 makes it safe)
  Nanos busy_retry_ns = 250 * kMillisecond;  // what a refused writer is told (D7)
  std::uint32_t poison_answers = 3;          // D6
  std::size_t dead_letters_max = 1'000;
  // Names the run of the elapsed clock (the machine's boot id, hashed). Expiries and ages survive a restart exactly
  // within one run; across a reboot the time that passed is taken from the wall clock, never less than 0 (C4: this is
  // lifetime of data, not safety).
  std::uint64_t clock_run = 0;
};

// One accepted write. Bytes are limited like every key and value; with its key a value has to fit a ledger entry of 1
// MiB.
struct WriteBehind {
  std::string key;
  std::optional<Bytes> value;  // nullopt deletes
  Nanos ttl_ns = 0;            // from now; 0 = none
  Stamp stamp;                 // greater than every stamp accepted before (Hlc::tick)
  AckLevel level = AckLevel::kDisk;
  std::uint64_t token = 0;       // comes back in OutboxActions::done
  Nanos flush_age_ns = kSecond;  // the namespace's: the record is on its way after half of it at the latest
};

struct OutboxDone {  // the fate of one accept, exactly once for each
  std::uint64_t token = 0;
  // kOk: `level` is reached. kBusy: nothing was kept, retry after retry_after_ns. kInvalid: nothing was kept, or
  // (kOrigin) the hub refuses it for good. kMaybeApplied: the store failed, or the record expired before the hub
  // confirmed it: readers of this edge saw it, and an unanswered batch may have brought it to others.
  Code code = Code::kOk;
  std::string message;
  AckLevel level = AckLevel::kOs;
  Nanos retry_after_ns = 0;
};

// Carried out in field order.
struct OutboxActions {
  OutboxRows persist;
  std::uint64_t persist_number = 0;  // of `persist`; 0 when there is nothing to persist
  bool sync = false;
  std::optional<WriteBatch> send;  // its composition is on disk already; into the open session, which fills in `sent`
  std::vector<OutboxDone> done;
  std::vector<std::string> alarms;  // D6: a record was moved to the dead-letter log; a new incarnation began
  Nanos wake_at = kForever;         // tick() is due then
};

// Since the outbox was created; persisted with the rows. written = flushed + superseded + expired + pending + shed +
// lost.
struct OutboxCounters {
  std::uint64_t written = 0;     // accepted
  std::uint64_t flushed = 0;     // applied by the hub
  std::uint64_t superseded = 0;  // replaced by a newer write of the key, here or at the hub
  std::uint64_t expired = 0;     // its lifetime ended before it was flushed
  std::uint64_t pending = 0;
  std::uint64_t shed = 0;  // D7: always 0, no namespace allows it yet
  std::uint64_t lost = 0;  // D6: the hub refused it for good; it is in the dead-letter log while that has room
  std::uint64_t batches = 0, resent = 0;  // not part of the sum
  bool adds_up() const { return written == flushed + superseded + expired + pending + shed + lost; }
};

// What a read of this edge overlays on what the hub told it (D8).
struct PendingWrite {
  std::optional<Bytes> value;  // nullopt: deleted
  Nanos expires_at = kForever;
  Stamp stamp;
  bool in_flight = false;  // in a composed batch: the hub may have applied it already
};

class Outbox {
 public:
  static constexpr std::size_t kRecordOverhead = 128;
  static constexpr std::size_t kRecordBytesMax = (1u << 20) - 8192;  // key and value: fits a ledger entry of 1 MiB

  // `rows` is everything that was persisted before, in any order; empty for a new outbox, which draws its incarnation
  // from `rng`. kCorrupt when the rows contradict each other (D2: nothing is repaired by guessing). `wall_ms` as in
  // OutboxOptions::clock_run.
  static Result<Outbox> restore(OutboxOptions options, const std::vector<std::pair<Bytes, Bytes>>& rows, Nanos now,
                                std::uint64_t wall_ms, Rng rng);

  void accept(Nanos now, std::uint64_t wall_ms, WriteBehind write, OutboxActions& out);
  void persisted(Nanos now, std::uint64_t number, AckLevel level, OutboxActions& out);
  // D3, for good: waiting writes end as kMaybeApplied, new ones are refused, and no new batch can be composed. The
  // batch on its way may still finish.
  void store_failed(Nanos now, const std::string& why, OutboxActions& out);
  void session_open(Nanos now, OutboxActions& out);
  void session_closed();
  // Only answers of the current session (F2). Answers to other batches are ignored.
  void batch_done(Nanos now, const BatchDone& answer, OutboxActions& out);
  void tick(Nanos now, OutboxActions& out);

  // The newest write of the key that the hub has not confirmed; the caller tests expires_at.
  std::optional<PendingWrite> pending(std::string_view key) const;
  // Keys with a pending write, in no order; for scans of this edge's copies.
  std::vector<std::string> pending_keys() const;
  // Probe::flushed: no accepted write has waited longer than `flush_age_ns`, overwritten ones included.
  bool flushed_in_time(Nanos now, Nanos flush_age_ns) const;
  const OutboxCounters& counters() const { return counters_; }
  std::size_t bytes() const { return bytes_; }
  std::uint64_t incarnation() const { return incarnation_; }
  // The largest stamp ever accepted here: a restarted edge continues above it (Hlc::start_after, G8).
  const Stamp& newest_stamp() const { return newest_stamp_; }

 private:
  friend struct StateDigest;  // of the simulator: has to know every field
  struct Waiter {
    std::uint64_t token = 0;
    std::uint64_t number = 0;  // of the rows it waits for
  };
  struct Record {
    std::string key;
    std::optional<Bytes> value;
    Stamp stamp;
    Nanos expires_at = kForever;
    Nanos since = 0;  // the oldest write of this key that the hub may not have (flushed_in_time)
    Nanos due = 0;    // a batch should leave
    bool in_flight = false;
    std::vector<std::uint64_t> origin_tokens;
    std::size_t bytes() const { return key.size() + (value ? value->size() : 0) + kRecordOverhead; }
  };
  struct InFlight {  // D5
    std::uint64_t number = 0;
    std::vector<std::uint64_t> seqs;
    std::uint64_t persist_number = 0;  // of its composition; 0: to be written (again)
    bool durable = false;
    bool sent = false;  // in this session, and not answered
    Nanos sent_at = kNever;
    std::uint32_t attempts = 0;
    std::uint32_t poison = 0;
  };
  using Records = std::map<std::uint64_t, Record>;

  Outbox(OutboxOptions options, Rng rng) : options_(options), rng_(rng) {}
  Result<void> load(const std::vector<std::pair<Bytes, Bytes>>& rows, Nanos now, std::uint64_t wall_ms);
  Result<void> check(const WriteBehind& write) const;
  bool has_room(const WriteBehind& write) const;
  std::optional<std::uint64_t> replaceable(const std::string& key) const;
  void admit(Nanos now, std::uint64_t wall_ms, WriteBehind write, OutboxActions& out);
  void work(Nanos now, OutboxActions& out);  // whatever an event made possible
  void expire(Nanos now, OutboxActions& out);
  bool batch_is_due(Nanos now) const;
  void compose(Nanos now, OutboxActions& out);
  void put_composition(OutboxActions& out);
  void transmit(Nanos now, OutboxActions& out);
  Nanos next_wake() const;
  void on_applied(const BatchDone& answer, OutboxActions& out);
  void on_poison(const std::string& why, OutboxActions& out);
  void bury(const std::string& why, OutboxActions& out);
  void split(OutboxActions& out);
  void back_off(Nanos now);
  void supersede(std::uint64_t older, std::uint64_t newer, OutboxActions& out);
  void remove(std::uint64_t seq, OutboxActions& out);
  void index(std::uint64_t seq);
  void unindex(std::uint64_t seq);
  void number_rows(OutboxActions& out);

  OutboxOptions options_;
  Rng rng_;
  std::uint64_t incarnation_ = 0;
  std::uint64_t next_number_ = 1;
  std::uint64_t next_seq_ = 1;
  std::uint64_t next_persist_ = 1;
  std::uint64_t first_dead_ = 1, next_dead_ = 1;
  Stamp newest_stamp_;
  bool meta_dirty_ = false;
  std::optional<std::string> failed_;

  Records records_;                                        // by order of acceptance, which is the order of stamps
  std::unordered_map<std::string, std::uint64_t> newest_;  // key -> its newest record
  using ByTime = std::set<std::pair<Nanos, std::uint64_t>>;
  ByTime by_since_;
  ByTime by_due_, by_expiry_;  // queued records only
  std::size_t bytes_ = 0;
  std::size_t queued_bytes_ = 0;
  std::deque<Waiter> os_waiters_, disk_waiters_;
  std::optional<InFlight> in_flight_;
  bool session_ = false;
  Nanos retry_at_ = kNever;
  OutboxCounters counters_;
};

}  // namespace tidelock
