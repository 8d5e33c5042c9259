// One run of the small cluster: a state, the choices it leaves, and their effect. What each is: search.h.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "protocol/edge_core.h"
#include "protocol/hub_core.h"
#include "protocol/map_memory_fixture.h"
#include "sim/small_scope/search.h"

namespace tidelock::sim {

class SmallWorld {
 public:
  struct Choice {
    enum class Kind : std::uint8_t {
      kToHub,
      kToEdge,
      kCommit,
      kCommitLate,
      kUnknown,
      kDrop,
      kEntry,
      kTickHub,
      kTickEdge,
      kWrite,
      kRead,
      kJump,
      kExpire,
      kLead,
      kTell,
      kCrashEdge,
      kOrphanPage,
      kCrashHub,
    };
    Kind kind = Kind::kJump;
    std::uint8_t who = 0, what = 0;
    friend bool operator==(const Choice&, const Choice&) = default;
  };

  explicit SmallWorld(const SmallScope& scope);  // at the root
  SmallWorld(const SmallWorld& other);
  std::vector<Choice> choices() const;
  void take(Choice choice);
  std::uint64_t key() const;                  // of the state: equal for equal states, see digest.h
  std::string describe(Choice choice) const;  // before it is taken
  const std::string& violation() const { return violation_; }
  std::size_t reads() const { return reads_; }
  std::size_t commits() const { return commits_; }
  std::size_t acknowledged() const { return acknowledged_; }

 private:
  static constexpr std::size_t kNodes = 2;  // hubs, edges, keys and writes alike
  static inline const std::array<std::string, kNodes> kKeys = {"s:0", "s:1"};
  static Seed small_seed();
  using HubWhat = decltype(HubEvent::what);
  using EdgeWhat = decltype(EdgeEvent::what);
  template <class T>
  struct Core : std::unique_ptr<T> {  // the copy of a world makes its own
    using std::unique_ptr<T>::unique_ptr;
    Core(const Core&) : std::unique_ptr<T>() {}
    Core& operator=(std::unique_ptr<T> core) {
      std::unique_ptr<T>::operator=(std::move(core));
      return *this;
    }
  };
  struct Append {
    CommandId id;
    Bytes command;
    bool lost = false;  // of a hub that had been deposed: it never commits
  };
  struct Rows : StateRows {
    std::optional<Bytes> row(std::string_view key) const override;
    void visit(std::string_view prefix, std::string_view from,
               const std::function<bool(std::string_view, std::string_view)>& visit) const override;
    std::map<Bytes, Bytes, std::less<>> rows;
  };
  struct Hub {
    NodeId id;
    Rows rows;
    Core<HubCore> core;
    std::uint64_t boot = 0;
    Nanos wake_at = kForever;
    std::deque<Append> appends;
    bool untold = false;                            // that another one leads
    std::array<Nanos, 2> waits = {kNever, kNever};  // A4: their ends
  };
  struct Page {
    std::size_t edge = 0;
    Nanos fresh_at = kNever, lease_until = kNever, proofs_from = kNever;
    Index applied;
    std::uint64_t verified_epoch = 1, strong_epoch = 1;
    bool revoked = false;
    std::map<std::uint16_t, std::uint64_t> words;  // slot -> blocks and version
    MapMemory arena;
    std::map<std::pair<Term, BlockNo>, std::vector<std::string>> promised;  // I5: acknowledged, and not yet ended
  };
  struct Store : EdgeStore {
    std::optional<EdgeEntry> find(std::string_view key) const override;
    std::map<std::string, EdgeEntry, std::less<>> rows;
  };
  struct Edge {
    NodeId id;
    Store store;
    Core<EdgeCore> core;
    std::uint64_t boot = 0, conns = 0;
    Nanos wake_at = kForever;
    std::size_t page = 0;
    std::size_t next_hub = 0;
    std::uint64_t conn = 0;                                             // 0: none
    std::map<std::pair<Term, BlockNo>, std::vector<std::string>> told;  // keys of the blocks that it was sent
  };
  struct Conn {
    std::size_t edge = 0, hub = 0;
    LinkNo link;
    bool open = true;
    std::deque<HubWhat> to_hub;
    std::deque<EdgeWhat> to_edge;
  };
  struct Client {  // one write
    CommandId id;
    bool asked = false, may_retry = false, done = false;
    std::size_t hub = 0;
  };

  void start_hub(std::size_t number);
  void start_edge(std::size_t number);
  void break_conn(Conn& conn, bool hub_died);
  void step(std::size_t hub, HubWhat what);
  void step_edge(std::size_t edge, EdgeWhat what);
  void carry_out(Edge& edge, EdgeActions::Op& op);
  void open_conn(Edge& edge, LinkNo link, const std::string& hint);
  void answered(AskToken token, const AdminAnswer& answer);
  void keep_late(Append append);
  void commit(const Append& append);
  void write(std::size_t number, std::size_t hub);
  void settle();
  Nanos next_instant() const;
  std::vector<Nanos> ends() const;  // ahead: of leases in force, and of waits

  // judge.cc
  void judge_told(Edge& edge, const HubFrame& frame);
  void judge_effect(Index index, const Put& put);
  void judge_reads();
  void violated(std::string what) {
    if (violation_.empty()) violation_ = std::move(what);
  }

  SmallScope left_;
  bool rooted_ = false;
  Nanos now_ = 1'000 * kSecond;
  std::array<Hub, kNodes> hubs_;
  std::array<Edge, kNodes> edges_;
  std::deque<Page> pages_;
  std::map<std::uint64_t, Conn> conns_;
  std::vector<Bytes> ledger_;  // commands
  std::vector<Append> late_;   // of unknown outcome
  std::optional<std::size_t> leader_;
  std::set<Nanos> instants_;
  std::array<Client, kNodes> clients_;
  std::uint64_t asked_ = 0;

  // what the judge knows: the ledger's meaning, and what was promised
  Term term_;
  std::map<CommandId, Index> effects_;
  std::set<CommandId> aborted_;
  std::map<std::string, Index> newest_, floor_;
  std::map<std::uint64_t, std::pair<std::string, Index>> reading_;  // token -> key and floor when it began
  std::string violation_;
  std::size_t reads_ = 0, commits_ = 0, acknowledged_ = 0;
};

}  // namespace tidelock::sim
