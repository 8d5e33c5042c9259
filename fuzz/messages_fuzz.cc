// Everything that is described once with `fields` and comes from another process or from a disk: frames of sessions,
// ledger commands, operators' requests, stored values. The first byte says which. What decodes has one encoding, and
// takes no more memory than its bytes warrant.
#include "fuzz/fuzz.h"
#include "hub/join.h"
#include "protocol/admin.h"
#include "protocol/messages.h"
#include "protocol/site_source.h"

namespace tidelock::fuzz {
namespace {

template <class... T>
struct Kinds {
  static constexpr std::size_t kCount = sizeof...(T);
  static void decode(std::size_t kind, BytesView bytes) {
    std::size_t at = 0;
    (void)((at++ == kind ? (void)decode_checked<T>(bytes) : void()), ...);
  }
};
using All = Kinds<EdgeFrame, HubFrame, Command, AdminRequest, AdminAnswer, NodeCall, BlobUpload, BlobDownload,
                  StoredValue, ModelPointer, JoinRequest, JoinReply, std::vector<BatchRecord>, std::vector<Bytes>,
                  Namespace, FetchRequest, FetchMore, FetchHead, SiteAsk, SiteTell, SiteView>;

template <class T>
Seed seed(std::string name, int kind, const T& value) {
  return {std::move(name), number(static_cast<std::uint64_t>(kind), 1) + encode(value)};
}

}  // namespace

std::vector<Seed> seeds() {
  const Stamp stamp{1'700'000'000'000, 3, 99};
  const KeyWrite write{"config:limit", "12", kSecond, false, Condition::kVersionIs, Index{7}};
  const KeyWrite gone{"config:old", std::nullopt, 0, true, Condition::kPresent, {}};
  Welcome welcome;
  welcome.hub = "hub-1";
  welcome.hub_boot = Boot{5};
  welcome.term = Term{2};
  welcome.h0 = Index{40};
  welcome.namespaces = default_namespaces();
  welcome.model_key = "-----BEGIN PUBLIC KEY-----";
  welcome.open_blocks = {{Term{2}, BlockNo{1}}};
  RecallCertificate certificate;
  certificate.name = "cam";
  certificate.version = "2.0.0";
  certificate.recalled = Index{40};
  certificate.hub = "hub-1";
  certificate.answered = {"edge-1"};
  certificate.lapsed = {"edge-2"};
  certificate.answered_count = certificate.lapsed_count = 1;
  Seed first;
  std::vector<Seed> out = {
      seed("hello", 0,
           EdgeFrame{SessionNo{1}, 1, Hello{1, "edge-1", "site", Boot{3}, Term{2}, Index{30}, {{"cam", "1.0.0"}}}}),
      seed("probe", 0, EdgeFrame{SessionNo{1}, 2, Probe{Nonce{9}, true, kSecond, false}}),
      seed("ack", 0, EdgeFrame{SessionNo{1}, 3, BlockAck{Term{2}, BlockNo{1}}}),
      seed("fetch", 0,
           EdgeFrame{SessionNo{1}, 4, Fetch{RequestNo{1}, {{"model:cam:current@default", Index{7}}, {"a", {}}}}}),
      seed("through", 0, EdgeFrame{SessionNo{1}, 5, WriteThrough{RequestNo{2}, {3, 1}, {write, gone}}}),
      seed("batch", 0, EdgeFrame{SessionNo{1}, 6, WriteBatch{11, 1, "zstd"}}),
      seed("staged", 0, EdgeFrame{SessionNo{1}, 7, Staged{{"cam", "2.0.0"}, "digest"}}),
      seed("list", 0, EdgeFrame{SessionNo{1}, 8, ListKeys{RequestNo{4}, "config:", "config:a"}}),
      seed(
          "report", 0,
          EdgeFrame{SessionNo{1}, 8,
                    EdgeReport{{{"canary", "yes"}}, 125'000, {{"cam", "2.0.0", true, 90, 1, 0, {{40, 90}}, 1, 1, 9}}}}),
      seed("welcome", 1, HubFrame{SessionNo{1}, 1, welcome}),
      seed("record", 1,
           HubFrame{SessionNo{1}, 2,
                    Record{Index{41}, Term{2}, BlockNo{1}, {{"a", false, "v", kSecond, stamp}}, {7, 65535}}}),
      seed("mark", 1, HubFrame{SessionNo{1}, 3, Mark{Nonce{9}, Index{41}, true, 30 * kSecond, 12345, kForever}}),
      seed("block", 1, HubFrame{SessionNo{1}, 4, Block{Term{2}, BlockNo{2}, {"model:cam:current@default"}}}),
      seed("unblock", 1, HubFrame{SessionNo{1}, 5, Unblock{Term{2}, BlockNo{2}}}),
      seed("answer", 1,
           HubFrame{SessionNo{1}, 6,
                    FetchAnswer{RequestNo{1}, Index{41}, true, {{"a", Index{41}, false, "v", kForever, stamp}}}}),
      seed("done", 1, HubFrame{SessionNo{1}, 7, WriteDone{RequestNo{2}, Code::kConflict, "no", Index{42}}}),
      seed("batch_done", 1, HubFrame{SessionNo{1}, 8, BatchDone{11, 1, Index{43}, 2, Code::kOk, {}}}),
      seed("goodbye", 1, HubFrame{SessionNo{1}, 9, Goodbye{"not active", "hub-2"}}),
      seed("keys_listed", 1,
           HubFrame{SessionNo{1}, 10, KeysListed{RequestNo{4}, {"cfg:a", "cfg:b"}, "cfg:b", {1, 2, 3}}}),
      seed("recalled", 1, HubFrame{SessionNo{1}, 11, Recalled{{{"cam", "1.0.0"}, {"cam", "2.0.0"}}}}),
      seed("claim", 2, Command{{5, 1}, {}, 0, Claim{"hub-1", Boot{5}}}),
      seed("beacon", 2, Command{{5, 2}, Term{2}, kSecond, Beacon{}}),
      seed("put", 2, Command{{5, 3}, Term{2}, kSecond, Put{{write, gone}, BlockNo{1}}}),
      seed("abort", 2, Command{{5, 4}, Term{2}, kSecond, Abort{{5, 3}, BlockNo{1}}}),
      seed("register", 2, Command{{5, 5}, Term{2}, kSecond, RegisterEdge{"edge-1", "site"}}),
      seed("remove", 2, Command{{5, 6}, Term{2}, kSecond, RemoveEdge{"edge-1"}}),
      seed("lease", 2, Command{{5, 7}, Term{2}, kSecond, SetLease{true}}),
      seed("seed", 2, Command{{5, 8}, Term{2}, kSecond, tidelock::Seed{{}, default_namespaces(), "key"}}),
      seed("batch_command", 2,
           Command{{5, 9}, Term{2}, kSecond, Batch{"edge-1", 11, 1, {{"feature:a", "v", stamp, kSecond}}}}),
      seed("recall_command", 2,
           Command{{5, 10}, Term{2}, kSecond, RecallVersion{"cam", "2.0.0", false, "1.0.0", "why", "alice", 1'700}}),
      seed("certify_command", 2,
           Command{{5, 11}, Term{2}, kSecond, CertifyRecall{Put{{gone}, BlockNo{1}}, certificate}}),
      seed("recall", 3, AdminRequest{{7, 5}, RecallModel{"cam", "2.0.0", false, "1.0.0", "why"}}),
      seed("recalls", 3, AdminRequest{{7, 6}, DescribeRecalls{"cam", "2.0.0"}}),
      seed("admin_read", 3, AdminRequest{{7, 1}, ReadKey{"a"}}),
      seed("admin_write", 3, AdminRequest{{7, 2}, WriteKeys{{write}}}),
      seed("publish", 3, AdminRequest{{7, 3}, PublishModel{"cam", "1.0.0", "manifest"}}),
      seed("activate", 3, AdminRequest{{7, 4}, ActivateModel{"cam", "1.0.0"}}),
      seed("admin_answer", 4,
           AdminAnswer{Code::kNotActive,
                       "m",
                       "hub-2:1",
                       Index{1},
                       "v",
                       true,
                       Term{2},
                       "hub-1",
                       {{"edge-1", "s", true, 1, Index{1}, {}}},
                       {{"cam", "1", "", "", Index{1}, {"1"}}}}),
      seed("has_blobs", 5, NodeCall{HasBlobs{{Bytes(32, 'x')}}}),
      seed("upload", 6, BlobUpload{Bytes(32, 'x'), 1u << 20}),
      seed("download", 7, BlobDownload{Bytes(32, 'x'), 4096}),
      seed("stored", 8, StoredValue{Index{7}, "v", kSecond, stamp}),
      seed("pointer", 9, ModelPointer{"1.0.0", Bytes(32, 'x'), "0.9.0"}),
      seed("join", 10, JoinRequest{"0123456789abcdef", "csr", "proof"}),
      seed("records", 12,
           std::vector<BatchRecord>{{"feature:a", "v", stamp, 0}, {"feature:b", std::nullopt, stamp, 0}}),
      seed("namespace", 14, default_namespaces()[1]),
      seed("site_call", 5, NodeCall{SiteCall{"10.0.0.7:7430", {{"cam", "1.0.0", "hub-1", 4096}}}}),
      seed("fetch_blob", 15, FetchRequest{FetchBlob{Bytes(32, 'x')}, {0, 65'536, 4'096}}),
      seed("fetch_delta", 15, FetchRequest{FetchDelta{Bytes(32, 'x'), {Bytes(32, 'y')}}, {0, 0, 2'048}}),
      seed("fetch_more", 16, FetchMore{4'096, 131'072, 65'536}),
      seed("fetch_head", 17, FetchHead{Bytes(32, 'x'), 30'000'000}),
      seed("site_ask", 18, SiteAsk{Bytes(32, 'x')}),
      seed("site_tell", 19, SiteTell{SiteState::kFetching, 77}),
      seed("site_view", 20, SiteView{{{"edge-1", "10.0.0.7:7430", {{"cam", "1.0.0", "edge-2", 9}}}}})};
  // What went wrong: a number padded with zero bytes was a second encoding of the same value.
  out.push_back({"padded_number", number(8, 1) + Bytes("\x87\x00\x00\x00\x00\x00\x00", 7)});
  return out;
}

void run(BytesView input) {
  Input in(input);
  const std::size_t kind = in.byte() % All::kCount;
  All::decode(kind, in.rest());
}

}  // namespace tidelock::fuzz
