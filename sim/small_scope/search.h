// Small-scope exhaustive search of the protocol (RELIABILITY R25): real HubCore and EdgeCore objects under every order
// of events that the scope allows, judged at every state.
//
// Root:      two hubs, the first active and past its waits (A4); two edges with a session, a lease and both strong
// keys. Choices:   delivery of the next message of a stream, in either direction; commit of a hub's next append; the
// word
//            "unknown" about it (it may commit later, or never); delivery of the next committed entry to a hub; a due
//            tick; a client's write or strong read at an active hub, and a retry under the same id; the clock moves to
//            the next interesting instant, or to any at which a lease or a wait ends; the engine makes the other hub
//            its leader, and tells the former one; an edge crashes and restarts with its page revoked or orphaned; a
//            hub crashes and restarts.
// Strong reads of both keys at every page, orphaned ones too, are not a choice: they change nothing at a page, so all
// of them take place at every state. Judged:    I1 (no strong read is older than one acknowledged or strongly read
// before it began, none is of the
//            future; an acknowledgement names the index at which the write took effect), I3 (at the commit of each
//            strong write no page has a live lease with a key of it unblocked), I5 (no strong read between the
//            acknowledgement of a block and its end), from messages, page stores and ledger entries alone.
// Abstract:  a step of a core and the stores of its actions are one event, and so is a read: orders inside them are the
//            cluster simulator's. All clocks show the same and stand still but for jumps to instants at which something
//            ends or falls due: ends of leases (page and hub), of authority, of both waits of A4, and wakes of edges.
//            (Hubs tick late, at one of these.) Streams lose nothing but with their connection. Disks keep everything.
// Key:       a state is known by a hash of what the cores are (digest.h), their stores, every message on its way, the
//            ledger as far as somebody has still to read it, what is left of the budgets, and what the judge remembers.
//            A field that the digest forgets would merge states that differ: so for one in compare_every of the states
//            that are found again, both ways to it are walked on along the same random choices, and must stay equal.
// Cost:      a world is copied for each choice, and run again from the root along its choices when it is looked at
//            anew: some 40 us a transition. 48 bytes a state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tidelock::sim {

struct SmallScope {  // how often each may happen on one path
  int writes = 0;    // 1: one key; 2: the other write sets both keys at one index
  int retries = 0;
  int hub_reads = 0;
  int jumps = 0;      // of the clock, to the next interesting instant
  int unknown = 0;    // appends with unknown outcome
  int failovers = 0;  // the engine's leadership moves
  int edge_crashes = 0;
  int hub_crashes = 0;
  int crashes = 1;   // of both kinds together
  int expiries = 0;  // jumps of the clock to any end of a lease or of a wait
};
struct SmallLimits {
  int depth = 1'000;
  std::size_t states = 50'000'000;
  double seconds = 20;
  std::size_t compare_every = 256;
};
struct SmallReport {
  std::size_t states = 0;       // distinct ones, the root included
  std::size_t transitions = 0;  // taken
  std::size_t merged = 0;       // of those, to a state that was known
  std::size_t compared = 0;     // of those
  int depth = 0;                // every state of fewer choices than this was expanded
  int deepest = 0;              // of a state that was found
  bool exhausted = false;       // nothing was left to expand
  bool depth_bound = false;     // ... below the depth limit
  std::size_t reads = 0;        // strong reads served by pages
  std::size_t commits = 0;      // strong writes that took effect, each judged against every page
  std::size_t acknowledged = 0;
  std::string violation;           // empty: none
  std::vector<std::string> story;  // the choices that led to it
};

SmallReport search_small_scope(const SmallScope& scope, const SmallLimits& limits);

}  // namespace tidelock::sim
