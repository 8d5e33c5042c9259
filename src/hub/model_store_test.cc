// A hub's blobs: what is refused before a byte moves, and what other hubs' answers are worth (M2).

#include "hub/model_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <future>
#include <string>
#include <thread>

#include "base/elapsed_clock.h"
#include "base/noise_fixture.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "hub/hub.h"
#include "protocol/admin.h"
#include "protocol/map_rows_fixture.h"
#include "store/models/test_folder.h"
#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

// Says that it has every blob, and gives other bytes for each.
class Liar : public EchoService {
 public:
  void on_call(const PeerIdentity&, Bytes, Reply reply) override {
    AdminAnswer answer;
    answer.value = encode(std::vector<Bytes>{});
    reply(encode(answer));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes) override {
    return ChunkSource([sent = false]() mutable -> Result<std::optional<Bytes>> {
      if (std::exchange(sent, true)) return std::optional<Bytes>{};
      return std::optional<Bytes>("other bytes");
    });
  }
};

// Has some files, and counts how often it gives one.
class Giver : public EchoService {
 public:
  explicit Giver(std::vector<Bytes> files) : files_(std::move(files)) {}
  int given() const { return given_; }
  void log_ends_at(Index end) { end_ = end.value; }
  void on_call(const PeerIdentity&, Bytes, Reply reply) override {
    AdminAnswer answer;
    answer.index = Index{end_};
    answer.value = encode(std::vector<Bytes>{});
    reply(encode(answer));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes request) override {
    const auto wanted = decode<BlobDownload>(request, "download");
    for (const Bytes& bytes : files_) {
      if (!wanted || sha256(bytes) != wanted->sha256) continue;
      ++given_;
      return ChunkSource([rest = bytes]() mutable -> Result<std::optional<Bytes>> {
        if (rest.empty()) return std::optional<Bytes>{};
        return std::optional<Bytes>(std::exchange(rest, {}));
      });
    }
    return fail(Code::kNotFound, "it is not here");
  }

 private:
  const std::vector<Bytes> files_;
  std::atomic<int> given_{0};
  std::atomic<std::uint64_t> end_{0};
};

class ModelStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    HubConfig config;
    config.tls = papers_;
    auto store = HubModelStore::open(folder_.path() + "/models", config);
    ASSERT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
  }
  Bytes put(const std::string& bytes) {
    const Bytes digest = sha256(bytes);
    auto upload = store_->upload({NodeRole::kClient, "operator"}, encode(BlobUpload{digest, bytes.size()}));
    EXPECT_TRUE(upload) << upload.error().message;
    EXPECT_TRUE((*upload)->chunk(bytes));
    (*upload)->finish([](const Result<Bytes>& end) { EXPECT_TRUE(end) << end.error().message; });
    return digest;
  }
  static void refused(const Error& error, Code code, const std::string& says, const std::string& why) {
    EXPECT_EQ(error.code, code) << why << ": " << error.message;
    EXPECT_NE(error.message.find(says), std::string::npos) << why << ": " << error.message;
  }

  TestFolder folder_;
  Authority ca_{"test"};
  TlsFiles papers_ = ca_.files(NodeRole::kHub, "hub-1");
  std::unique_ptr<HubModelStore> store_;
};

TEST_F(ModelStoreTest, DownloadsThatCannotBeServedSayWhy) {
  const Bytes here = put("model");
  const Bytes nowhere = sha256("another");
  struct Case {
    const char* why;
    BlobDownload request;
    Code code;
    std::string says;
  };
  const Case cases[] = {
      {"half a digest", {here.substr(0, 16), 0}, Code::kInvalid, "sha256 has 16 bytes, must have 32"},
      {"beyond the end", {here, 6}, Code::kInvalid, "offset 6 is beyond the blob's 5 bytes"},
      {"nobody has it", {nowhere, 0}, Code::kNotFound, "blob " + to_hex(nowhere) + " is on no hub"},
  };
  for (const Case& c : cases) {
    const auto source = store_->download(encode(c.request));
    ASSERT_FALSE(source) << c.why;
    refused(source.error(), c.code, c.says, c.why);
  }
  EXPECT_TRUE(store_->download(encode(BlobDownload{here, 5}))) << "a transfer that only lacks its end";
}

TEST_F(ModelStoreTest, UploadsAreRefusedByRoleDigestAndSize) {
  const Bytes digest = sha256("model");
  struct Case {
    const char* why;
    NodeRole role;
    BlobUpload first;
    Code code;
    std::string says;
  };
  const Case cases[] = {
      {"an edge publishes nothing", NodeRole::kEdge, {digest, 5}, Code::kDenied, "(role client) may publish"},
      {"nor does a hub", NodeRole::kHub, {digest, 5}, Code::kDenied, "(role client) may publish"},
      {"no digest", NodeRole::kClient, {"", 5}, Code::kInvalid, "sha256 has 0 bytes, must have 32"},
      {"empty", NodeRole::kClient, {digest, 0}, Code::kInvalid, "size_bytes = 0: must be 1 to 4 GiB"},
      {"too large",
       NodeRole::kClient,
       {digest, kModelFileBytesMax + 1},
       Code::kInvalid,
       "size_bytes = " + std::to_string(kModelFileBytesMax + 1) + ": must be 1 to 4 GiB"},
  };
  for (const Case& c : cases) {
    const auto upload = store_->upload({c.role, "node-1"}, encode(c.first));
    ASSERT_FALSE(upload) << c.why;
    refused(upload.error(), c.code, c.says, c.why);
  }
}

TEST_F(ModelStoreTest, AReleaseIsPublishedOnlyWhenAMajorityHoldsItsFiles) {  // M2
  const SigningKey key = *make_signing_key();
  Manifest manifest;
  manifest.name = "detector";
  manifest.version = "1.0.0";
  manifest.files = {{std::string(kModelFileName), FileRole::kModel, 5, sha256("model")}};
  const auto made = sign_manifest(manifest, key.private_pem);
  ASSERT_TRUE(made) << made.error().message;
  const Bytes release = encode(*made);
  store_->set_peers({{"hub-2", "nonsense"}});
  const auto nobody = store_->check_published(release, key.public_pem, true);
  ASSERT_FALSE(nobody);
  refused(nobody.error(), Code::kUnavailable,
          "only 0 of 2 hubs hold every file of the release, 2 are needed; missing at: this hub hub-2 "
          "(its address cannot be used: nonsense)",
          "nobody has the file");
  put("model");
  const auto half = store_->check_published(release, key.public_pem, true);
  ASSERT_FALSE(half);
  refused(half.error(), Code::kUnavailable, "only 1 of 2 hubs hold every file", "half of the hubs is no majority");
  store_->set_peers({});
  const auto all = store_->check_published(release, key.public_pem, true);
  EXPECT_TRUE(all) << all.error().message;
}

// M3: a delta that has to be made first is made beside the other transfers, and told of when it is there.
TEST_F(ModelStoreTest, ADeltaIsMadeBesideOtherFetches) {
  const Bytes base = noise(1, 3'000'000);
  Bytes target = base;
  target.insert(1'000'000, "a few bytes that the base does not have");
  const Bytes base_digest = put(base), target_digest = put(target);
  const auto head_of = [](FetchSource& source) {
    const auto frame = source.next();
    EXPECT_TRUE(frame && *frame);
    return decode<FetchHead>(frame && *frame ? **frame : Bytes(), "head").value_or(FetchHead{});
  };
  std::promise<void> made;
  const FetchDelta wanted{target_digest, {sha256("nobody's"), base_digest}};
  const auto delta = store_->fetch(encode(FetchRequest{wanted, {0, 0, 4'096}}), [&made] { made.set_value(); });
  ASSERT_TRUE(delta) << delta.error().message;
  ASSERT_TRUE((*delta)->take(encode(FetchMore{0, 1, 4'096})));
  const auto whole = store_->fetch(encode(FetchRequest{FetchBlob{target_digest}, {0, 0, 4'096}}), [] {});
  ASSERT_TRUE(whole) << "whoever wants the file itself is served at once: " << whole.error().message;
  EXPECT_EQ(head_of(**whole).size_bytes, target.size());
  ASSERT_EQ(made.get_future().wait_for(kHang), std::future_status::ready);
  const FetchHead head = head_of(**delta);
  EXPECT_LT(head.size_bytes, 10'000u);
  EXPECT_EQ((*delta)->next().value().value().size(), 1u) << "what was asked for meanwhile counts";
  // The next one has it at once.
  const auto again = store_->fetch(encode(FetchRequest{wanted, {0, 0, 4'096}}), [] {});
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(head_of(**again).sha256, head.sha256);
  ASSERT_TRUE((*again)->take(encode(FetchMore{0, head.size_bytes, 1u << 20})));
  Bytes came;
  for (auto frame = (*again)->next(); frame && *frame; frame = (*again)->next()) came += **frame;
  EXPECT_EQ(sha256(came), head.sha256);
}

TEST_F(ModelStoreTest, WhatAnotherHubGivesIsKeptOnlyUnderItsOwnHash) {
  Liar liar;
  NodeServerOptions options;
  options.tls = ca_.files(NodeRole::kHub, "hub-2");
  const auto server = NodeServer::start(std::move(options), liar);
  ASSERT_TRUE(server) << server.error().message;
  store_->set_peers({{"hub-2", (*server)->address()}});
  const Bytes wanted = sha256("model");
  const auto source = store_->download(encode(BlobDownload{wanted, 0}));
  ASSERT_FALSE(source);
  refused(source.error(), Code::kCorrupt, "blob " + to_hex(wanted) + " from hub-2 has other content", "the hash");
  EXPECT_EQ(store_->missing({wanted, sha256("other bytes")}).size(), 2u) << "neither is kept";
}

// What is served is read, not mapped: a file that is cut short meanwhile is an error, and no signal.
TEST_F(ModelStoreTest, AFileThatIsCutShortUnderATransferEndsItAndNamesTheFile) {  // M3, X3
  const Bytes bytes = noise(3, 3'000'000), digest = put(bytes);
  const std::string hex = to_hex(digest), path = folder_.path() + "/models/blobs/" + hex.substr(0, 2) + "/" + hex;
  const auto fetch = store_->fetch(encode(FetchRequest{FetchBlob{digest}, {0, bytes.size(), 1u << 20}}), [] {});
  ASSERT_TRUE(fetch) << fetch.error().message;
  auto download = store_->download(encode(BlobDownload{digest, 0}));
  ASSERT_TRUE(download) << download.error().message;
  ASSERT_TRUE((*fetch)->next().value()) << "its head";
  EXPECT_EQ((*fetch)->next().value().value(), bytes.substr(0, 1u << 20));
  EXPECT_EQ((*download)().value().value(), bytes.substr(0, 1u << 20));
  std::filesystem::resize_file(path, 1'500'000);
  const auto cut = (*fetch)->next();
  ASSERT_FALSE(cut);
  refused(cut.error(), Code::kUnavailable, path + ": it ends at byte 1500000 of 3000000", "in a fetch");
  const auto cut_too = (*download)();
  ASSERT_FALSE(cut_too);
  refused(cut_too.error(), Code::kUnavailable, path + ": it ends at byte 1500000 of 3000000", "in a download");
  EXPECT_TRUE(fs::exists(path)) << "whoever is at it goes on";
  const auto anew = store_->download(encode(BlobDownload{digest, 0}));
  ASSERT_FALSE(anew);
  refused(anew.error(), Code::kNotFound, "blob " + hex + " is on no hub", "one that begins then");
  EXPECT_TRUE(fs::exists(folder_.path() + "/models/quarantine/" + hex));
}

// A file that counts as here, and whose bytes are gone or cut short, comes from another hub: a fetch of it waits for
// that, and no delta is made out of a part of it.
TEST_F(ModelStoreTest, WhatIsGoneOrCutShortIsBroughtAgain) {  // M3, X3
  const Bytes base = noise(1, 300'000), target = base + noise(2, 1'000);
  Giver giver({base, target});
  NodeServerOptions options;
  options.tls = ca_.files(NodeRole::kHub, "hub-2");
  const auto server = NodeServer::start(std::move(options), giver);
  ASSERT_TRUE(server) << server.error().message;
  store_->set_peers({{"hub-2", (*server)->address()}});
  const auto path = [&](const Bytes& digest) {
    const std::string hex = to_hex(digest);
    return folder_.path() + "/models/blobs/" + hex.substr(0, 2) + "/" + hex;
  };
  const Bytes base_digest = put(base), target_digest = put(target);
  const auto fetched = [&](FetchRequest request) -> Result<Bytes> {
    Watched heard;
    bool told = false;
    request.more = {0, 0, 1u << 20};
    const auto source = store_->fetch(encode(request), [&] { heard.change([&] { told = true; }); });
    if (!source) return fail(source.error());
    auto head = (*source)->next();
    if (head && !*head) {
      EXPECT_TRUE(heard.wait([&] { return told; }));
      head = (*source)->next();
    }
    if (!head) return fail(head.error());
    const auto said = decode<FetchHead>(head->value(), "head");
    if (!said) return fail(said.error());
    if (const auto ok = (*source)->take(encode(FetchMore{0, said->size_bytes, 1u << 20})); !ok) return fail(ok.error());
    return (*source)->next().value().value();
  };
  const auto whole = [&] { return fetched({FetchBlob{target_digest}, {}}); };
  const auto delta = [&] { return fetched({FetchDelta{target_digest, {base_digest}}, {}}); };

  fs::remove(path(target_digest));
  EXPECT_EQ(whole().value(), target);
  fs::remove(path(target_digest));
  EXPECT_TRUE(store_->download(encode(BlobDownload{target_digest, 0})));
  fs::remove(path(target_digest));
  const auto first = delta();
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(giver.given(), 3);

  fs::remove_all(folder_.path() + "/models/deltas/blobs");  // so that it has to be made
  fs::resize_file(path(target_digest), 200'000);
  const auto second = delta();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(*second, *first) << "not of the part of it that was there";
  EXPECT_EQ(giver.given(), 4);
  EXPECT_TRUE(fs::exists(folder_.path() + "/models/quarantine/" + to_hex(target_digest)));

  fs::remove_all(folder_.path() + "/models/deltas/blobs");
  fs::resize_file(path(base_digest), 200'000);
  const auto third = delta();
  ASSERT_TRUE(third) << third.error().message;
  EXPECT_EQ(*third, *first) << "the file to start from came too";
  EXPECT_EQ(giver.given(), 5);

  fs::resize_file(path(target_digest), 200'000);
  EXPECT_EQ(whole().value(), target);
  fs::resize_file(path(target_digest), 200'000);
  EXPECT_TRUE(store_->download(encode(BlobDownload{target_digest, 0})));
  EXPECT_EQ(giver.given(), 7);

  const auto fourth = fetched({FetchDelta{target_digest, {sha256("nobody's")}}, {}});
  ASSERT_FALSE(fourth);
  refused(fourth.error(), Code::kNotFound, "for want of the file to start from", "the file itself is here");
}

// Before a hub removes anything it has applied what a majority's logs hold.
TEST_F(ModelStoreTest, NothingIsCollectedUntilTheLedgerIsKnown) {  // M8, M2
  struct Case {
    const char* why;
    std::uint64_t other_end;  // of the other hub's log; 0: a build that does not say
    std::uint64_t commit, commit_later;
    const char* says;
  };
  const Case cases[] = {
      {"the other hub has no more", 7, 7, 7, "\"garbage\":0"},
      {"this one catches up", 9, 7, 9, "\"garbage\":0"},
      {"the other hub says nothing", 0, 7, 7, "only 1 of 2 hubs say what was published; 2 are needed"},
  };
  const PeerIdentity operator_{NodeRole::kClient, "operator"};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    Giver giver({});
    giver.log_ends_at(Index{c.other_end});
    NodeServerOptions options;
    options.tls = ca_.files(NodeRole::kHub, "hub-2");
    const auto server = NodeServer::start(std::move(options), giver);
    ASSERT_TRUE(server) << server.error().message;
    store_->set_peers({{"hub-2", (*server)->address()}});
    int asked = 0, settled = 0;
    MapRows rows;
    store_->look_after({rows,
                        [&] {
                          LedgerStatus status;
                          status.last_index = Index{7};
                          status.commit_index = Index{asked++ == 0 ? c.commit : c.commit_later};
                          return status;
                        },
                        [&]() -> Result<void> {
                          ++settled;
                          return {};
                        }});
    EXPECT_EQ(store_->care(operator_, {StoreCall::What::kCollect, false}).code, Code::kOk);
    std::string state;
    const ElapsedClock clock;
    const Nanos until = clock.now() + 20 * kSecond;
    while (state.find("\"running\":false") == std::string::npos && clock.now() < until) {
      state = *store_->care(operator_, {StoreCall::What::kLook, false}).value;
      std::this_thread::yield();
    }
    EXPECT_NE(state.find(c.says), std::string::npos) << state;
    EXPECT_EQ(settled, c.other_end == 0 ? 0 : 1);
  }
}

// Has what a test lets it have, and is slow to give it: it waits to be told.
class Slow : public EchoService {
 public:
  void on_call(const PeerIdentity&, Bytes, Reply reply) override {
    AdminAnswer answer;
    answer.value = encode(std::vector<Bytes>{});
    reply(encode(answer));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes request) override {
    const auto wanted = decode<BlobDownload>(request, "download");
    watched_.change([&] { ++asked_; });
    if (!wanted || !watched_.wait([&] { return files_.contains(wanted->sha256); }))
      return fail(Code::kNotFound, "nobody let it go");
    return ChunkSource([bytes = files_[wanted->sha256], sent = false]() mutable -> Result<std::optional<Bytes>> {
      if (std::exchange(sent, true)) return std::optional<Bytes>{};
      return std::optional<Bytes>(bytes);
    });
  }
  void let_go(const Bytes& bytes) {
    watched_.change([&] { files_[sha256(bytes)] = bytes; });
  }
  int asked() {
    int count = 0;
    watched_.change([&] { count = asked_; });
    return count;
  }

 private:
  Watched watched_;
  std::map<Bytes, Bytes> files_;
  int asked_ = 0;
};

// Many gateways want a file that is not here: one thread brings it, and the others are there for other files.
TEST_F(ModelStoreTest, FetchesOfOneMissingFileShareItsWayHere) {  // M3
  Slow slow;
  NodeServerOptions options;
  options.tls = ca_.files(NodeRole::kHub, "hub-2");
  const auto server = NodeServer::start(std::move(options), slow);
  ASSERT_TRUE(server) << server.error().message;
  store_->set_peers({{"hub-2", (*server)->address()}});
  const Bytes first = noise(1, 20'000), second = noise(2, 30'000);
  Watched heard;
  std::map<Bytes, int> told;
  std::vector<std::unique_ptr<FetchSource>> fetches;
  const auto want = [&](const Bytes& bytes) {
    const Bytes digest = sha256(bytes);
    auto fetch = store_->fetch(encode(FetchRequest{FetchBlob{digest}, {0, bytes.size(), 1u << 20}}),
                               [&, digest] { heard.change([&] { ++told[digest]; }); });
    ASSERT_TRUE(fetch) << fetch.error().message;
    fetches.push_back(std::move(*fetch));
  };
  const auto came = [&](FetchSource& fetch) {
    (void)fetch.next().value().value();
    return fetch.next().value().value();
  };
  for (int i = 0; i < 2 * SlowFetches::kThreads; ++i) want(first);
  fetches.erase(fetches.begin());  // who began it gives up; the others wait still
  want(second);
  slow.let_go(second);
  ASSERT_TRUE(heard.wait([&] { return told[sha256(second)] == 1; })) << "though nobody has the first yet";
  EXPECT_EQ(came(*fetches.back()), second);
  fetches.pop_back();
  EXPECT_FALSE(fetches.front()->next().value());
  slow.let_go(first);
  ASSERT_TRUE(heard.wait([&] { return told[sha256(first)] == 2 * SlowFetches::kThreads; }));
  for (const auto& fetch : fetches) EXPECT_EQ(came(*fetch), first);
  EXPECT_EQ(slow.asked(), 2) << "each file came once";

  store_->set_peers({});
  fetches.clear();
  const Bytes nowhere = noise(4, 10);
  for (int i = 0; i < 2; ++i) want(nowhere);
  ASSERT_TRUE(heard.wait([&] { return told[sha256(nowhere)] == 2; }));
  for (const auto& fetch : fetches) refused(fetch->next().error(), Code::kNotFound, "is on no hub", "the one outcome");
}

}  // namespace
}  // namespace tidelock
