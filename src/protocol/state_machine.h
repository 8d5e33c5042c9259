// StateMachine turns ledger entries into the state that every hub holds alike: values with versions, terms, settings,
// the registry of edges, ids applied before, batch numbers.
//
// Pure:      it reads rows through StateRows and appends changed rows to a StateBatch; the shell commits that batch before
//            the next apply (rows and `applied()` in one batch, so a restart resumes exactly there).
// Threads:   one.
// Cost:      apply is O(keys in the command) row reads and writes.
// Rules:     A1 (fencing, ids applied once, ignored commands leave no trace), A5, A6, S1 (abort), D5 (batch numbers), HLC
//            supersession, TTL by ledger time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
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
  // Every row whose key starts with `prefix`, in order, until `visit` answers false.
  virtual void visit(std::string_view prefix, const std::function<bool(std::string_view key, std::string_view value)>& visit) const = 0;
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
  bool effective = false;              // false: fenced (A1), already applied, aborted, or malformed
  std::optional<Index> applied_before; // the same id took effect at this index earlier
  Code code = Code::kOk;               // of an effective (or earlier) write: kConflict when a condition failed: nothing changed
  std::string message;
  std::vector<ChangedValue> changed;
  std::uint32_t superseded = 0;  // batch records older than what is held
};

class StateMachine {
 public:
  // `rows` must outlive the machine. Loads the small state.
  explicit StateMachine(const StateRows& rows);
  // Again after the rows were replaced (snapshot install).
  void load();

  Applied apply(Index index, BytesView command, StateBatch& out);

  Index applied() const { return applied_; }
  Term term() const { return term_; }  // newest claim (A1); 0 before the first
  const NodeId& claim_hub() const { return claim_hub_; }
  Boot claim_boot() const { return claim_boot_; }
  bool seeded() const { return seeded_; }
  const ClusterSettings& settings() const { return settings_; }
  const std::vector<Namespace>& namespaces() const { return namespaces_; }
  const Bytes& model_key() const { return model_key_; }
  bool lease_is_short() const { return lease_is_short_; }  // A5
  Nanos lease_ns() const { return lease_is_short_ ? settings_.lease_short_ns : settings_.lease_long_ns; }
  Nanos ledger_time() const { return ledger_time_; }
  const std::map<NodeId, std::string>& edges() const { return edges_; }  // A6: id -> site

  // What a reader would get at applied(): nullopt when absent, deleted or expired by ledger time.
  std::optional<StoredValue> find(std::string_view key) const;
  // Keys with a live value under a prefix, at most `limit`.
  std::vector<std::string> keys(std::string_view prefix, std::size_t limit) const;
  // The index and outcome of a command that took effect earlier.
  std::optional<std::pair<Index, Code>> outcome(CommandId id) const;
  std::uint64_t last_batch(const NodeId& edge, std::uint64_t incarnation) const;

 private:
  const StateRows& rows_;
  Index applied_;
  Term term_;
  NodeId claim_hub_;
  Boot claim_boot_;
  bool seeded_ = false;
  ClusterSettings settings_;
  std::vector<Namespace> namespaces_;
  Bytes model_key_;
  bool lease_is_short_ = false;
  Nanos ledger_time_ = 0;
  std::map<NodeId, std::string> edges_;
};

}  // namespace tidelock
