// SiteSource decides where a gateway gets one file of a model from, so that each byte crosses the wide-area link once
// for its site (M3): from a neighbour that has it; else one of the site is elected to ask the hub, and the others wait
// for it.
//
// Elected is the first in an order that all of the site agree on without a word: by a hash of digest and id. Whoever
// cannot be reached, may not spend any more, does not begin, or gets no further is passed over, by each gateway for
// itself; so two may fetch the same bytes where their views differ, and nobody waits for ever: `patience_ns()` bounds
// it all, whatever neighbours say.
//
// What neighbours say is a hint. What comes from one of them is hashed; one that sent other bytes is not asked again.
//
// Pure; one thread, one file. Every call is O(candidates). The owner asks and takes, and says what became of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/time.h"

namespace tidelock {

struct SiteAsk {  // one gateway to another: how is it with this file?
  Bytes sha256;
  template <class A>
  void fields(A& a) {
    a(sha256);
  }
};
enum class SiteState : std::uint8_t {
  kNothing,   // not here, and nothing is done about it
  kFetching,  // it comes from a hub
  kHas,       // whole and verified
  kPaused,    // a budget or the hours forbid it
};
constexpr SiteState last_enumerator(SiteState) { return SiteState::kPaused; }
struct SiteTell {
  SiteState state = SiteState::kNothing;
  std::uint64_t progress = 0;  // kFetching: grows while it gets on
  friend bool operator==(const SiteTell&, const SiteTell&) = default;
  template <class A>
  void fields(A& a) {
    a(state, progress);
  }
};

struct SiteTimes {
  Nanos poll_ns = kSecond / 2;        // between two questions to the one that is waited for
  Nanos look_ns = 10 * kSecond;       // and to the others
  Nanos begin_ns = 10 * kSecond;      // how long the elected may take to begin
  Nanos stall_ns = 30 * kSecond;      // and to get further
  Nanos retry_ns = 2 * kSecond;       // after one that has it could not give it
  Nanos patience_ns = 180 * kSecond;  // of all waiting, and as long again as the file takes at this rate:
  std::uint64_t rate_least_bytes_per_s = 8'192;
};

class SiteSource {
 public:
  static constexpr int kBrokeMax = 5;
  static constexpr int kSilencesMax = 3;             // of one that has it or fetches it; another is gone with the first
  static constexpr std::size_t kCandidatesMax = 16;  // the first of the order; who is none waits and is never elected

  // `serving`: those of the site that serve their neighbours, this gateway among them if it does.
  SiteSource(NodeId self, BytesView sha256, std::uint64_t size_bytes, const std::vector<NodeId>& serving, Nanos now,
             SiteTimes times = {});

  enum class Step : std::uint8_t {
    kAsk,   // ask `from`, then told() or silent()
    kTake,  // take the file from `from`, then failed() if that failed
    kWait,  // for `wait_ns`, then again
    kHub,   // the hub, for the reason `why`
  };
  enum class Why : std::uint8_t { kElected, kNobody, kPatience };
  struct Next {
    Step step = Step::kHub;
    NodeId from;
    Nanos wait_ns = 0;
    Why why = Why::kNobody;
  };
  Next next(Nanos now);

  void told(Nanos now, const NodeId& neighbour, const SiteTell& tell);
  void silent(Nanos now, const NodeId& neighbour);  // no answer
  // Why the file did not come from it: it serves others already; it broke off, some times at the most; it sent what it
  // must not, which ends it at once.
  enum class Failure : std::uint8_t { kBusy, kBroke, kWrong };
  void failed(Nanos now, const NodeId& neighbour, Failure how);

  Nanos patience_ns() const { return patience_ns_; }
  // In the order of the election; for tests.
  std::vector<NodeId> order() const;

 private:
  struct Candidate {
    NodeId id;
    bool self = false;
    std::uint64_t rank = 0;   // of the election, the highest first
    std::uint64_t taste = 0;  // so that not all take from the same one
    Nanos asked_at = kNever;
    bool answers = false;
    int silences = 0;  // in a row
    bool wrong = false;
    int broke = 0;
    SiteTell tell;
    Nanos moved_at = 0;        // kFetching: when it was seen to get on
    Nanos retry_at = kNever;   // kHas: not before
    bool passed_over = false;  // it was elected and did not begin
  };
  Candidate* find(const NodeId& id);
  bool stalled(const Candidate& one, Nanos now) const;
  Next wait_for(const Candidate* one, Nanos now, Nanos most_ns) const;

  const SiteTimes times_;
  const Nanos began_at_;
  const Nanos patience_ns_;
  std::vector<Candidate> candidates_;
  NodeId elected_;
  Nanos elected_at_ = 0;
};

std::string site_why_text(SiteSource::Why why);  // for logs

}  // namespace tidelock
