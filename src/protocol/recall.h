// A recall ends the right to use a version of a model, for good (M7).
//
// It is two entries of the ledger. The first, RecallVersion, is the operator's word: from its index on no pointer can
// be made to name the version any more (the state machine refuses such a write, whoever makes it), and every gateway
// that can be reached is told. The second, CertifyRecall (commands.h), moves whatever pointer still names the version,
// as any strong write does, and is the certificate: its index is the point at which the last right has lapsed.
//
// So between the two there is a wait for the slowest live gateway, or for the lease of one that does not answer, and
// whichever hub is active goes on with it: what is left to do follows from the ledger alone (hub_recalls.cc).
//
// Limits:  kRecallsMax in all, kRecallReasonMax bytes; by name 1'024 gateways in each list of a certificate
//          (hub_recalls.cc), kCertificateNamesMax holders in a view.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"

namespace tidelock {

inline constexpr std::size_t kRecallsMax = 4'096;
inline constexpr std::size_t kRecallReasonMax = 300;
inline constexpr std::size_t kCertificateNamesMax = 4'096;

using ModelVersion = std::pair<std::string, std::string>;  // name, version

// Where pointers that name the version go. A version that was recalled itself is passed over.
struct RecallVersion {
  std::string name;
  std::string version;
  bool to_none = false;  // nowhere: then no version of the model is in force
  std::string to;        // empty: to the version that was in force before it
  std::string reason;
  NodeId who;
  std::uint64_t wall_ms = 0;  // C4: for people
  template <class A>
  void fields(A& a) {
    a(name, version, to_none, to, reason, who, wall_ms);
  }
};

// How the right of every gateway had ended. A gateway is in one list; a count may be above what is named.
struct RecallCertificate {
  std::string name;
  std::string version;
  Index recalled;  // of the RecallVersion
  Index index;     // of the certificate itself; the state machine fills it in
  Term term;
  NodeId hub;
  // False: no pointer named the version when this was written, so no right was left to wait for.
  bool moved = false;
  std::string to;                    // what the gateways follow instead; empty: nothing
  Nanos lapsed_at = 0;               // ledger time at which the hub had proof that no right was left
  std::uint64_t lapsed_wall_ms = 0;  // the same for people (C4)
  std::vector<NodeId> answered;      // acknowledged that their page no longer shows it
  std::vector<NodeId> lapsed;        // did not answer; their lease ran out
  std::vector<NodeId> without;       // registered, and held no lease of this term; earlier terms' had lapsed (A4)
  std::uint32_t answered_count = 0, lapsed_count = 0, without_count = 0;
  template <class A>
  void fields(A& a) {
    a(name, version, recalled, index, term, hub, moved, to, lapsed_at, lapsed_wall_ms, answered, lapsed, without,
      answered_count, lapsed_count, without_count);
  }
};

// As the state machine keeps it in memory; the certificate is a row of its own.
struct RecallState {
  RecallVersion asked;
  Index index;
  Index certified;  // 0: not yet
  template <class A>
  void fields(A& a) {
    a(asked, index, certified);
  }
};

// ---- what `tidelock model recall` shows
struct RecallHolder {  // a gateway that the certificate waits for
  NodeId edge;
  bool connected = false;
  Nanos lease_left_ns = 0;
  template <class A>
  void fields(A& a) {
    a(edge, connected, lease_left_ns);
  }
};
struct RecallView {
  RecallState recall;
  std::optional<RecallCertificate> certificate;
  std::uint32_t registered = 0, answered = 0;
  std::vector<RecallHolder> holders;  // the longest first; named up to kCertificateNamesMax
  // From now, on the hub's clock: the certificate comes within this, whoever answers. While it waits for another write
  // of the model, that one's end and a lease more; it is then told of anew, and shorter, when its own turn comes.
  Nanos wait_ns = 0;
  template <class A>
  void fields(A& a) {
    a(recall, certificate, registered, answered, holders, wait_ns);
  }
};

// The model and version that this value under this key would put in force, or stage; nullopt: it is no pointer.
std::optional<ModelVersion> version_named(std::string_view key, BytesView value);

}  // namespace tidelock
