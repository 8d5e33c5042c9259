// Files that rest in an object store: put by the active hub, pulled through by any (M2). The store is a shared folder,
// and once a real object gateway.
#include "hub/model_origin.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

#include "codec/archive.h"
#include "hub/hub.h"
#include "hub/model_store.h"
#include "protocol/admin.h"
#include "store/objects/conformance_fixture.h"
#include "wire/grpc/transport_fixture.h"

namespace tidelock {
namespace {

class ModelOriginTest : public ObjectStoreBench {
 protected:
  HubConfig config() {
    HubConfig config;
    config.tls = papers_;
    config.models.used = true;
    config.models.store.engine = ObjectEngine::kFolder;
    config.models.store.url = folder_.path() + "/rests";
    config.models.prefix = "fleet/models";
    return config;
  }
  std::unique_ptr<HubModelStore> hub(const std::string& name, const HubConfig& config) {
    auto store = HubModelStore::open(folder_.path() + "/" + name, config);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  static Bytes upload(HubModelStore& hub, const Bytes& bytes) {
    const Bytes digest = sha256(bytes);
    auto upload = hub.upload({NodeRole::kClient, "operator"}, encode(BlobUpload{digest, bytes.size()}));
    EXPECT_TRUE(upload) << upload.error().message;
    if (!upload) return digest;
    EXPECT_TRUE((*upload)->chunk(bytes));
    (*upload)->finish([](const Result<Bytes>& end) { EXPECT_TRUE(end) << end.error().message; });
    return digest;
  }
  Bytes release(const std::vector<Bytes>& files) {
    Manifest manifest;
    manifest.name = "detector";
    manifest.version = "1.0.0";
    for (const Bytes& file : files) {
      const bool first = manifest.files.empty();
      manifest.files.push_back({first ? std::string(kModelFileName) : "f" + std::to_string(manifest.files.size()),
                                first ? FileRole::kModel : FileRole::kOther, file.size(), sha256(file)});
    }
    const auto made = sign_manifest(manifest, key_.private_pem);
    EXPECT_TRUE(made) << made.error().message;
    return made ? encode(*made) : Bytes();
  }
  // Asked again while it says that it is at it, as the operator's tool does.
  Result<void> published(HubModelStore& hub, const Bytes& release) {
    Result<void> end{};
    EXPECT_TRUE(comes_up([&] {
      end = hub.check_published(release, key_.public_pem, true);
      return end || end.error().code != Code::kBusy;
    }));
    return end;
  }
  static Result<Bytes> download(HubModelStore& hub, const Bytes& digest) {
    const auto source = hub.download(encode(BlobDownload{digest, 0}));
    if (!source) return fail(source.error());
    Bytes out;
    for (;;) {
      const auto piece = (*source)();
      if (!piece) return fail(piece.error());
      if (!*piece) return out;
      out += **piece;
    }
  }
  std::string object(const Bytes& digest) const {
    return folder_.path() + "/rests/objects/fleet/models/blobs/" + to_hex(digest);
  }

  Authority ca_{"test"};
  TlsFiles papers_ = ca_.files(NodeRole::kHub, "hub-1");
  SigningKey key_ = *make_signing_key();
};

TEST_F(ModelOriginTest, WhatIsPublishedRestsInTheStoreAndIsPulledThrough) {  // M2
  const auto one = hub("hub-1", config());
  const Bytes model = some_bytes(3'000'000), labels = "cat\ndog\n";
  const Bytes signed_manifest = release({model, labels});
  refused(published(*one, signed_manifest), Code::kUnavailable, "is neither at a hub nor in folder", "nobody has it");
  upload(*one, model);
  refused(one->check_published(signed_manifest, key_.public_pem, false), Code::kNotActive, "puts files into folder",
          "one hub puts, not all");
  refused(published(*one, signed_manifest), Code::kUnavailable, "f1", "only half of it");
  upload(*one, labels);
  refused(one->check_published(signed_manifest, make_signing_key()->public_pem, true), Code::kDenied, "",
          "another key");
  const auto done = published(*one, signed_manifest);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(std::filesystem::exists(object(sha256(model))) && std::filesystem::exists(object(sha256(labels))))
      << "before it is acknowledged";
  const auto two = hub("hub-2", config());
  EXPECT_EQ(two->missing({sha256(model)}).size(), 1u);
  const auto got = download(*two, sha256(model));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(*got == model);
  EXPECT_EQ(two->missing({sha256(model)}).size(), 0u) << "a copy stays";
  refused(download(*two, sha256("nobody's")), Code::kNotFound, "fleet/models/blobs/", "neither at a hub nor there");
}

// The file is in this hub's folder already, so the watch finds nothing to bring: that is not where it shall rest.
TEST_F(ModelOriginTest, AVersionOfTheInboxIsPublishedOnceItsFilesRestInTheStore) {  // M2
  HubConfig watching = config();
  watching.models.watch_every = 20 * kMillisecond;
  const auto one = hub("hub-1", watching);
  const Bytes model = some_bytes(2'000'000);
  upload(*one, model);
  const std::string inbox = folder_.path() + "/rests/objects/fleet/models/inbox/detector/1.0.0";
  std::filesystem::create_directories(inbox);
  std::ofstream(inbox + "/tidelock.manifest", std::ios::binary) << release({model});
  ASSERT_FALSE(std::filesystem::exists(object(sha256(model))));
  std::atomic<int> asked{0}, too_early{0};
  one->watch([] { return true; }, [this] { return key_.public_pem; },
             [&](const AdminRequest& request, const Reply& reply) {
               EXPECT_TRUE(std::holds_alternative<PublishModel>(request.body));
               if (!std::filesystem::exists(object(sha256(model)))) ++too_early;
               ++asked;
               reply(encode(AdminAnswer{}));
             });
  EXPECT_TRUE(comes_up([&] { return asked.load() > 0; }));
  one->stop();
  EXPECT_EQ(asked.load(), 1) << "settled";
  EXPECT_EQ(too_early.load(), 0);
}

// A store that says nothing holds up one fetch, not those of what is here; and a hub that stops does not wait for it.
TEST_F(ModelOriginTest, AFetchThatWaitsForTheStoreHoldsUpNobodyAndEndsWithTheHub) {
  const Mute silent;
  HubConfig settings = config();
  settings.models.store.engine = ObjectEngine::kS3;
  settings.models.store.url = "http://" + silent.address() + "/models";
  settings.models.store.credentials = CredentialKind::kMetadata;
  settings.models.store.metadata_url = "http://" + silent.address();
  const auto one = hub("hub-1", settings);
  ASSERT_TRUE(one);
  const Bytes here = upload(*one, "here");
  std::atomic<int> calls{0};
  std::vector<std::unique_ptr<FetchSource>> waiting;
  for (int i = 0; i < 8; ++i) {  // more than there are threads for it
    auto source = one->fetch(encode(FetchRequest{FetchBlob{sha256("f" + std::to_string(i))}, {0, 0, 1'024}}),
                             [&calls] { ++calls; });
    ASSERT_TRUE(source) << source.error().message;
    const auto nothing = (*source)->next();
    ASSERT_TRUE(nothing) << nothing.error().message;
    EXPECT_FALSE(*nothing);
    waiting.push_back(std::move(*source));
  }
  const auto source = one->fetch(encode(FetchRequest{FetchBlob{here}, {0, 4, 1'024}}), [] {});
  ASSERT_TRUE(source) << source.error().message;
  ASSERT_TRUE((*source)->next().value()) << "its head";
  EXPECT_EQ((*source)->next().value(), std::optional<Bytes>("here"));
  const auto nonsense = one->fetch(encode(FetchRequest{FetchBlob{"no digest"}, {0, 0, 1}}), [] {});
  EXPECT_EQ(nonsense.error().code, Code::kInvalid) << "at once";
  waiting.pop_back();  // its edge has gone
  one->stop();
  EXPECT_EQ(calls, 7) << "each hears that it is over, but the one that nobody waits for";
  for (const auto& one_of_them : waiting) {
    const auto end = one_of_them->next();
    ASSERT_FALSE(end);
    EXPECT_TRUE(end.error().code == Code::kUnavailable || end.error().code == Code::kBusy)  // asked again elsewhere
        << end.error().message;
  }
}

TEST_F(ModelOriginTest, WhatTheStoreHoldsIsNotTrusted) {
  const auto one = hub("hub-1", config());
  const Bytes model = some_bytes(100'000);
  const Bytes signed_manifest = release({model});
  upload(*one, model);
  ASSERT_TRUE(published(*one, signed_manifest));
  Bytes other = model;
  other[50'000] ^= 1;
  std::ofstream(object(sha256(model)), std::ios::binary) << other;
  const auto two = hub("hub-2", config());
  refused(download(*two, sha256(model)), Code::kCorrupt, "fleet/models/blobs/" + to_hex(sha256(model)),
          "a bit is wrong");
  EXPECT_EQ(two->missing({sha256(model)}).size(), 1u) << "nothing of it is kept";
  std::ofstream(object(sha256(model)), std::ios::binary) << "cut";
  refused(download(*two, sha256(model)), Code::kCorrupt, "blobs/", "cut short");
  ASSERT_TRUE(published(*one, signed_manifest)) << "put again, since its size is wrong";
  EXPECT_TRUE(download(*two, sha256(model)).value_or("") == model);
}

TEST_F(ModelOriginTest, CopiesStayWithinTheQuota) {
  const auto one = hub("hub-1", config());
  std::vector<Bytes> files;
  for (std::uint64_t i = 1; i <= 4; ++i) files.push_back(some_bytes(60'000, i));
  for (const Bytes& file : files) upload(*one, file);
  ASSERT_TRUE(published(*one, release(files)));
  HubConfig small = config();
  small.models.quota_bytes = 150'000;
  const auto two = hub("hub-2", small);
  for (int round = 0; round < 2; ++round) {
    for (const Bytes& file : files) {
      const auto got = download(*two, sha256(file));
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_TRUE(*got == file);
    }
  }
  std::vector<Bytes> digests;
  for (const Bytes& file : files) digests.push_back(sha256(file));
  EXPECT_EQ(two->missing(digests).size(), 2u) << "two fit, the oldest gave way";
  const Bytes large = some_bytes(100'000, 9);
  upload(*two, large);
  EXPECT_EQ(two->missing({sha256(large)}).size(), 0u) << "an upload takes the room of copies, too";
}

TEST_F(ModelOriginTest, ManyWhoAskAtOnceGetOnePull) {
  const auto one = hub("hub-1", config());
  const Bytes model = some_bytes(2'000'000);
  upload(*one, model);
  ASSERT_TRUE(published(*one, release({model})));
  const auto two = hub("hub-2", config());
  std::atomic<int> good{0};
  std::vector<std::thread> asking;
  for (int i = 0; i < 6; ++i)
    asking.emplace_back([&] { good += download(*two, sha256(model)).value_or("") == model ? 1 : 0; });
  for (std::thread& thread : asking) thread.join();
  EXPECT_EQ(good, 6) << "none is refused because another is at it";
}

TEST_F(ModelOriginTest, WrongSettingsStopTheStart) {
  HubConfig wrong = config();
  wrong.models.prefix = "a/../b";
  auto store = HubModelStore::open(folder_.path() + "/x", wrong);
  refused(store, Code::kInvalid, "models.prefix = \"a/../b\"", "a prefix with tricks");
  wrong = config();
  wrong.models.store.url = "somewhere";
  store = HubModelStore::open(folder_.path() + "/y", wrong);
  refused(store, Code::kInvalid, "models.url", "no path");
}

TEST_F(ModelOriginTest, RestsInARealObjectGateway) {  // M2
  if (const std::string why = missing(ObjectEngine::kS3); !why.empty()) GTEST_SKIP() << why;
  HubConfig s3 = config();
  s3.models.store = options(ObjectEngine::kS3);
  const auto one = hub("hub-1", s3);
  const Bytes model = some_bytes(kPartBytes + 1'000);
  const Bytes signed_manifest = release({model});
  upload(*one, model);
  const auto done = published(*one, signed_manifest);
  ASSERT_TRUE(done) << done.error().message;
  const auto two = hub("hub-2", s3);
  const auto got = download(*two, sha256(model));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(*got == model);
  HubConfig denied = s3;
  denied.models.store.credentials_file =
      write_secret(std::string("aws_access_key_id=") + RadosGateway::kAccessKey + "\naws_secret_access_key=wrong\n");
  const auto three = hub("hub-3", denied);
  refused(download(*three, sha256(model)), Code::kDenied, "s3 head fleet/models/blobs/", "another secret");
  refused(three->check_published(signed_manifest, key_.public_pem, true), Code::kDenied, "403",
          "and publishes nothing");
}

// Gives a blob in chunks, and breaks off after some of them.
class Giver : public EchoService {
 public:
  Giver(Bytes bytes, std::size_t chunks) : bytes_(std::move(bytes)), chunks_(chunks) {}
  void on_call(const PeerIdentity&, Bytes, Reply reply) override {
    AdminAnswer answer;
    answer.value = encode(std::vector<Bytes>{});
    reply(encode(answer));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes request) override {
    const auto wanted = decode<BlobDownload>(request, "download");
    if (!wanted) return fail(wanted.error());
    watched.change([&] { offsets.push_back(wanted->offset); });
    return ChunkSource([this, at = wanted->offset, left = chunks_]() mutable -> Result<std::optional<Bytes>> {
      if (left-- == 0) return fail(Code::kUnavailable, "the link broke");
      if (at >= bytes_.size()) return std::optional<Bytes>{};
      const Bytes chunk = bytes_.substr(at, 1u << 20);
      at += chunk.size();
      return std::optional<Bytes>(chunk);
    });
  }
  std::vector<std::uint64_t> offsets;

 private:
  const Bytes bytes_;
  const std::size_t chunks_;
};

TEST_F(ModelOriginTest, AHubsBlobIsStreamedAndGoesOnAtTheNext) {
  const Bytes model = some_bytes(5u << 20);
  Giver breaks(model, 2), whole(model, 100);
  NodeServerOptions first, second;
  first.tls = ca_.files(NodeRole::kHub, "hub-2");
  second.tls = ca_.files(NodeRole::kHub, "hub-3");
  const auto two = NodeServer::start(std::move(first), breaks), three = NodeServer::start(std::move(second), whole);
  ASSERT_TRUE(two && three);
  HubConfig plain;
  plain.tls = papers_;
  const auto one = hub("hub-1", plain);
  one->set_peers({{"hub-2", (*two)->address()}, {"hub-3", (*three)->address()}});
  const auto got = download(*one, sha256(model));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(*got == model);
  EXPECT_EQ(breaks.offsets, std::vector<std::uint64_t>{0});
  EXPECT_EQ(whole.offsets, std::vector<std::uint64_t>{2u << 20}) << "what came is not asked for again";
}

}  // namespace
}  // namespace tidelock
