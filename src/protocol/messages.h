// What edges and the active hub say to each other in a session. A session is one ordered stream per direction; every
// message bears the session number and its position in the stream, and a hole ends the session (F2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "protocol/commands.h"
#include "protocol/policy.h"

namespace tidelock {

// What edges and hubs say to each other. A build speaks a range of versions, a session uses the highest that both
// speak, and what came with a version is sent only in sessions that have it. 2: a goodbye's hint may be "ID=ADDRESS".
// 3: ListKeys. 4: EdgeReport; an edge that speaks it knows of rings (M5). 5: Recalled.
inline constexpr std::uint32_t kProtocolVersionMin = 1;
inline constexpr std::uint32_t kProtocolVersion = 5;
inline constexpr std::uint32_t kProtocolVersionRings = 4;
inline constexpr std::uint32_t kProtocolVersionRecalls = 5;
inline constexpr std::uint32_t kProtocolVersionStays = 5;

// ------------------------------------------------------------------------------------------------- edge -> hub

struct StagedModel {  // M4: verified at this edge: signature, hashes, golden outputs
  std::string name;
  std::string version;
  template <class A>
  void fields(A& a) {
    a(name, version);
  }
  friend bool operator==(const StagedModel&, const StagedModel&) = default;
};

struct Hello {                                        // F11
  std::uint32_t protocol_version = kProtocolVersion;  // the highest that the edge speaks
  NodeId edge;
  std::string site;
  Boot boot;
  Term highest_term;
  Index applied;
  std::vector<StagedModel> staged;
  std::uint32_t protocol_version_min = kProtocolVersionMin;
  template <class A>
  void fields(A& a) {
    a(protocol_version, edge, site, boot, highest_term, applied, staged, protocol_version_min);
  }
};
struct Probe {  // F1
  Nonce nonce;
  bool wants_lease = false;
  Nanos flush_age_ns = 0;  // the longest this edge lets a write-behind record wait; all readers add it to their bound
  bool flushed = true;     // false: this edge holds acknowledged records older than flush_age_ns
  template <class A>
  void fields(A& a) {
    a(nonce, wants_lease, flush_age_ns, flushed);
  }
};
struct BlockAck {  // S2: the page shows the block
  Term term;
  BlockNo number;
  template <class A>
  void fields(A& a) {
    a(term, number);
  }
};
struct Fetch {  // F7; with known versions it is a revalidation: values do not travel again when versions match (F8)
  struct Wanted {
    std::string key;
    Index known;  // the version held; 0 = none
    template <class A>
    void fields(A& a) {
      a(key, known);
    }
  };
  RequestNo request;
  std::vector<Wanted> wanted;
  template <class A>
  void fields(A& a) {
    a(request, wanted);
  }
};
// When a message left, in terms that its reader can judge: the reader's own clock as its last welcome or mark told it,
// and how long ago that was heard. So times to live can count what the message spent under way and in queues.
struct SentAt {
  Nanos hub_h = 0;
  Nanos since_ns = 0;  // on the sender's clock
  template <class A>
  void fields(A& a) {
    a(hub_h, since_ns);
  }
};
struct WriteThrough {
  RequestNo request;
  CommandId id;                  // the same for every retry of this write, in whatever session
  std::vector<KeyWrite> writes;  // times to live are what is left at `sent`
  SentAt sent{};
  template <class A>
  void fields(A& a) {
    a(request, id, writes, sent);
  }
};
struct WriteBatch {  // D5
  std::uint64_t incarnation = 0;
  std::uint64_t number = 0;
  Bytes records;  // compressed (codec/compress.h) encoding of vector<BatchRecord>; times to live are left at `sent`
  SentAt sent{};
  template <class A>
  void fields(A& a) {
    a(incarnation, number, records, sent);
  }
};
struct Staged {  // also sent when staging failed: `error` then says why
  StagedModel model;
  std::string error;
  template <class A>
  void fields(A& a) {
    a(model, error);
  }
};

// TL.FLUSH: which keys the namespace with this prefix has at the hub. Answered a page at a time, as Fetch is: with
// authority, and behind own writes under way (A3).
struct ListKeys {
  RequestNo request;
  std::string prefix;
  std::string after;  // the page begins behind this key; empty: with the first
  template <class A>
  void fields(A& a) {
    a(request, prefix, after);
  }
};

using Labels = std::vector<std::pair<std::string, std::string>>;  // of an edge: by name, each once
// How a version does at an edge, by the word of its apps, since the edge last changed to it in this boot.
struct ModelHealth {
  std::string name;
  std::string version;
  bool in_force = false;                                         // it is what this gateway's pointer names, verified
  std::uint64_t frames = 0, errors = 0, sick = 0;                // `errors` of the `frames`
  std::vector<std::pair<std::uint16_t, std::uint64_t>> latency;  // (bucket, frames), see rollout.h
  std::uint64_t drift_ppm = 0, drift_reports = 0;                // their mean, and how many there were
  std::uint64_t fetched_bytes = 0;                               // what it took to bring the version here
  friend bool operator==(const ModelHealth&, const ModelHealth&) = default;
  template <class A>
  void fields(A& a) {
    a(name, version, in_force, frames, errors, sick, latency, drift_ppm, drift_reports, fetched_bytes);
  }
};
// What an edge says of itself; each report replaces the one before. At most one a second. Since version 4.
struct EdgeReport {
  Labels labels;
  std::uint64_t link_bytes_per_s = 0;  // that model files came with lately; 0: none came yet
  std::vector<ModelHealth> models;
  friend bool operator==(const EdgeReport&, const EdgeReport&) = default;
  template <class A>
  void fields(A& a) {
    a(labels, link_bytes_per_s, models);
  }
};

struct EdgeFrame {
  SessionNo session;
  std::uint64_t number = 0;  // from 1 in each session
  std::variant<Hello, Probe, BlockAck, Fetch, WriteThrough, WriteBatch, Staged, ListKeys, EdgeReport> body;
  template <class A>
  void fields(A& a) {
    a(session, number, body);
  }
};

// ------------------------------------------------------------------------------------------------- hub -> edge

struct Welcome {                                      // F11
  std::uint32_t protocol_version = kProtocolVersion;  // of this session
  NodeId hub;
  Boot hub_boot;  // of its clock: another one after each jump (C2, C3)
  Term term;
  Index h0;            // the hub's applied index when it opened the session
  bool reset = false;  // strong records in (applied, h0] are not replayed: strong entries are unverified too
  ClusterSettings settings;
  std::vector<Namespace> namespaces;
  Bytes model_key;
  std::vector<std::pair<Term, BlockNo>> open_blocks;  // those of this term that follow; others of this term close at h0
  Nanos hub_h = 0;                                    // the hub's clock when it opened the session
  Stamp newest_stamp{};                               // G8: of what this edge ever sent; its next one is newer
  template <class A>
  void fields(A& a) {
    a(protocol_version, hub, hub_boot, term, h0, reset, settings, namespaces, model_key, open_blocks, hub_h,
      newest_stamp);
  }
};
struct ChangedKey {
  std::string key;
  bool deleted = false;
  std::optional<Bytes> value;  // pushed when small; the edge then stays registered. Absent: only an invalidation
  Nanos ttl_left_ns = kForever;
  Stamp stamp;
  template <class A>
  void fields(A& a) {
    a(key, deleted, value, ttl_left_ns, stamp);
  }
};
struct Record {  // one ledger entry, as far as it concerns this session (F2)
  Index index;
  Term term;
  BlockNo block;  // of a strong write; 0 otherwise
  std::vector<ChangedKey> keys;
  std::vector<std::uint16_t> slots;  // coarse invalidations: every held key of these slots (interest table full)
  template <class A>
  void fields(A& a) {
    a(index, term, block, keys, slots);
  }
};
struct Mark {  // F1: "after your probe I was the legitimate sequencer and had issued exactly up to index"
  Nonce nonce;
  Index index;
  bool proof = false;    // false: no authority at the answer; nothing follows from it (A3)
  Nanos lease_ns = 0;    // 0: no lease
  Nanos hub_h = 0;       // C3
  Nanos writers_ns = 0;  // the largest flush age any live writer declares; kForever while a writer is away
  template <class A>
  void fields(A& a) {
    a(nonce, index, proof, lease_ns, hub_h, writers_ns);
  }
};
struct Block {  // S1
  Term term;
  BlockNo number;
  std::vector<std::string> keys;
  template <class A>
  void fields(A& a) {
    a(term, number, keys);
  }
};
struct Unblock {  // S1: given up before the append, or aborted
  Term term;
  BlockNo number;
  template <class A>
  void fields(A& a) {
    a(term, number);
  }
};
struct FetchAnswer {  // F7: read at `index`, interest registered in the same step
  struct Found {
    std::string key;
    Index version;      // 0: no such key
    bool same = false;  // the version that was asked about is the newest; no value travels
    std::optional<Bytes> value;
    Nanos ttl_left_ns = kForever;
    Stamp stamp;
    template <class A>
    void fields(A& a) {
      a(key, version, same, value, ttl_left_ns, stamp);
    }
  };
  RequestNo request;
  Index index;
  bool proof = false;  // A3: authority was tested after the request was taken from its queue
  std::vector<Found> found;
  template <class A>
  void fields(A& a) {
    a(request, index, proof, found);
  }
};
struct WriteDone {
  RequestNo request;
  Code code = Code::kOk;
  std::string message;
  Index index;
  template <class A>
  void fields(A& a) {
    a(request, code, message, index);
  }
};
struct BatchDone {
  std::uint64_t incarnation = 0;
  std::uint64_t number = 0;
  Index index;
  std::uint32_t superseded = 0;
  Code code = Code::kOk;  // kOk: applied, now or before; kBusy: send again later; kInvalid: poison (D6)
  std::string message;
  template <class A>
  void fields(A& a) {
    a(incarnation, number, index, superseded, code, message);
  }
};
struct Goodbye {  // the hub ends the session; the edge tries `hint` or the next hub
  std::string reason;
  std::string hint;
  template <class A>
  void fields(A& a) {
    a(reason, hint);
  }
};

struct KeysListed {
  RequestNo request;
  std::vector<std::string> keys;
  std::string last;  // the next page begins behind this key; empty: there is none
  Stamp newest{};    // of the values listed (G8)
  template <class A>
  void fields(A& a) {
    a(request, keys, last, newest);
  }
};

// M7: versions that nobody may use any more, not as a fallback either. In a new session all there are, in messages of
// at most kRecalledInMessage; then each as it is recalled. Since version 5.
struct Recalled {
  std::vector<StagedModel> versions;
  template <class A>
  void fields(A& a) {
    a(versions);
  }
};
inline constexpr std::size_t kRecalledInMessage = 256;

struct HubFrame {
  SessionNo session;
  std::uint64_t number = 0;  // from 1 in each session
  std::variant<Welcome, Record, Mark, Block, Unblock, FetchAnswer, WriteDone, BatchDone, Goodbye, KeysListed, Recalled>
      body;
  template <class A>
  void fields(A& a) {
    a(session, number, body);
  }
};

}  // namespace tidelock
