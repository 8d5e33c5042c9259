// What drivers say to each other, and what of it may enter the library. Only the driver includes this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "ledger/raft/log_store.h"

namespace tidelock {

constexpr std::size_t kServersMax = 64;
constexpr std::size_t kAddressBytesMax = 256;
constexpr std::uint64_t kTermMax = 1ull << 62;
constexpr std::uint64_t kIndexMax = 1ull << 62;

struct WireVote {
  std::uint64_t term = 0, last_index = 0, last_term = 0;
  bool disrupt_leader = false, pre_vote = false;
  template <class A>
  void fields(A& a) {
    a(term, last_index, last_term, disrupt_leader, pre_vote);
  }
};
struct WireVoteResult {
  std::uint64_t term = 0;
  bool granted = false, pre_vote = false;
  std::uint16_t features = 0, capacity = 0;
  template <class A>
  void fields(A& a) {
    a(term, granted, pre_vote, features, capacity);
  }
};
struct WireAppend {
  std::uint64_t term = 0, prev_index = 0, prev_term = 0, commit = 0;
  std::vector<RaftEntry> entries;
  template <class A>
  void fields(A& a) {
    a(term, prev_index, prev_term, commit, entries);
  }
};
struct WireAppendResult {
  std::uint64_t term = 0, rejected = 0, last_index = 0;
  std::uint16_t features = 0, capacity = 0;
  template <class A>
  void fields(A& a) {
    a(term, rejected, last_index, features, capacity);
  }
};
struct WireInstall {
  std::uint64_t term = 0, last_index = 0, last_term = 0, configuration_index = 0;
  Bytes configuration;
  template <class A>
  void fields(A& a) {
    a(term, last_index, last_term, configuration_index, configuration);
  }
};
struct WireTimeoutNow {
  std::uint64_t term = 0, last_index = 0, last_term = 0;
  template <class A>
  void fields(A& a) {
    a(term, last_index, last_term);
  }
};
constexpr std::uint64_t kWireAppendAt = 2;  // position of WireAppend below
struct Wire {
  std::uint16_t version = 0;
  std::uint64_t from = 0, to = 0;
  std::variant<WireVote, WireVoteResult, WireAppend, WireAppendResult, WireInstall, WireTimeoutNow> what;
  template <class A>
  void fields(A& a) {
    a(version, from, to, what);
  }
};

// What the library would only assert, and asserts are compiled out in its packages. Null when the message may enter it.
const char* fault_of(const WireVote& m);
const char* fault_of(const WireVoteResult& m);
const char* fault_of(const WireAppend& m);
const char* fault_of(const WireAppendResult& m);
const char* fault_of(const WireInstall& m);
const char* fault_of(const WireTimeoutNow& m);

}  // namespace tidelock
