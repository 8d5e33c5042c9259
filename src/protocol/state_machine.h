// StateMachine turns ledger entries into the state that every hub holds alike: values with versions, terms, settings,
// the registry of edges, ids applied before, batch numbers.
//
// Pure:      it reads rows through StateRows and appends changed rows to a StateBatch; the shell commits that batch
// before
//            the next apply (rows and `applied()` in one batch, so a restart resumes exactly there). Until then reads
//            see the uncommitted rows of the latest apply as well: what was applied is visible at once.
// Threads:   one.
// Cost:      apply is O(keys in the command) row reads and writes; each sweeps a bounded number of rows that
//            are past their time (kSweepMax by a beacon, in proportion to its keys by a write).
// Rules:     A1 (fencing, ids applied once, ignored commands leave no trace), A5, A6, S1 (abort), D5 (batch numbers),
// HLC
//            supersession, TTL by ledger time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "protocol/commands.h"
#include "protocol/policy.h"

namespace tidelock {

// The rows as committed so far, ordered by key.
class StateRows {
 public:
  virtual ~StateRows() = default;
  virtual std::optional<Bytes> row(std::string_view key) const = 0;
  // Every row whose key starts with `prefix` and is at or above `from`, in order, until `visit` answers false.
  virtual void visit(std::string_view prefix, std::string_view from,
                     const std::function<bool(std::string_view key, std::string_view value)>& visit) const = 0;
};
struct StateBatch {
  std::vector<std::pair<Bytes, std::optional<Bytes>>> rows;  // nullopt erases
};

struct ChangedValue {
  std::string key;
  StoredValue now;
};

struct Applied {
  Index index;
  Command command;
  // False: nothing changed and nothing was recorded; `code` says why. kNotActive: fenced (A1). kUnavailable: its id was
  // aborted (S1), or the cluster is not seeded yet. kCorrupt: malformed bytes. kInvalid: refused by content (of a
  // batch: poison, its number is not consumed, D6). kConflict: a hole in the batch numbers (D5), or a second seed. kOk:
  // it (or the batch with this number) had been applied before.
  bool effective = false;
  // The same id took effect at this index earlier; of an abort without effect: its *target* did (S1), with `code`.
  std::optional<Index> applied_before;
  Code code = Code::kOk;  // of an effective (or earlier) write: kConflict when a condition failed: nothing changed
  std::string message;
  std::vector<ChangedValue> changed;
  std::uint32_t superseded = 0;  // batch records older than what is held
};

// F11: what a row becomes when a ledger begins anew at `base`, after a restore or a forced recovery. Every value gets
// the version `base`, which is above everything the former ledger can have handed out: an edge that holds values the
// new ledger never had finds that none of its versions is the newest one.
Bytes rebased_row(std::string_view key, std::string_view value, Index base);
// Of the row "a", the first one: the index that the rows contain.
Index applied_of_row(std::string_view value);
inline constexpr std::string_view kAppliedRow = "a";

// The first index of the next ledger: 2^44 entries apart, which one ledger does not reach (10,000 a second: 55 years).
constexpr Index next_ledger_base(Index last) { return {((last.value >> 44) + 1) << 44}; }

class StateMachine {
 public:
  static constexpr std::uint64_t kIdsMax = 262'144;  // ids remembered, oldest out first
  static constexpr std::size_t kLanesMax = 8;        // incarnations remembered per edge
  static constexpr std::size_t kSweepMax = 128;
  static constexpr std::size_t kBatchRecordsMax = 65'536;

  // `rows` must outlive the machine. Loads the small state.
  explicit StateMachine(const StateRows& rows);
  // Again after the rows were replaced (snapshot install).
  void load();

  Applied apply(Index index, BytesView command, StateBatch& out);

  Index applied() const { return applied_; }
  Term term() const { return term_; }  // newest claim (A1); 0 before the first
  const NodeId& claim_hub() const { return claim_hub_; }
  Boot claim_boot() const { return claim_boot_; }
  std::uint32_t ledger_version() const { return ledger_version_; }
  bool seeded() const { return seeded_; }
  const ClusterSettings& settings() const { return settings_; }
  const std::vector<Namespace>& namespaces() const { return namespaces_; }
  const Bytes& model_key() const { return model_key_; }
  bool lease_is_short() const { return lease_is_short_; }  // A5
  Nanos lease_ns() const { return lease_is_short_ ? settings_.lease_short_ns : settings_.lease_long_ns; }
  Nanos ledger_time() const { return ledger_time_; }
  const std::map<NodeId, std::string>& edges() const { return edges_; }  // A6: id -> site

  // M7: every recall there is; a version once recalled is so for ever.
  const std::map<ModelVersion, RecallState>& recalls() const { return recalls_; }
  const std::set<ModelVersion>& uncertified() const { return uncertified_; }
  bool is_recalled(const std::string& name, const std::string& version) const;
  std::optional<RecallCertificate> certificate(const std::string& name, const std::string& version) const;

  // What a reader would get at applied(): nullopt when absent, deleted or expired by ledger time.
  std::optional<StoredValue> find(std::string_view key) const;
  // The newest stamp that took effect on the key, of a tombstone or of an expired value as well; zero when none is kept
  // (then every edge has sent all it had of that age, see state_machine.cc).
  Stamp newest_stamp(std::string_view key) const;
  // The newest stamp of the newest batch of an edge; zero when it never sent one.
  Stamp newest_batch_stamp(const NodeId& edge) const;
  // Keys with a live value under a prefix, at most `limit`.
  std::vector<std::string> keys(std::string_view prefix, std::size_t limit) const;
  // A page of the keys that belong to the namespace `prefix` and have a value at ledger time `now`; `last` is empty
  // behind the last one. Looks at no more than kListedRowsMax rows.
  struct Listing {
    std::vector<std::string> keys;
    std::string last;  // the next page begins behind it
    Stamp newest;      // of their values
  };
  Listing list(std::string_view prefix, std::string_view after, Nanos now) const;
  static constexpr std::size_t kListedRowsMax = 4096;
  static constexpr std::size_t kListedBytesMax = 256u << 10;  // of keys in one page
  static constexpr std::size_t kListedReadMax = 2u << 20;     // of all rows that it looks at, their values included
  // The index and outcome of a command that took effect earlier: kOk, or kConflict (a condition failed). kUnavailable
  // with the index of the abort when the id was aborted: it has had no effect and never will (S1). Beacons are not
  // remembered.
  std::optional<std::pair<Index, Code>> outcome(CommandId id) const;
  std::uint64_t last_batch(const NodeId& edge, std::uint64_t incarnation) const;
  // Rows that wait for collection: values past their time, and tombstones. For metrics; O(rows).
  std::size_t uncollected() const;

 private:
  friend struct StateDigest;  // of the simulator: has to know every field
  using Visit = std::function<bool(std::string_view key, std::string_view value)>;
  struct Lane {  // D5: one incarnation of an edge's outbox
    std::uint64_t incarnation = 0;
    std::uint64_t last = 0;
    Index index;  // of the last batch
    template <class A>
    void fields(A& a) {
      a(incarnation, last, index);
    }
  };
  struct Lanes {
    Stamp floor;  // the newest stamp of the edge's newest batch: what it still has to send is newer
    std::vector<Lane> lanes;
    template <class A>
    void fields(A& a) {
      a(floor, lanes);
    }
  };
  struct Remembered {
    Index index;
    Code code = Code::kOk;
    template <class A>
    void fields(A& a) {
      a(index, code);
    }
  };

  // Rows under the latest apply.
  std::optional<Bytes> row(std::string_view key) const;
  void visit(std::string_view prefix, const Visit& visit) const { this->visit(prefix, prefix, visit); }
  void visit(std::string_view prefix, std::string_view from, const Visit& visit) const;
  void put_row(Bytes key, Bytes value) { changed_rows_[std::move(key)] = std::move(value); }
  void erase_row(Bytes key) { changed_rows_[std::move(key)] = std::nullopt; }

  std::optional<StoredValue> stored(std::string_view key) const;
  bool live(const StoredValue& value) const { return value.value && value.expires_at > ledger_time_; }
  void store(const std::string& key, const std::optional<StoredValue>& before, const std::optional<StoredValue>& now);
  std::optional<Remembered> remembered(CommandId id) const;
  void remember(CommandId id, Remembered what);
  Lanes lanes_of(const NodeId& edge) const;
  void put_settings();
  void put_head();
  void sweep(std::size_t limit);
  void sweep_expired(std::size_t limit);
  void sweep_proven(std::size_t limit);
  Stamp proven_floor() const;

  void run(Applied& applied);
  void run(Applied& applied, const Claim& claim);
  void run(Applied& applied, const Beacon& beacon);
  void run(Applied& applied, const Put& put);
  void run(Applied& applied, const Abort& abort);
  void run(Applied& applied, const RegisterEdge& edge);
  void run(Applied& applied, const RemoveEdge& edge);
  void run(Applied& applied, const SetLease& lease);
  void run(Applied& applied, const Seed& seed);
  void run(Applied& applied, const Batch& batch);
  void run(Applied& applied, const RaiseVersion& raise);
  // state_recalls.cc
  void run(Applied& applied, const RecallVersion& recall);
  void run(Applied& applied, const CertifyRecall& certify);
  void load_recalls();
  std::optional<ModelVersion> puts_recalled_in_force(const Put& put) const;
  bool still_named(const CertifyRecall& certify) const;

  const StateRows* rows_;
  std::map<Bytes, std::optional<Bytes>, std::less<>> changed_rows_;  // by the latest apply
  Index applied_;
  Term term_;
  NodeId claim_hub_;
  Boot claim_boot_;
  std::uint32_t ledger_version_ = 1;
  bool seeded_ = false;
  ClusterSettings settings_;
  std::vector<Namespace> namespaces_;
  Bytes model_key_;
  bool lease_is_short_ = false;
  Nanos ledger_time_ = 0;
  std::map<NodeId, std::string> edges_;
  std::map<NodeId, Stamp> floors_;  // Lanes::floor by edge
  std::map<ModelVersion, RecallState> recalls_;
  std::set<ModelVersion> uncertified_;  // of them
  std::uint64_t ids_first_ = 1;         // of the order rows
  std::uint64_t ids_next_ = 1;
  // No value that waits for its end ends before, no tombstone has an older stamp: what has nothing to sweep reads no
  // rows.
  Nanos first_expiry_ = 0;
  Stamp first_tombstone_;
};

}  // namespace tidelock
