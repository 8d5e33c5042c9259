// For tests: the keeper against a hub that says what a sound one does not, and what an operator has it do.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
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
#include "edge/model_keeper.h"
#include "infer/onnx_file.h"
#include "protocol/recalled_list.h"
#include "protocol/trust_push.h"
#include "store/models/files.h"
#include "store/models/store_care.h"
#include "telemetry/log.h"

namespace tidelock {

namespace fs = std::filesystem;
inline constexpr auto kHang = std::chrono::seconds(20);  // only turns a hang into a failure

inline const SigningKey& key() {
  static const SigningKey made = *make_signing_key();
  return made;
}
inline Bytes small_model(const char* name = "small") {
  OnnxBuilder b;
  const std::int64_t shape[] = {1, 2};
  b.input("x", shape);
  b.output("y", shape);
  b.node("Relu", {"x"}, {"y"});
  return b.finish(name);
}
inline Manifest manifest_of(const std::string& version, const Bytes& model = small_model()) {
  Manifest manifest;
  manifest.name = "detector";
  manifest.version = version;
  manifest.files = {{"model.onnx", FileRole::kModel, model.size(), sha256(model)}};
  return manifest;
}
inline Bytes published(const std::string& version, const Bytes& model = small_model()) {
  return encode(*sign_manifest(manifest_of(version, model), key().private_pem));
}

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
  void have_file(Bytes bytes) {
    const std::lock_guard lock(mutex_);
    files_[sha256(bytes)] = std::move(bytes);
  }
  // From now on a download stops in the middle, until it is let go.
  void stop_halfway() {
    const std::lock_guard lock(mutex_);
    halfway_ = true;
  }
  bool wait_halfway() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kHang, [this] { return at_half_; });
  }
  void let_go() {
    const std::lock_guard lock(mutex_);
    halfway_ = false;
    changed_.notify_all();
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
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes request) override {
    const auto wanted = decode<BlobDownload>(request, "download");
    const std::lock_guard lock(mutex_);
    const auto found = files_.find(wanted ? wanted->sha256 : Bytes());
    if (!wanted || (found == files_.end() && !has_files_)) return fail(Code::kNotFound, "this hub holds no such file");
    const Bytes file = found == files_.end() ? small_model() : found->second;
    return ChunkSource([this, file, at = wanted->offset]() mutable -> Result<std::optional<Bytes>> {
      std::unique_lock halfway(mutex_);
      if (at >= file.size() / 2 && at < file.size() && halfway_) {
        at_half_ = true;
        changed_.notify_all();
        (void)changed_.wait_for(halfway, kHang, [this] { return !halfway_; });
      }
      if (at >= file.size()) return std::optional<Bytes>();
      const Bytes chunk = file.substr(at, halfway_ ? file.size() / 2 : file.size());
      at += chunk.size();
      return std::optional<Bytes>(chunk);
    });
  }
  Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity&, Bytes) override {
    return fail(Code::kInvalid, "no uploads here");
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Bytes> ledger_;
  std::map<Bytes, Bytes> files_;
  std::condition_variable changed_;
  bool has_files_ = false, halfway_ = false, at_half_ = false;
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
  // Of trust files for this model that are fresh at `now`, and allow nothing yet.
  static Publisher publisher(std::uint64_t now) {
    Publisher p;
    for (TrustHead* head : {&p.root.head, &p.camera.head, &p.snapshot.head, &p.timestamp.head}) {
      head->made_ms = now - kTrustDayMs;
      head->expires_ms = now + kTrustDayMs;
    }
    p.root.namespaces = {{"detector", trust_keys({p.camera_key}, 1)}};
    p.camera.pattern = "detector";
    return p;
  }
  // The whole catalogue, one version later.
  void allow(Publisher& p, const std::vector<std::string>& versions) {
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
  // The real one, which a test may put forward.
  struct ClockAhead : Clock {
    Nanos now() const override { return real.now() + ahead.load(); }
    ElapsedClock real;
    std::atomic<Nanos> ahead{0};
  } clock_;
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

}  // namespace tidelock
