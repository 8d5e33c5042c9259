// LedgerModel is what a ledger means, written down a second time and as plainly as possible: which entries take effect
// (A1: fencing, each id once; S1: aborted ids; D5: batch numbers), what a key then is (S4: conditions, all or nothing;
// stamps; expiry by the ledger's own time).
//
// It keeps every version, every id and every stamp for ever, where the product forgets by rules of its own. So it also
// judges those rules: a tombstone that was collected too early shows as a version that this model never saw. (Where a
// rule promises nothing, Version::perhaps says so.)
// Not here: what is said to a sender about an entry without effect.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/oracle/facts.h"

namespace tidelock::oracle {

struct Version {
  Index index;
  std::optional<Bytes> value;
  Nanos expires_at = kForever;  // in ledger time
  Stamp stamp;
  std::string names = {};  // M7: as in Write
  // G9: the record is older than a deletion whose tombstone may be gone, because its edge was not registered all the
  // time since. Whether it took effect cannot be told from the ledger alone.
  bool perhaps = false;
};

struct Effect {
  bool effective = false;
  bool conflict = false;             // a condition failed: the id is used up, nothing changed
  std::vector<std::string> changed;  // keys that have a new version, in order
};

struct Outcome {
  enum class Kind : std::uint8_t { kDone, kConflict, kAborted };
  Index index;
  Kind kind = Kind::kDone;
};

class LedgerModel {
 public:
  // Entries come in the order of the ledger; nullptr: bytes that mean nothing.
  Effect commit(Index index, const Entry* entry);

  Index last() const { return last_; }
  Nanos time() const { return time_; }  // the ledger's clock: the highest of all effective entries
  std::uint32_t rho_ppm() const { return rho_ppm_; }
  bool strong(std::string_view key) const;
  std::optional<Index> first_registered(const NodeId& edge) const;
  Nanos lease_at(Index index) const;  // the setting as of this index (A5)
  // Every version of the key, oldest first.
  const std::vector<Version>& versions(std::string_view key) const;
  // What the key is now; null when it is absent, deleted or expired.
  const Version* live(std::string_view key) const;
  std::optional<Outcome> outcome(CommandId id) const;
  // Where a batch took effect, and how many of its records lost against newer stamps; nullopt: that cannot be told.
  struct Counted {
    Index index;
    std::optional<std::uint64_t> superseded;
  };
  std::optional<Counted> batch(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number) const;
  const std::map<std::string, std::vector<Version>, std::less<>>& keys() const { return versions_; }
  // M7: "MODEL VERSION" -> the index of its certificate; 0: not certified yet.
  const std::map<std::string, Index>& recalls() const { return recalls_; }

 private:
  bool run(Effect& effect, const Entry& entry, const Entry::Claim& claim);
  bool run(Effect& effect, const Entry& entry, const Entry::Put& put);
  bool run(Effect& effect, const Entry& entry, const Entry::Abort& abort);
  bool run(Effect& effect, const Entry& entry, const Entry::Seed& seed);
  bool run(Effect& effect, const Entry& entry, const Entry::Batch& batch);
  bool run(Effect& effect, const Entry& entry, const Entry::Recall& recall);
  bool run(Effect& effect, const Entry& entry, const Entry::Certify& certify);
  const Policy* policy(std::string_view key) const;
  const Version* newest(std::string_view key) const;  // that surely took effect
  void add(Effect& effect, const std::string& key, Version version);

  Index last_;
  Nanos time_ = 0;
  Term term_;
  bool seeded_ = false;
  std::uint32_t version_ = 1;  // of the ledger
  std::uint32_t rho_ppm_ = 200;
  std::vector<Policy> policies_;
  std::map<NodeId, Index> registered_;  // since when, without a break (A6)
  std::map<NodeId, Index> first_registered_;
  Nanos lease_long_ns_ = 0, lease_short_ns_ = 0;
  std::map<Index, Nanos> leases_;  // from which index on
  std::map<CommandId, Outcome> outcomes_;
  std::map<std::pair<NodeId, std::uint64_t>, std::vector<Counted>> lanes_;  // (edge, incarnation): by number, from 1
  std::map<std::string, std::vector<Version>, std::less<>> versions_;
  std::map<std::string, Index> recalls_;
};

}  // namespace tidelock::oracle
