// The keeper against a hub that says what a sound one does not: each version that does not hold is reported with its
// cause, and none of it stays. Sessions with real hubs are in tests/system.
#include "edge/model_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/wall_clock.h"
#include "codec/archive.h"
#include "codec/certificate.h"
#include "codec/trust_fixture.h"
#include "edge/l2_store.h"
#include "infer/onnx_file.h"
#include "protocol/recalled_list.h"
#include "protocol/trust_push.h"
#include "store/models/files.h"
#include "store/models/store_care.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr auto kHang = std::chrono::seconds(20);  // only turns a hang into a failure

const SigningKey& key() {
  static const SigningKey made = *make_signing_key();
  return made;
}
Bytes small_model() {
  OnnxBuilder b;
  const std::int64_t shape[] = {1, 2};
  b.input("x", shape);
  b.output("y", shape);
  b.node("Relu", {"x"}, {"y"});
  return b.finish("small");
}
Manifest manifest_of(const std::string& version) {
  Manifest manifest;
  manifest.name = "detector";
  manifest.version = version;
  const Bytes model = small_model();
  manifest.files = {{"model.onnx", FileRole::kModel, model.size(), sha256(model)}};
  return manifest;
}
Bytes published(const std::string& version) { return encode(*sign_manifest(manifest_of(version), key().private_pem)); }

// A hub whose ledger holds what a test put there, and that has no files of models unless told so. It serves no fetches,
// as hubs of the build before: so its files come as plain downloads.
class OddHub : public NodeService {
 public:
  void hold(const std::string& ledger_key, Bytes value) {
    const std::lock_guard lock(mutex_);
    ledger_[ledger_key] = std::move(value);
  }
  void have_files(bool has = true) {
    const std::lock_guard lock(mutex_);
    has_files_ = has;
  }
  void on_session_open(SessionPtr) override {}
  void on_session_frame(SessionId, Bytes) override {}
  void on_session_closed(SessionId, const std::string&) override {}
  void on_raft_frame(const NodeId&, Bytes) override {}
  void on_refused(const std::string&, const std::string&) override {}
  void on_call(const PeerIdentity&, Bytes request, Reply reply) override {
    const auto call = decode<NodeCall>(request, "call");
    AdminAnswer answer;
    if (const auto* admin = call ? std::get_if<AdminRequest>(&call->body) : nullptr) {
      if (const auto* read = std::get_if<ReadKey>(&admin->body)) {
        const std::lock_guard lock(mutex_);
        if (const auto found = ledger_.find(read->key); found != ledger_.end()) answer.value = found->second;
      }
    }
    reply(encode(answer));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes) override {
    const std::lock_guard lock(mutex_);
    if (!has_files_) return fail(Code::kNotFound, "this hub holds no such file");
    return ChunkSource([sent = false]() mutable -> Result<std::optional<Bytes>> {
      if (std::exchange(sent, true)) return std::optional<Bytes>();
      return std::optional<Bytes>(small_model());
    });
  }
  Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity&, Bytes) override {
    return fail(Code::kInvalid, "no uploads here");
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Bytes> ledger_;
  bool has_files_ = false;
};

class ModelKeeperTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = (fs::temp_directory_path() / "tidelock-keeper-XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    home_ = path;
    const auto now = static_cast<std::int64_t>(wall_ms_now() / 1000);
    const Validity validity{now - 3600, now + 3600};
    const auto ca = make_ca("test", validity);
    ASSERT_TRUE(ca);
    const auto files_of = [&](const PeerIdentity& who) {
      const auto pair = issue_certificate(*ca, who, {{"localhost"}, {"127.0.0.1"}}, validity);
      const std::string stem = home_ + "/" + who.id;
      EXPECT_TRUE(pair && files::replace(home_ + "/ca.pem", ca->certificate_pem) &&
                  files::replace(stem + ".pem", pair->certificate_pem) && files::replace(stem + ".key", pair->key_pem));
      return TlsFiles{home_ + "/ca.pem", stem + ".pem", stem + ".key"};
    };
    NodeServerOptions options;
    options.tls = files_of({NodeRole::kHub, "hub-1"});
    auto server = NodeServer::start(options, hub_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    config_.id = "edge-1";
    config_.data_dir = home_ + "/data";
    config_.tls = files_of({NodeRole::kEdge, "edge-1"});
    config_.hubs = {{"hub-1", server_->address()}};
    fs::create_directories(config_.data_dir);
    auto kv = Kv::open(home_ + "/db", {kMetaFamily});
    ASSERT_TRUE(kv) << kv.error().message;
    kv_ = std::move(*kv);
  }
  void TearDown() override {
    keeper_.reset();
    server_.reset();
    kv_.reset();
    fs::remove_all(home_);
  }
  void start() {
    ModelKeeper::Links links;
    links.read = [this](const std::string&, const std::function<void(ReadDone)>&) { change([&] { ++reads_; }); };
    links.report = [this](EdgeStagedModel report) { change([&] { reports_.push_back(std::move(report)); }); };
    auto keeper = ModelKeeper::open(config_, *kv_, clock_, metrics_, links);
    ASSERT_TRUE(keeper) << keeper.error().message;
    keeper_ = std::move(*keeper);
    if (opened_) opened_();
    keeper_->start();
  }
  void change(const std::function<void()>& what) {
    const std::lock_guard lock(mutex_);
    what();
    changed_.notify_all();
  }
  bool wait(const std::function<bool()>& until) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kHang, until);
  }
  std::string room(const std::string& version) const { return config_.data_dir + "/models/room/detector/" + version; }

  std::string home_;
  EdgeConfig config_;
  OddHub hub_;
  ElapsedClock clock_;
  Metrics metrics_;
  std::unique_ptr<NodeServer> server_;
  std::unique_ptr<Kv> kv_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<EdgeStagedModel> reports_;
  int reads_ = 0;
  std::function<void()> opened_;  // between what a keeper opens and its first look at it
  std::unique_ptr<ModelKeeper> keeper_;
};

TEST_F(ModelKeeperTest, ReportsWhyAVersionIsNotStagedAndKeepsNoneOfIt) {  // M4
  const Bytes first = published("1.0.0"), second = published("2.0.0");
  struct Case {
    const char* why;
    std::string version;  // each its own, so that each is a cause of its own
    Bytes held;           // by the ledger under that version; empty: nothing
    Bytes named;          // by the pointer
    std::string says;
  };
  const Case cases[] = {
      {"the ledger holds another manifest", "3.0.0", first, second,
       "the manifest of detector 3.0.0 is not the one the pointer names"},
      {"the ledger holds none", "4.0.0", "", second, "the ledger has no manifest of detector 4.0.0"},
      {"the manifest is that of another version", "5.0.0", first, first,
       "the manifest under detector 5.0.0 speaks of detector 1.0.0"},
      {"no hub has the file", "2.0.0", second, second, "this hub holds no such file"},
  };
  start();
  keeper_->on_session("hub-1", key().public_pem);
  std::uint64_t index = 0;
  for (const Case& c : cases) {
    if (!c.held.empty()) hub_.hold(model_version_key("detector", c.version), c.held);
    keeper_->on_strong_changed(model_staged_key("detector"), encode(ModelPointer{c.version, sha256(c.named), ""}),
                               Index{++index});
    ASSERT_TRUE(wait([&] { return reports_.size() >= index; })) << c.why;
    EXPECT_EQ(reports_.back().model.name, "detector") << c.why;
    EXPECT_EQ(reports_.back().model.version, c.version) << c.why;
    EXPECT_NE(reports_.back().error.find(c.says), std::string::npos) << c.why << ": " << reports_.back().error;
    EXPECT_FALSE(fs::exists(room(c.version))) << c.why;
  }
  hub_.have_files();
  keeper_->on_session("hub-1", key().public_pem);  // what failed is tried again in each session
  ASSERT_TRUE(wait([&] { return reports_.size() > index; }));
  EXPECT_EQ(reports_.back().model.version, "2.0.0");
  EXPECT_EQ(reports_.back().error, "") << "the pointer, the manifest and the file were right all the time";
  EXPECT_TRUE(fs::exists(room("2.0.0") + "/" + kVerifiedMark));
}

TEST_F(ModelKeeperTest, StagesOnlyWhatTheTrustFilesAllow) {  // X2, X3
  Publisher p;
  const std::uint64_t now = wall_ms_now();
  for (TrustHead* head : {&p.root.head, &p.camera.head, &p.snapshot.head, &p.timestamp.head}) {
    head->made_ms = now - kTrustDayMs;
    head->expires_ms = now + kTrustDayMs;
  }
  p.root.namespaces = {{"detector", trust_keys({p.camera_key}, 1)}};
  p.camera.pattern = "detector";
  const auto hold = [&](std::vector<std::string> versions) {  // the whole catalogue, one version later
    p.camera.releases.clear();
    for (const std::string& version : versions) {
      p.camera.releases.push_back(Publisher::release("detector", version, published(version)));
    }
    for (TrustHead* head : {&p.camera.head, &p.snapshot.head, &p.timestamp.head}) ++head->version;
    const SignedTrust list = sign_trust(p.camera, {p.camera_key});
    p.snapshot.targets = {{"detector", *trust_file_ref(list)}};
    const TrustSet set = p.with_snapshot(sign_trust(p.snapshot, {p.snapshot_key}), {encode(list)});
    Trust trust = *Trust::anchor(p.signed_root());
    EXPECT_TRUE(accept(trust, set));
    hub_.hold(kTrustStateKey, trust.save());
    keeper_->on_strong_changed(kTrustStateKey, std::nullopt, Index{1});
  };
  hub_.have_files();
  for (const char* version : {"1.0.0", "2.0.0"}) hub_.hold(model_version_key("detector", version), published(version));
  const auto stage = [&](const std::string& version, std::uint64_t index) {
    keeper_->on_strong_changed(model_staged_key("detector"),
                               encode(ModelPointer{version, sha256(published(version)), ""}), Index{index});
  };
  const auto said = [&](std::size_t count, const std::string& version, const std::string& part) {
    ASSERT_TRUE(wait([&] { return reports_.size() >= count; })) << part;
    EXPECT_EQ(reports_.back().model.version, version);
    if (part.empty())
      EXPECT_EQ(reports_.back().error, "");
    else
      EXPECT_NE(reports_.back().error.find(part), std::string::npos) << reports_.back().error;
  };
  start();
  hold({"1.0.0"});
  keeper_->on_session("hub-1", key().public_pem);
  stage("2.0.0", 1);
  said(1, "2.0.0", "withdrawn or never signed (arbitrary install)");
  EXPECT_FALSE(fs::exists(room("2.0.0"))) << "not a byte of it was fetched";
  stage("1.0.0", 2);
  said(2, "1.0.0", "");
  stage("2.0.0", 3);
  hold({"1.0.0", "2.0.0"});  // now it is allowed, and the keeper tries again by itself
  ASSERT_TRUE(wait(
      [&] { return !reports_.empty() && reports_.back().model.version == "2.0.0" && reports_.back().error.empty(); }));
  const std::size_t before = reports_.size();
  hold({"1.0.0"});  // and withdrawn: nobody loads it any more
  said(before + 1, "2.0.0", "withdrawn or never signed");
  EXPECT_FALSE(fs::exists(room("2.0.0") + "/" + kVerifiedMark));
  keeper_.reset();
  p.timestamp.head.expires_ms = now - 1;  // frozen: what is new may be an old one
  p.timestamp.head.made_ms = now - 2;
  start();
  hold({"1.0.0", "2.0.0"});
  keeper_->on_session("hub-1", key().public_pem);
  stage("2.0.0", 4);
  ASSERT_TRUE(wait([&] { return reports_.back().error.find("(freeze)") != std::string::npos; }));
  // And whoever uses what is in force can tell.
  const std::string flag = config_.data_dir + "/models/room/" + kExpiredFlag;
  EXPECT_TRUE(fs::exists(flag));
  EXPECT_NE(keeper_->json().find("\"trust\":\"expired\""), std::string::npos) << keeper_->json();
  EXPECT_NE(metrics_.expose().find("tidelock_edge_model_trust_expired 1"), std::string::npos);
  p.timestamp.head.made_ms = now;
  p.timestamp.head.expires_ms = now + kTrustDayMs;
  hold({"1.0.0", "2.0.0"});
  ASSERT_TRUE(wait([&] { return reports_.back().model.version == "2.0.0" && reports_.back().error.empty(); }));
  EXPECT_FALSE(fs::exists(flag));
}

class ModelCareTest : public ModelKeeperTest {
 protected:
  // Versions that differ in their manifests only: one file.
  void bring(const std::string& version, const std::string& previous = {}) {
    hub_.have_files();
    hub_.hold(model_version_key("detector", version), published(version));
    keeper_->on_session("hub-1", key().public_pem);
    keeper_->on_strong_changed(model_current_key("detector"),
                               encode(ModelPointer{version, sha256(published(version)), previous}), Index{++index_});
    ASSERT_TRUE(wait([&] { return said(version, ""); })) << version;
  }
  bool said(const std::string& version, const std::string& error) const {  // last, of that version
    for (auto it = reports_.rbegin(); it != reports_.rend(); ++it) {
      if (it->model.version == version)
        return error.empty() ? it->error.empty() : it->error.find(error) != std::string::npos;
    }
    return false;
  }
  void flip_a_bit(const std::string& version) {
    const std::string path = room(version) + "/model.onnx";
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    char byte = 0;
    file.seekg(7).get(byte);
    file.seekp(7).put(static_cast<char>(byte ^ 1));
    ASSERT_TRUE(file.good());
  }
  std::string care(StoreWork work, bool dry_run = false) {
    const auto begun = keeper_->care().start(work, dry_run);
    EXPECT_TRUE(begun) << begun.error().message;
    return keeper_->care().wait(20'000) ? keeper_->care().json() : "hangs";
  }
  Bytes model_in(const std::string& version) const { return *files::read_all(room(version) + "/model.onnx", 1 << 20); }
  void expect(const std::string& json, const std::string& part) {
    EXPECT_NE(json.find(part), std::string::npos) << part << " in " << json;
  }

  std::uint64_t index_ = 0;
};

TEST_F(ModelCareTest, AFileThatGoesBadInUseIsFoundAndFetchedAgain) {  // X3
  config_.models.rehash_bytes_per_s = 1u << 30;
  start();
  bring("1.0.0");
  change([&] { reports_.clear(); });
  flip_a_bit("1.0.0");
  ASSERT_TRUE(wait([&] { return reports_.size() >= 2; }));
  EXPECT_EQ(reports_[0].model.version, "1.0.0");
  EXPECT_EQ(reports_[0].error, "model.onnx was damaged on disk; it is fetched again");
  EXPECT_EQ(reports_[1].error, "") << "and is verified again";
  EXPECT_EQ(model_in("1.0.0"), small_model());
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  EXPECT_TRUE(fs::exists(config_.data_dir + "/models/blobs/quarantine/" + to_hex(sha256(small_model()))));
  const std::string metrics = metrics_.expose();
  EXPECT_NE(metrics.find("tidelock_edge_model_files_damaged_total 1"), std::string::npos) << metrics;
}

TEST_F(ModelCareTest, WhileItCannotBeFetchedNobodyLoadsIt) {  // X3, M4
  config_.models.rehash_bytes_per_s = 1u << 30;
  start();
  bring("1.0.0");
  hub_.have_files(false);
  flip_a_bit("1.0.0");
  ASSERT_TRUE(wait([&] { return said("1.0.0", "this hub holds no such file"); }));
  EXPECT_FALSE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  expect(keeper_->json(), "\"verified\":[],\"damaged\":[\"1.0.0\"]");
  EXPECT_FALSE(keeper_->figures().at(0).in_force) << "a rollout's gate sees it";
  hub_.have_files();
  keeper_->on_session("hub-1", key().public_pem);
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  expect(care(StoreWork::kVerify), "\"sound\":true");  // its turn on the keeper's thread comes after what is shown
  expect(keeper_->json(), "\"verified\":[\"1.0.0\"],\"damaged\":[]");
}

TEST_F(ModelCareTest, ARepairBringsBackWhatNoPointerNamesToo) {  // X3, M8
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  bring("2.0.0", "1.0.0");
  expect(care(StoreWork::kVerify), "\"releases\":2,\"repaired\":0,\"sound\":true,\"ok\":2,");
  flip_a_bit("1.0.0");  // one file with that of 2.0.0
  expect(care(StoreWork::kVerify), "\"sound\":false,\"ok\":0,\"missing\":0,\"corrupt\":2,");
  hub_.have_files(false);
  const std::string not_yet = care(StoreWork::kRepair);
  expect(not_yet, "\"repaired\":0,\"sound\":false,\"ok\":0,\"missing\":2,\"corrupt\":0,");
  expect(not_yet, "this hub holds no such file");
  hub_.have_files();
  const std::string done = care(StoreWork::kRepair);
  expect(done, "\"repaired\":2,\"sound\":true,\"ok\":2,");
  ASSERT_TRUE(wait([&] { return said("1.0.0", "") && said("2.0.0", ""); }));
  for (const char* version : {"1.0.0", "2.0.0"}) {
    EXPECT_EQ(model_in(version), small_model()) << version;
    EXPECT_TRUE(fs::exists(room(version) + "/" + kVerifiedMark)) << version;
  }
}

TEST_F(ModelCareTest, WhatWentBadWhileNobodyLookedComesBackAfterTheNextStart) {  // X3, M8
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  bring("2.0.0", "1.0.0");
  keeper_.reset();
  flip_a_bit("1.0.0");  // one file with that of 2.0.0
  change([&] { reports_.clear(); });
  start();
  ASSERT_TRUE(wait([&] { return said("1.0.0", "it is fetched again: ") && said("2.0.0", "it is fetched again: "); }));
  for (const char* version : {"1.0.0", "2.0.0"}) {
    EXPECT_FALSE(fs::exists(room(version) + "/" + kVerifiedMark)) << version;
    EXPECT_TRUE(fs::exists(room(version) + "/tidelock.manifest")) << version << ": it knows what it needs";
  }
  // No pointer has come yet, and none ever names 1.0.0: its own manifest does.
  keeper_->on_session("hub-1", key().public_pem);
  ASSERT_TRUE(wait([&] { return said("1.0.0", "") && said("2.0.0", ""); }));
  for (const char* version : {"1.0.0", "2.0.0"}) EXPECT_EQ(model_in(version), small_model()) << version;
}

// A disk that does not answer, or not to us: what is there may be all right, so it stays, and is not used meanwhile.
TEST_F(ModelCareTest, WhatCannotBeReadAtTheStartIsLeftAndToldAndNotUsed) {  // X3, M8
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  keeper_.reset();
  hub_.have_files(false);  // nothing is fetched in what follows
  const std::string blob = config_.data_dir + "/models/blobs/blobs/" + to_hex(sha256(small_model())).substr(0, 2) +
                           "/" + to_hex(sha256(small_model()));
  struct Case {
    const char* why;
    std::string path, target;  // of the link that takes its place
  };
  const std::string away = home_ + "/away", linked = room("1.0.0") + "/model.onnx";
  const Case cases[] = {{"its manifest", room("1.0.0") + "/tidelock.manifest", away},
                        {"a file, for the store", blob, away},
                        {"a file, for the engine, which follows links", linked, linked}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    change([&] { reports_.clear(); });
    opened_ = [&] {  // a link is what no reader of ours opens, whoever it runs as
      fs::rename(c.path, away);
      fs::create_symlink(c.target, c.path);
    };
    start();
    ASSERT_TRUE(wait([&] { return said("1.0.0", "it is not used until it can be read: "); }));
    EXPECT_FALSE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
    EXPECT_TRUE(fs::is_symlink(c.path)) << "it is where it was";
    EXPECT_TRUE(fs::exists(room("1.0.0") + "/tidelock.manifest"));
    EXPECT_TRUE(fs::is_empty(config_.data_dir + "/models/blobs/quarantine"));
    keeper_.reset();
    fs::rename(away, c.path);
    opened_ = {};
    start();
    ASSERT_TRUE(wait([&] { return said("1.0.0", ""); })) << "it was all right, and needs no hub";
    EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
    keeper_.reset();
  }
}

// Nor does it get its mark back for what was not read: not even by a pointer that names it.
TEST_F(ModelCareTest, AVersionWithAFileThatWasNotReadIsNotVerified) {  // X3, M4
  config_.models.rehash_bytes_per_s = 0;
  Manifest manifest = manifest_of("1.0.0");
  const Bytes labels = "labels";
  manifest.files.push_back({"labels.txt", FileRole::kOther, labels.size(), sha256(labels)});
  const Bytes release = encode(*sign_manifest(manifest, key().private_pem));
  {
    const auto blobs = BlobStore::open(config_.data_dir + "/models/blobs");
    const auto layout = ModelLayout::open(config_.data_dir + "/models/room");
    ASSERT_TRUE(blobs && layout && (*blobs)->put(small_model()) && (*blobs)->put(labels));
    ASSERT_TRUE((*layout)->place(release, manifest, **blobs));
  }
  KvBatch batch;
  batch.put(kMetaFamily, "model_key", key().public_pem);
  ASSERT_TRUE(kv_->commit(batch, Sync::kNone));
  hub_.hold(model_version_key("detector", "1.0.0"), release);
  const std::string hex = to_hex(sha256(labels)),
                    blob = config_.data_dir + "/models/blobs/blobs/" + hex.substr(0, 2) + "/" + hex;
  opened_ = [&] {
    fs::rename(blob, home_ + "/away");
    fs::create_symlink(home_ + "/away", blob);
  };
  start();
  const auto session = [&] {
    keeper_->on_session("hub-1", key().public_pem);
    keeper_->on_strong_changed(model_current_key("detector"), encode(ModelPointer{"1.0.0", sha256(release), ""}),
                               Index{++index_});
  };
  session();
  ASSERT_TRUE(wait([&] { return said("1.0.0", "it is not used until it can be read: "); }));
  expect(care(StoreWork::kVerify), "\"unread\":1,");  // its turn comes after the pointer's
  expect(care(StoreWork::kVerify), "\"unread\":1,");
  EXPECT_FALSE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  fs::rename(home_ + "/away", blob);
  session();
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); })) << "and no hub had to give it";
}

TEST_F(ModelCareTest, ADamagedManifestIsBroughtBackByItsPointer) {  // X3
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  ASSERT_TRUE(files::replace(room("1.0.0") + "/tidelock.manifest", "torn"));
  expect(care(StoreWork::kVerify), "\"corrupt\":1,\"unread\":0,\"unreferenced\":1,");
  expect(care(StoreWork::kCollect, true), "which files it needs is not known: repair it first");
  expect(care(StoreWork::kRepair), "\"repaired\":1,\"sound\":true,");
  EXPECT_EQ(*files::read_all(room("1.0.0") + "/tidelock.manifest", 1 << 20), published("1.0.0"));
}

TEST_F(ModelCareTest, CollectsStraysAndNothingThatIsInUse) {  // M8
  {
    const auto blobs = BlobStore::open(config_.data_dir + "/models/blobs");
    ASSERT_TRUE(blobs && (*blobs)->put("a stray"));
    ASSERT_TRUE((*(*blobs)->put_stream(sha256("given up"), 100))->write("half"));
  }
  start();
  bring("1.0.0");
  expect(care(StoreWork::kCollect, true), "\"garbage\":2,\"garbage_bytes\":11,");
  expect(care(StoreWork::kCollect), "\"garbage\":2,");
  expect(care(StoreWork::kCollect), "\"garbage\":0,");
  expect(care(StoreWork::kVerify), "\"sound\":true,\"ok\":1,");
}

TEST_F(ModelCareTest, WithoutASessionThereIsNoKeyToCheckWith) {
  start();
  expect(care(StoreWork::kVerify), "\"error\":{\"code\":\"unavailable\",\"message\":\"this edge has had no session");
}

TEST_F(ModelCareTest, AFullFlashQuotaIsSaidAndTheLastVerifiedVersionStays) {  // M8
  config_.models.quota_bytes = small_model().size() * 2 + 10;
  start();
  bring("1.0.0");
  Manifest larger = manifest_of("2.0.0");
  larger.files.push_back({"weights.bin", FileRole::kOther, small_model().size(), sha256("never here")});
  const Bytes signed_larger = encode(*sign_manifest(larger, key().private_pem));
  hub_.hold(model_version_key("detector", "2.0.0"), signed_larger);
  keeper_->on_strong_changed(model_current_key("detector"),
                             encode(ModelPointer{"2.0.0", sha256(signed_larger), "1.0.0"}), Index{++index_});
  ASSERT_TRUE(wait([&] { return said("2.0.0", "models.quota_mib = 0: detector 2.0.0 needs"); }));
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark)) << "in force no more, and the last that was verified";
  expect(care(StoreWork::kVerify), "\"sound\":true,\"ok\":1,");
}

TEST_F(ModelKeeperTest, ARecalledVersionIsNothingHereAnyMore) {  // M7, M8
  hub_.have_files();
  for (const char* version : {"2.0.0", "3.0.0"}) hub_.hold(model_version_key("detector", version), published(version));
  std::uint64_t index = 0;
  const auto names = [&](const std::string& pointer_key, const std::string& version) {
    ModelPointer pointer{version, sha256(published(version)), ""};
    keeper_->on_strong_changed(
        pointer_key, pointer_key == model_ring_key("detector") ? encode(RingPointer{pointer, {}}) : encode(pointer),
        Index{++index});
  };
  const auto has_done_all = [&] {  // what was asked of it so far: a round of work lies between two reads
    for (int round = 0; round < 2; ++round) {
      int before = 0;
      change([&] { before = reads_; });
      keeper_->on_strong_changed(model_staged_key("detector"), std::nullopt, Index{1});
      ASSERT_TRUE(wait([&] { return reads_ > before; }));
    }
  };
  const auto verified = [&](const std::string& version) {
    return std::count_if(reports_.begin(), reports_.end(),
                         [&](const EdgeStagedModel& one) { return one.model.version == version && one.error.empty(); });
  };
  start();
  keeper_->on_session("hub-1", key().public_pem);
  names(model_current_key("detector"), "2.0.0");
  ASSERT_TRUE(wait([&] { return verified("2.0.0") == 1; }));
  keeper_->on_recalled({{"detector", "2.0.0"}});
  ASSERT_TRUE(wait([&] { return reports_.back().error == "it was recalled"; }));
  EXPECT_FALSE(fs::exists(room("2.0.0") + "/" + kVerifiedMark)) << "although a pointer names it still";
  EXPECT_EQ(*files::read_all(config_.data_dir + "/models/room/detector/" + kRecalledList, 100), "2.0.0\n");
  names(model_staged_key("detector"), "2.0.0");
  ASSERT_NO_FATAL_FAILURE(has_done_all());
  EXPECT_TRUE(fs::exists(room("2.0.0")));
  names(model_staged_key("detector"), "3.0.0");
  names(model_current_key("detector"), "3.0.0");
  names(model_ring_key("detector"), "3.0.0");
  ASSERT_TRUE(wait([&] { return verified("3.0.0") == 1; }));
  ASSERT_NO_FATAL_FAILURE(has_done_all());
  EXPECT_FALSE(fs::exists(room("2.0.0"))) << "no pointer names it";
  EXPECT_TRUE(fs::exists(room("3.0.0") + "/" + kVerifiedMark));

  keeper_.reset();
  reports_.clear();
  start();  // and no hub has told it again
  names(model_staged_key("detector"), "2.0.0");
  ASSERT_TRUE(wait([&] { return verified("3.0.0") == 1; }));
  ASSERT_NO_FATAL_FAILURE(has_done_all());
  EXPECT_EQ(verified("2.0.0"), 0);
  EXPECT_FALSE(fs::exists(room("2.0.0")));
}

TEST_F(ModelKeeperTest, RemovesAPlacedVersionThatHoldsTheManifestOfAnother) {  // M4
  {
    const auto blobs = BlobStore::open(config_.data_dir + "/models/blobs");
    const auto layout = ModelLayout::open(config_.data_dir + "/models/room");
    ASSERT_TRUE(blobs && layout && (*blobs)->put(small_model()));
    ASSERT_TRUE((*layout)->place(published("1.0.0"), manifest_of("1.0.0"), **blobs));
  }
  fs::copy(room("1.0.0"), room("2.0.0"));  // its signature holds, its files are whole: but it is not 2.0.0
  KvBatch batch;
  batch.put(kMetaFamily, "model_key", key().public_pem);  // of a session before
  ASSERT_TRUE(kv_->commit(batch, Sync::kNone));
  const std::string log_file = home_ + "/log";
  const int log_fd = ::open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  set_log_options({.format = LogFormat::kJson, .node = "edge-1", .fd = log_fd});
  start();
  // What is placed is looked at first, then what came.
  keeper_->on_strong_changed(model_staged_key("detector"), std::nullopt, Index{1});
  const bool looked = wait([&] { return reads_ > 0; });
  keeper_.reset();
  set_log_options({});
  ::close(log_fd);
  ASSERT_TRUE(looked);
  EXPECT_FALSE(fs::exists(room("2.0.0")));
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].model.version, "1.0.0");
  std::ifstream in(log_file);
  const std::string log(std::istreambuf_iterator<char>(in), {});
  EXPECT_NE(log.find(room("2.0.0") + " holds the manifest of another version"), std::string::npos) << log;
}

}  // namespace
}  // namespace tidelock
