// Judge holds what must always hold (DESIGN 3.6) against what was recorded: what the ledger holds, what was
// acknowledged when, what every page showed when, what every reader was told.
//
// Time:    true time, from `now`. A page's clock is handed in with the page: whether a lease is live is a question to
//          the clock of its machine. The rate error that clocks may have is the ledger's own setting (C3).
// Errors:  each broken rule is told to `violated`, named by its tag; judging goes on.
// Threads: one. Cost: O(versions of the key) a read, O(pages) a strong write.
//
// The rules and what each rests on:
//   I1   a floor per key: the newest version acknowledged or strongly read so far; a strong read may not be below the
//        floor of its beginning.
//   I2   true staleness (time since a newer version was first acknowledged) against U. `counts()` tells how often there
//        was any, and how tight U was, so that a run in which this could not fail is seen for what it is.
//   I3   at each effective write of a strong key: no page whose lease is live on its machine's clock without a block.
//   I4   fresh_at, lease, applied of a page; the index of an activation pointer on a page.
//   I5   no read under a lease was tested while its page showed a block of the key; a block that was acknowledged (S2)
//        was on the page by then.
//   I7   what is acknowledged is in the ledger, and every hub applies the same entries.
//   I8   what was acknowledged as durable is in the ledger at the end, or was replaced there, or its time was over.
//        What was acknowledged as sequenced is there at once.
//   I10  every request ends, once; at rest one hub is active and everybody is where the ledger is.
//   I11  what has a cap is within it.
//   F10  nothing older than the session token. S1: void means void. S4: a snapshot is the state at one index.
//   F11  the sessions of one run of an edge do not go back in their terms.
//   D5   a batch that was sent keeps what it holds, but for what expires; G9: the stamps of one outbox rise.
//   TTL  No value after its acceptance at the writing node plus its time to live, stretched by what clocks may err and
//        by nothing else but what docs/protocol.md allows ("The ledger's clock"): at a failover, the time that the new
//        active hub could not see the ledger's clock. And no absence by expiry before the ledger's clock can be there.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "sim/oracle/facts.h"
#include "sim/oracle/ledger_model.h"

namespace tidelock::oracle {

struct Counts {
  std::uint64_t reads = 0, strong_reads = 0, bounded_reads = 0, snapshots = 0;
  std::uint64_t stale_reads = 0;    // true staleness was above 0: I2 could have failed
  std::uint64_t tight_reads = 0;    // ... and was at least a fifth of U
  std::uint64_t near_expiry = 0;    // read in the last tenth of the time to live: TTL could have failed
  std::uint64_t leases_tested = 0;  // strong writes while some page showed a live lease: I3 could have failed
};

class Judge {
 public:
  Judge(std::function<Nanos()> now, std::function<void(std::string)> violated)
      : now_(std::move(now)), violated_(std::move(violated)) {}

  // ---- the ledger
  void appended(CommandId id, Nanos ledger_time);     // a hub handed it to the ledger
  Effect committed(Index index, const Entry* entry);  // I3, S1, TTL; nullptr: bytes that mean nothing
  void applied(const NodeId& hub, std::uint64_t run, Index index, std::uint64_t digest);  // in this run of the hub; I7
  // C2: that hub's clock jumped: what it saw of the ledger's clock is worth nothing any more.
  void clock_jumped(const NodeId& hub, std::uint64_t run) { seen_.erase({hub, run}); }

  // A hub sent that edge a lease with a mark of this index (A5, A6).
  void lease_sent(const NodeId& edge, Index index, Nanos lease_ns);

  // ---- writers
  // The writing node took it. A value is unique; it may be handed over again until it is in the ledger.
  void accepted(const NodeId& writer, const std::string& key, const std::optional<Bytes>& value, Nanos ttl_ns);
  // C3: times measured there are outside of the promise, what was accepted and is not in the ledger yet included.
  void clock_broken(const NodeId& writer);
  void clock_mended(const NodeId& writer) { broken_.erase(writer); }
  void written_behind(const NodeId& writer, const std::string& key, const std::optional<Bytes>& value, Stamp stamp,
                      Nanos ttl_ns);
  void durable(const std::string& key, Stamp stamp);    // I8
  void sequenced(const std::string& key, Stamp stamp);  // I8: an edge said that the ledger has it
  void acknowledged(Index index);                       // a hub said: done, at this index (A1)
  void acknowledged(CommandId id, Index index);         // the same of this command
  // ... with so many records superseded; 0 also when the hub no longer knows (D5).
  void acknowledged_batch(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number,
                          std::uint64_t superseded = 0);
  void batch_sent(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number,
                  const std::vector<Stamp>& stamps);
  // D6: for good; its number is free again.
  void batch_refused(const NodeId& edge, std::uint64_t incarnation, std::uint64_t number);
  void refused(CommandId id);        // a hub said: its condition did not hold
  void declared_void(CommandId id);  // a hub said: without effect, now and for ever (S1)

  void session_opened(const NodeId& edge, std::uint64_t run, Term term);  // F11

  // ---- pages: what any process of the gateway could see
  void page_opened(PageNo page, std::string who, std::function<Nanos()> clock);
  void page_revoked(PageNo page);
  void page_gone(PageNo page);   // nobody maps it any more
  void page_slept(PageNo page);  // C2: its machine slept; readers see that
  void page_dropped_proofs(PageNo page);
  void page_applied(PageNo page, Index index);
  void page_fresh(PageNo page, Nanos fresh_at);
  void page_lease(PageNo page, Nanos until);
  void page_blocked(PageNo page, const std::vector<std::uint16_t>& slots);
  void page_unblocked(PageNo page, const std::vector<std::uint16_t>& slots);
  void block_announced(Term term, BlockNo number, const std::vector<std::string>& keys);
  void block_acknowledged(PageNo page, Term term, BlockNo number);
  void activated(PageNo page, const std::string& key, Index index);  // the pointer that is in force on this gateway

  // ---- readers
  Index floor(const std::string& key) const;
  void read(const Told& told);
  void snapshot(const std::string& where, const std::vector<Member>& members);

  // ---- requests and caps
  void asked(const NodeId& node, std::uint64_t run, std::uint64_t request);
  void answered(const NodeId& node, std::uint64_t run, std::uint64_t request);
  void died(const NodeId& node);  // whoever asked there went with it
  void sized(const std::string& what, std::uint64_t size, std::uint64_t cap);

  // ---- the end
  void holds(const std::string& hub, Index applied, const std::string& key, const std::optional<Bytes>& value,
             Index version);  // what a hub would answer
  void at_rest(Index settled, const std::vector<HubAtRest>& hubs, const std::vector<EdgeAtRest>& edges);

  const LedgerModel& ledger() const { return ledger_; }
  const Counts& counts() const { return counts_; }

 private:
  struct Page {
    std::string who;
    std::function<Nanos()> clock;
    Nanos fresh_at = kNever, lease_until = kNever;
    Index applied;
    bool slept = false;
    struct Slot {
      int open = 0;
      Nanos since = 0;
      std::vector<std::pair<Nanos, Nanos>> before;  // when it was blocked earlier
    };
    std::map<std::uint16_t, Slot> slots;
    std::map<std::string, Index> pointers;
  };
  struct Accepted {
    Nanos at = 0;
    Nanos ttl_ns = 0;
    bool sequenced = false;
    NodeId writer;
  };
  struct Behind {
    Stamp stamp;
    Nanos ends_at = kForever;  // true time from which it may have expired
    NodeId writer;
  };
  // A reading of the ledger's clock: it showed this at that true time.
  struct Reading {
    Nanos ledger_time = 0;
    Nanos at = 0;
  };

  void violated(const std::string& what) { violated_(what); }
  void check_stamps(const Entry::Batch& batch);
  void check_leases(const std::string& key, Index index);
  void check_lifetimes(const Effect& effect, const Entry& entry);
  void acknowledged_now(Index index);
  Nanos ledger_at_most(Nanos at) const;
  Nanos stretched_since(Nanos from, Nanos to) const;
  void check_lifetime(const Told& told);
  bool may_be_absent(const std::vector<Version>& all, std::size_t i, Nanos at) const;
  void check_age(const Told& told, Index version);

  std::function<Nanos()> now_;
  std::function<void(std::string)> violated_;
  LedgerModel ledger_;
  Counts counts_;

  std::map<Index, std::vector<std::string>> changed_;
  std::map<Index, Nanos> acknowledged_at_;
  std::map<std::string, Index> floor_;
  std::set<CommandId> void_;
  std::map<Index, std::uint64_t> digests_;

  std::map<std::pair<CommandId, Nanos>, Nanos> appended_;                    // (id, ledger time) -> when, first
  std::map<Index, Reading> moved_;                                           // entries that moved the ledger's clock
  std::map<Index, NodeId> claims_;                                           // effective ones
  std::map<std::pair<NodeId, std::uint64_t>, std::optional<Reading>> seen_;  // per run of a hub: the best it applied
  std::map<Index, std::pair<Nanos, Nanos>> lapses_;  // claim -> (when it took office, what its clock lacks)
  std::optional<Reading> fastest_;  // no reading of the ledger's clock runs ahead of this one, carried on

  std::map<std::pair<std::string, Bytes>, Accepted> accepted_;
  std::set<NodeId> broken_;
  std::map<std::pair<std::string, Bytes>, Stamp> behind_;  // (key, value) -> stamp
  std::map<std::string, Stamp> newest_delete_;
  std::map<std::string, std::vector<Behind>> own_writes_;
  std::map<std::string, Stamp> durable_;
  using Lane = std::pair<NodeId, std::uint64_t>;                    // (edge, incarnation)
  std::map<std::pair<Lane, std::uint64_t>, std::set<Stamp>> sent_;  // by batch number, when first sent
  std::map<Lane, Stamp> newest_flushed_;                            // that its batches brought so far
  std::map<std::pair<NodeId, std::uint64_t>, Term> sessions_;       // of this run: the newest

  std::map<PageNo, Page> pages_;
  std::map<std::pair<Term, BlockNo>, std::vector<std::string>> blocks_;
  std::map<NodeId, std::set<std::pair<std::uint64_t, std::uint64_t>>> waiting_;
};

}  // namespace tidelock::oracle
