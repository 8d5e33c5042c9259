// What operators ask a hub (`tidelock ...` and tools), and the model keys behind it (M2, M3, M5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "protocol/messages.h"
#include "protocol/rollout.h"

namespace tidelock {

struct ReadKey {  // linearizable: answered with authority only (A3)
  std::string key;
  template <class A>
  void fields(A& a) {
    a(key);
  }
};
struct WriteKeys {
  std::vector<KeyWrite> writes;
  template <class A>
  void fields(A& a) {
    a(writes);
  }
};
struct PublishModel {  // M2: the bytes are in the hubs' model stores already
  std::string name;
  std::string version;
  Bytes signed_manifest;
  template <class A>
  void fields(A& a) {
    a(name, version, signed_manifest);
  }
};
struct StageModel {  // M3
  std::string name;
  std::string version;
  template <class A>
  void fields(A& a) {
    a(name, version);
  }
};
struct ActivateModel {  // M5
  std::string name;
  std::string version;
  template <class A>
  void fields(A& a) {
    a(name, version);
  }
};
struct RollbackModel {  // S5: a new activation of the version that was in force before
  std::string name;
  template <class A>
  void fields(A& a) {
    a(name);
  }
};
struct DescribeModels {
  template <class A>
  void fields(A&) {}
};
struct DescribeCluster {
  template <class A>
  void fields(A&) {}
};
// M3: what the edges with a session said of versions that they have not staged. The answer's value is an encoded
// vector<EdgeStaging>; a hub of a build before this refuses the question.
struct DescribeStaging {
  template <class A>
  void fields(A&) {}
};
// M3: how far a version has come to each gateway, from memory of the active hub. The answer's value is an encoded
// TransferView; a hub of a build before this refuses the question.
struct DescribeTransfer {
  std::string name, version;
  template <class A>
  void fields(A& a) {
    a(name, version);
  }
};
struct RemoveEdgeRequest {  // A6
  NodeId edge;
  template <class A>
  void fields(A& a) {
    a(edge);
  }
};

// M7: answered with the index of the recall once it is in the ledger; the certificate comes later (DescribeRecalls).
struct RecallModel {
  std::string name;
  std::string version;
  bool to_none = false;
  std::string to;  // see RecallVersion
  std::string reason;
  template <class A>
  void fields(A& a) {
    a(name, version, to_none, to, reason);
  }
};
// M7: answered with value = encode(vector<RecallView>), in the order of the recalls.
struct DescribeRecalls {
  std::string name;     // empty: of all models
  std::string version;  // empty: all of the model; else with everything that is known of it
  template <class A>
  void fields(A& a) {
    a(name, version);
  }
};
struct DescribeRollout {  // answered with value = encode(RolloutView)
  std::string name;
  template <class A>
  void fields(A& a) {
    a(name);
  }
};
struct PushTrust {           // X2: what `tidelock key` made; each part may be empty
  std::vector<Bytes> roots;  // in order; the first of all is taken on the operator's word
  Bytes timestamp, snapshot;
  std::vector<Bytes> targets;
  template <class A>
  void fields(A& a) {
    a(roots, timestamp, snapshot, targets);
  }
};

struct AdminRequest {
  CommandId id;  // the same for every retry
  std::variant<ReadKey, WriteKeys, PublishModel, StageModel, ActivateModel, RollbackModel, DescribeModels,
               DescribeCluster, RemoveEdgeRequest, DescribeStaging, RolloutCommand, DescribeRollout, PushTrust,
               RecallModel, DescribeRecalls, DescribeTransfer>
      body;
  template <class A>
  void fields(A& a) {
    a(id, body);
  }
  bool changes_nothing() const {  // so that a node may ask as well
    return std::holds_alternative<ReadKey>(body) || std::holds_alternative<DescribeModels>(body) ||
           std::holds_alternative<DescribeCluster>(body) || std::holds_alternative<DescribeRollout>(body) ||
           std::holds_alternative<DescribeStaging>(body) || std::holds_alternative<DescribeRecalls>(body) ||
           std::holds_alternative<DescribeTransfer>(body);
  }
};
struct EdgeView {
  NodeId edge;
  std::string site;
  bool connected = false;
  Nanos lease_left_ns = 0;
  Index applied;
  std::vector<StagedModel> staged;
  template <class A>
  void fields(A& a) {
    a(edge, site, connected, lease_left_ns, applied, staged);
  }
};
struct EdgeStaging {
  NodeId edge;
  StagedModel model;
  std::string why;  // "paused: the daily budget of ..."
  template <class A>
  void fields(A& a) {
    a(edge, model, why);
  }
};
struct EdgeTransfer {
  NodeId edge;
  std::string site;
  bool connected = false;  // else nothing of what follows is known
  bool staged = false;     // M4: verified there
  // From hubs, for this version, since the gateway started. What a neighbour or a stick gave is not in it.
  std::uint64_t fetched_bytes = 0;
  std::uint64_t expected_bytes = 0;    // that it will have fetched in the end: rollout.h says by what
  std::uint64_t link_bytes_per_s = 0;  // 0: not measured yet
  std::string why;                     // what it last said of why it has not staged the version
  template <class A>
  void fields(A& a) {
    a(edge, site, connected, staged, fetched_bytes, expected_bytes, link_bytes_per_s, why);
  }
};
struct TransferView {
  std::uint64_t release_bytes = 0;  // of its files, whole; 0: no such version is published
  std::vector<EdgeTransfer> edges;  // every registered one, by id
  template <class A>
  void fields(A& a) {
    a(release_bytes, edges);
  }
};
struct ModelView {
  std::string name;
  std::string current, previous, staged;  // versions; empty when there is none
  Index activation;                       // index of the activation in force
  std::vector<std::string> published;
  template <class A>
  void fields(A& a) {
    a(name, current, previous, staged, activation, published);
  }
};
struct AdminAnswer {
  Code code = Code::kOk;
  std::string message;  // errors: what was wrong and what would be right
  std::string hint;     // kNotActive: address of the active hub
  Index index;          // writes: the index that made them visible; reads: the index read at
  std::optional<Bytes> value;
  bool active = false;
  Term term;
  NodeId hub;
  std::vector<EdgeView> edges;
  std::vector<ModelView> models;
  template <class A>
  void fields(A& a) {
    a(code, message, hint, index, value, active, term, hub, edges, models);
  }
};

// ---- bytes of models, beside the ledger (M2, M3)
// Answered with value = encode(vector<Bytes>) of those that are missing at this hub, and index = the end of its log.
struct HasBlobs {
  std::vector<Bytes> sha256;
  template <class A>
  void fields(A& a) {
    a(sha256);
  }
};
struct BlobUpload {  // first message of an upload; the bytes follow
  Bytes sha256;
  std::uint64_t size_bytes = 0;
  template <class A>
  void fields(A& a) {
    a(sha256, size_bytes);
  }
};
struct BlobDownload {
  Bytes sha256;
  std::uint64_t offset = 0;
  template <class A>
  void fields(A& a) {
    a(sha256, offset);
  }
};
// A fetch (wire/grpc): the edge asks for a blob and then for its bytes, so that what it says sets the pace (M3). The
// hub answers with a FetchHead, then with nothing but bytes. A hub of a build without fetches knows BlobDownload.
struct FetchBlob {
  Bytes sha256;
  template <class A>
  void fields(A& a) {
    a(sha256);
  }
};
// M3: the same by way of a file that the edge has: what is sent is a delta (codec/delta.h), and the head names it. The
// hub takes the first of `bases` that it has too. kNotFound: none of them, or a delta would save nothing.
struct FetchDelta {
  Bytes target;
  std::vector<Bytes> bases;
  template <class A>
  void fields(A& a) {
    a(target, bases);
  }
};
struct FetchMore {                // what the hub may send
  std::uint64_t offset = 0;       // where to begin; counts until the first byte was asked for
  std::uint64_t until = 0;        // never lower than before
  std::uint32_t piece_bytes = 0;  // of one frame, at most
  template <class A>
  void fields(A& a) {
    a(offset, until, piece_bytes);
  }
};
struct FetchRequest {  // first frame of a fetch; those that follow are FetchMore
  std::variant<FetchBlob, FetchDelta> what;
  FetchMore more;
  template <class A>
  void fields(A& a) {
    a(what, more);
  }
};
struct FetchHead {  // first frame of the answer: what is sent
  Bytes sha256;
  std::uint64_t size_bytes = 0;
  template <class A>
  void fields(A& a) {
    a(sha256, size_bytes);
  }
};
// ---- the hubs themselves, beside the ledger's entries; the answer's value is an encoded HubsView
struct HubsCall {
  enum class What : std::uint8_t {
    kView,    // any hub answers with what it knows; from a hub `address` is the encoded list of (id, address) it knows
    kAdd,     // `hub` at `address`
    kRemove,  // `hub`
    kTransfer,  // to `hub`; empty: to the one that has the most
  };
  What what = What::kView;
  NodeId hub;
  std::string address;
  template <class A>
  void fields(A& a) {
    a(what, hub, address);
  }
};
constexpr HubsCall::What last_enumerator(HubsCall::What) { return HubsCall::What::kTransfer; }
struct HubsView {
  struct Hub {
    NodeId id;
    std::string address;
    bool voter = false;         // false: it catches up, and decides nothing
    Nanos heard_ns = kForever;  // at the leader: since it was last heard
    Index synced;               // at the leader: what it has on its disk
    template <class A>
    void fields(A& a) {
      a(id, address, voter, heard_ns, synced);
    }
  };
  NodeId leader;                         // empty: none is known
  Index last_index;                      // of the ledger at the hub that answers; 0: it holds nothing yet
  std::uint32_t ledger_version = 0;      // that it reads
  std::uint32_t ledger_version_now = 0;  // of the ledger, as far as it has applied it
  std::vector<Hub> hubs;
  template <class A>
  void fields(A& a) {
    a(leader, last_index, ledger_version, ledger_version_now, hubs);
  }
};
// ---- what an operator has done with one hub's own store of models, beside the ledger (store/models/store_care.h)
struct StoreCall {
  enum class What : std::uint8_t {
    kLook,    // answered with value = JSON of the work that is under way, or was the last
    kVerify,  // begin; kBusy: another is under way
    kRepair,
    kCollect,  // M8
  };
  What what = What::kLook;
  bool dry_run = false;
  template <class A>
  void fields(A& a) {
    a(what, dry_run);
  }
};
constexpr StoreCall::What last_enumerator(StoreCall::What) { return StoreCall::What::kCollect; }
// ---- the gateways of a site, to each other (M3). An edge says where its neighbours can reach it and where the bytes
// of its models came from, and is told who else of its site there is. An operator is told of all edges. The answer's
// value is an encoded SiteView. Only the active hub answers, from memory; a hub of a build before this refuses the
// call.
inline constexpr std::size_t kSiteSourcesMax = 64, kSiteMembersMax = 256;
struct ModelBytes {
  std::string name, version;
  NodeId from;              // a hub, or an edge
  std::uint64_t bytes = 0;  // since the gateway started
  friend bool operator==(const ModelBytes&, const ModelBytes&) = default;
  template <class A>
  void fields(A& a) {
    a(name, version, from, bytes);
  }
};
struct SiteCall {
  std::string address;  // host:port; empty: nowhere
  std::vector<ModelBytes> bytes;
  template <class A>
  void fields(A& a) {
    a(address, bytes);
  }
};
struct SiteMember {
  NodeId edge;
  std::string address;
  std::vector<ModelBytes> bytes;  // told to operators only
  template <class A>
  void fields(A& a) {
    a(edge, address, bytes);
  }
};
struct SiteView {
  std::vector<SiteMember> members;  // with a session; to an edge: those of its site
  template <class A>
  void fields(A& a) {
    a(members);
  }
};

struct NodeCall {  // what travels in one call to a hub; the answer is an AdminAnswer
  std::variant<AdminRequest, HasBlobs, HubsCall, StoreCall, SiteCall> body;
  template <class A>
  void fields(A& a) {
    a(body);
  }
};

// M5: the keys of a model. Of two pointers, the ring's is read first (docs/protocol.md).
inline std::string model_current_key(const std::string& name) { return "model:" + name + ":current@default"; }
inline std::string model_ring_key(const std::string& name) { return "model:" + name + ":current@next"; }
inline std::string model_rollout_key(const std::string& name) { return "model:" + name + ":rollout"; }
inline std::string model_history_key(const std::string& name) { return "model:" + name + ":history"; }
inline std::string model_staged_key(const std::string& name) { return "model:" + name + ":staged@default"; }
inline std::string model_version_key(const std::string& name, const std::string& version) {
  return "model:" + name + ":v" + version;
}

}  // namespace tidelock
