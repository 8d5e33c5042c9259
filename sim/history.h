// History is what truly happened, and the judge of every read: it knows the committed log, who acknowledged what when,
// and which strong reads ended with what. It shares the state machine with the hubs, and nothing else.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "protocol/receipt.h"
#include "protocol/state_machine.h"
#include "sim/world.h"

namespace tidelock::sim {

class MapRows : public StateRows {
 public:
  std::optional<Bytes> row(std::string_view key) const override {
    const auto it = rows.find(key);
    return it == rows.end() ? std::nullopt : std::optional<Bytes>(it->second);
  }
  void visit(std::string_view prefix,
             const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    for (auto it = rows.lower_bound(prefix); it != rows.end() && it->first.starts_with(prefix); ++it) {
      if (!visit(it->first, it->second)) return;
    }
  }
  void commit(const StateBatch& batch) {
    for (const auto& [key, value] : batch.rows) {
      if (value)
        rows[key] = *value;
      else
        rows.erase(key);
    }
  }
  std::map<std::string, Bytes, std::less<>> rows;
};

struct Version {
  Index index;
  Nanos committed_at = 0;
  Nanos acknowledged_at = kForever;  // by the hub, first
  std::optional<Bytes> value;
  Nanos expires_at = kForever;  // ledger time
  Stamp stamp;
};

// What a reader was told.
struct Told {
  std::string key;
  bool found = false;
  std::optional<Bytes> value;
  Receipt receipt;
  bool strong = false;  // the contract was strong and it was met
  Nanos ended_at = 0;
  Index floor;  // of the key when the read began
  Index token;
};

class History {
 public:
  explicit History(World& world) : world_(world), state_(rows_) {}

  // A ledger entry was committed; answers what it changed.
  Applied commit(Index index, BytesView command);
  // The hub told somebody that what `index` wrote is done (A1).
  void acknowledged(Index index);
  // The same of a batch, by its name (D5).
  void acknowledged_batch(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number);
  // The hub told somebody that this command had no effect and never will (S1).
  void declared_void(CommandId id);
  // An own write of an edge, before it was sequenced.
  void written_behind(const std::string& key, const std::optional<Bytes>& value, Stamp stamp);
  // I8: acknowledged as durable.
  void durable(const std::string& key, Stamp stamp);

  // The newest version of the key that was acknowledged or strongly read so far (I1).
  Index floor(const std::string& key) const;
  void check_read(const Told& told, const std::string& where);  // I1, I2, F10
  void check_end();                                             // I8

  const StateMachine& state() const { return state_; }
  Index last() const { return state_.applied(); }
  const std::vector<Version>& versions(const std::string& key) const;
  std::uint64_t reads_checked() const { return reads_; }

 private:
  const Version* version_of(const Told& told) const;

  World& world_;
  MapRows rows_;
  StateMachine state_;
  std::map<std::string, std::vector<Version>> versions_;
  std::map<Index, std::vector<std::string>> changed_;
  std::map<std::string, Index> floor_;
  std::map<std::tuple<NodeId, std::uint64_t, std::uint64_t>, Index> batches_;
  std::set<CommandId> void_;
  std::set<CommandId> effective_;
  std::map<std::pair<std::string, std::string>, Stamp> behind_;  // (key, value) -> stamp
  std::map<std::string, Stamp> durable_;
  std::uint64_t reads_ = 0;
};

}  // namespace tidelock::sim
