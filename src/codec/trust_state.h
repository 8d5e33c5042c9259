// What a verifier believes of the trust files (codec/trust.h), and how it comes to believe more (X2, X3).
//
//   attack                 what stops it
//   arbitrary install      a release must be in the targets file of its namespace, by the keys that the root gives it
//   rollback               each role has a floor, (root of its last key rotation, version), that never goes down
//   freeze                 the timestamp expires: the standing says so, whoever is strong refuses (the caller's part)
//   mix-and-match          timestamp names one snapshot, that names each targets file, by length and digest
//   endless data           every length is known before: from the limits, or from the file above
//   fast-forward           a rotation of a role's keys begins its versions anew, above every floor
//   a stolen online key    it can make timestamps of catalogues that were signed, nothing else
//
// A step is taken whole or not at all: a refused file leaves everything as it was.
//
// Threads: one at a time. No clock: wall time comes in with the call, and only ever marks something as expired (C4).
// Cost:    a signature check (0.1 ms) for each file, two for a root; load() checks all of them again (X3).
// Errors:  kDenied an attack, or what looks like one; kCorrupt, kInvalid bytes; the message names the file, the field,
//          both values and the attack. kConflict: a root further ahead than the next, the message says which is next.
// No promise: that a release runs, or that it is in force: that is the ledger's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/trust.h"

namespace tidelock {

// Ordered by the rotation first: what former keys signed never reaches it.
struct TrustFloor {
  std::uint64_t since_root = 0, value = 0;
  friend auto operator<=>(const TrustFloor&, const TrustFloor&) = default;
  template <class A>
  void fields(A& a) {
    a(since_root, value);
  }
};

// The files of a Trust, as they were given: for whoever has a trust of its own and believes nobody else's floors.
struct TrustFiles {
  Bytes root;                 // empty: none
  Bytes timestamp, snapshot;  // empty: no catalogue
  std::vector<Bytes> targets;
  friend bool operator==(const TrustFiles&, const TrustFiles&) = default;
};

enum class TrustStanding : std::uint8_t {
  kUnset,        // no root was ever given: nothing is asked of a release
  kNoCatalogue,  // a root, and no catalogue that its keys signed: no release passes
  kFresh,
  kExpired,  // the catalogue is authentic, and may be an old one: a freeze looks like this
};
std::string_view trust_standing_name(TrustStanding standing);  // "unset", "no_catalogue", "fresh", "expired"

class Trust {
 public:
  struct Standing {
    TrustStanding what = TrustStanding::kUnset;
    std::uint64_t until_ms = 0;  // kFresh: the first expiry; kExpired: the first that has passed
    std::string why;             // kExpired, kNoCatalogue: which file, and what would end it
  };

  Trust() = default;  // unset
  // The first root, which somebody vouches for: it is checked against its own keys only.
  static Result<Trust> anchor(BytesView root);
  // What save() gave. Every signature is checked again (X3).
  static Result<Trust> load(BytesView saved);
  Bytes save() const;
  // The files inside what save() gave, each within its limit; nothing is verified.
  static Result<TrustFiles> files_in(BytesView saved);

  bool is_set() const { return root_.has_value(); }
  // The next root: version N + 1, signed by the keys of N and by its own. The one that is held already changes nothing.
  // The catalogue stays if this root would take it; after a rotation it goes, and is to be signed anew.
  Result<void> accept_root(BytesView root);
  // All files of one catalogue; `targets` in any order, exactly those that the snapshot names.
  Result<void> accept_catalogue(BytesView timestamp, BytesView snapshot, const std::vector<Bytes>& targets);
  // C4: keeps in mind that it was so late once, and no later than the timestamp's expiry: a clock that jumped ahead for
  // a moment must not make every later timestamp look old. True when that is news, and worth a save().
  bool saw_time(std::uint64_t wall_ms);

  Standing standing(std::uint64_t wall_ms) const;
  // The release that `encoded_manifest` is, if the catalogue has it with this digest: before a byte is parsed (X3).
  Result<TrustRelease> check_release(std::string_view name, std::string_view version, BytesView encoded_manifest) const;

  const TrustRootFile* root() const { return root_ ? &root_->file : nullptr; }
  const TrustTimestampFile* timestamp() const { return timestamp_ ? &timestamp_->file : nullptr; }
  const TrustSnapshotFile* snapshot() const { return snapshot_ ? &snapshot_->file : nullptr; }
  const TrustTargetsFile* targets(std::string_view pattern) const;
  // For tests and for people: role or "targets PATTERN" -> floor; "clock" is the wall time that was seen.
  std::map<std::string, TrustFloor> floors() const;

 private:
  template <class File>
  struct Held {
    Bytes encoded;
    File file;
  };
  struct Row;  // how it is kept
  static Result<Row> read_row(BytesView saved);

  void adopt_root(Bytes encoded, TrustRootFile file);
  void lift(const std::string& role, TrustFloor to);
  TrustFloor floor(const std::string& role) const;

  std::optional<Held<TrustRootFile>> root_;
  std::optional<Held<TrustTimestampFile>> timestamp_;
  std::optional<Held<TrustSnapshotFile>> snapshot_;
  std::map<std::string, Held<TrustTargetsFile>, std::less<>> targets_;
  std::map<std::string, TrustFloor> floors_;
};

}  // namespace tidelock
