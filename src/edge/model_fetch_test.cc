// M3 at one gateway: from whom a file comes, what that costs, and what a hub or a neighbour that is busy, lies or goes
// away does to it. Real connections on loopback; the hub and the neighbour say what the test wants.
#include "edge/model_fetch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/noise_fixture.h"
#include "base/wall_clock.h"
#include "codec/archive.h"
#include "codec/certificate.h"
#include "codec/delta.h"
#include "codec/signature.h"
#include "edge/l2_store.h"
#include "protocol/fetch_window.h"
#include "store/models/files.h"

namespace tidelock {
namespace {

// Serves fetches of what it has, and counts the bytes; a hub, or a neighbour.
class Node : public NodeService {
 public:
  void have(const Bytes& bytes) { have_as(sha256(bytes), bytes); }
  void have_as(const Bytes& digest, const Bytes& bytes) {  // other bytes than it says
    const std::lock_guard lock(mutex_);
    files_[digest] = bytes;
  }
  void site(std::vector<SiteMember> members) {
    const std::lock_guard lock(mutex_);
    site_.members = std::move(members);
  }
  void have_delta(const Bytes& base, const Bytes& target) {
    const DeltaSource bases[] = {{base, {}}};
    const std::lock_guard lock(mutex_);
    deltas_[sha256(target)] = make_delta(bases, {target, {}}).value().bytes;
  }
  void say_corrupt(bool is) { corrupt_ = is; }  // of its own disk, in the middle of a file
  void say_busy(bool is) { busy_ = is; }
  std::uint64_t sent_bytes() const { return sent_bytes_; }
  int asked() const { return asked_; }
  SiteCall said() const {
    const std::lock_guard lock(mutex_);
    return said_;
  }

  void on_session_open(SessionPtr) override {}
  void on_session_frame(SessionId, Bytes) override {}
  void on_session_closed(SessionId, const std::string&) override {}
  void on_raft_frame(const NodeId&, Bytes) override {}
  void on_refused(const std::string&, const std::string&) override {}
  void on_call(const PeerIdentity&, Bytes request, Reply reply) override {
    const std::lock_guard lock(mutex_);
    if (const auto call = decode<NodeCall>(request, "call"); call && std::holds_alternative<SiteCall>(call->body)) {
      said_ = std::get<SiteCall>(call->body);
      AdminAnswer answer;
      answer.value = encode(site_);
      return reply(encode(answer));
    }
    const auto ask = decode<SiteAsk>(request, "question");
    if (!ask) return reply(fail(ask.error()));
    ++asked_;
    reply(encode(SiteTell{files_.contains(ask->sha256) ? SiteState::kHas : SiteState::kNothing, 0}));
  }
  Result<ChunkSource> on_download(const PeerIdentity&, Bytes) override { return fail(Code::kInvalid, "no downloads"); }
  Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity&, Bytes) override {
    return fail(Code::kInvalid, "no uploads");
  }
  Result<std::unique_ptr<FetchSource>> on_fetch(const PeerIdentity&, Bytes first, std::function<void()>) override {
    if (busy_) return fail(Error{Code::kBusy, "this hub serves 64 transfers already", {}, 10 * kSecond});
    const auto request = decode<FetchRequest>(first, "fetch");
    if (!request) return fail(request.error());
    const auto* delta = std::get_if<FetchDelta>(&request->what);
    const std::lock_guard lock(mutex_);
    const std::map<Bytes, Bytes>& files = delta != nullptr ? deltas_ : files_;
    const auto found = files.find(delta != nullptr ? delta->target : std::get<FetchBlob>(request->what).sha256);
    if (found == files.end()) return fail(Code::kNotFound, "no such file");
    const Bytes digest = delta != nullptr ? sha256(found->second) : found->first;
    auto window = FetchWindow::open(digest, found->second.size(), request->more);
    if (!window) return fail(window.error());
    return std::make_unique<Source>(*this, found->second, std::move(*window));
  }

 private:
  class Source : public FetchSource {
   public:
    Source(Node& node, Bytes file, FetchWindow window)
        : node_(node), file_(std::move(file)), window_(std::move(window)) {}
    Result<void> take(Bytes said) override { return window_.take(said); }
    Result<std::optional<Bytes>> next() override {
      if (node_.corrupt_ && head_seen_) return fail(Code::kCorrupt, "read blob: Input/output error");
      auto frame = window_.next(
          [this](std::uint64_t offset, std::size_t bytes) -> Result<Bytes> { return file_.substr(offset, bytes); });
      if (frame && *frame && std::exchange(head_seen_, true)) node_.sent_bytes_ += (*frame)->size();
      return frame;
    }

   private:
    Node& node_;
    const Bytes file_;
    FetchWindow window_;
    bool head_seen_ = false;
  };
  mutable std::mutex mutex_;
  std::map<Bytes, Bytes> files_, deltas_;  // by the digest of what they are, or make
  SiteView site_;
  SiteCall said_;
  std::atomic<bool> busy_{false}, corrupt_{false};
  std::atomic<std::uint64_t> sent_bytes_{0};
  std::atomic<int> asked_{0};
};

class ModelFetchTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = (std::filesystem::temp_directory_path() / "tidelock-fetch-XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    home_ = path;
    ca_ = make_ca("test", validity()).value();
    hub_server_ = serve(hub_, {NodeRole::kHub, "hub-1"});
    neighbour_server_ = serve(neighbour_, {NodeRole::kEdge, "edge-2"});
    config_.id = "edge-1";
    config_.data_dir = home_ + "/data";
    config_.tls = papers({NodeRole::kEdge, "edge-1"});
    config_.hubs = {{"hub-1", hub_server_->address()}};
    kv_ = Kv::open(home_ + "/db", {kMetaFamily}).value();
    blobs_ = BlobStore::open(home_ + "/blobs").value();
  }
  void TearDown() override {
    fetch_.reset();
    hub_server_.reset();
    neighbour_server_.reset();
    blobs_.reset();
    kv_.reset();
    std::filesystem::remove_all(home_);
  }
  static Validity validity() {
    const auto now = static_cast<std::int64_t>(wall_ms_now() / 1000);
    return {now - 3'600, now + 3'600};
  }
  TlsFiles papers(const PeerIdentity& who) {
    const auto pair = issue_certificate(ca_, who, {{"localhost"}, {"127.0.0.1"}}, validity());
    const std::string stem = home_ + "/" + who.id;
    EXPECT_TRUE(pair && files::replace(home_ + "/ca.pem", ca_.certificate_pem) &&
                files::replace(stem + ".pem", pair->certificate_pem) && files::replace(stem + ".key", pair->key_pem));
    return {home_ + "/ca.pem", stem + ".pem", stem + ".key"};
  }
  std::unique_ptr<NodeServer> serve(Node& node, const PeerIdentity& who) {
    NodeServerOptions options;
    options.role = who.role;
    options.tls = papers(who);
    auto server = NodeServer::start(options, node);
    EXPECT_TRUE(server) << server.error().message;
    return std::move(*server);
  }
  // The hub names the neighbour, who serves, and this gateway, who does not.
  void with_neighbour() { hub_.site({{"edge-1", "", {}}, {"edge-2", neighbour_server_->address(), {}}}); }
  void start() {
    fetch_.reset();
    auto fetch = ModelFetch::open(config_, *kv_, clock_, metrics_, *blobs_,
                                  {.wake = [] {}, .doubt = [this](Bytes file) { doubted_.push_back(file); }});
    ASSERT_TRUE(fetch) << fetch.error().message;
    fetch_ = std::move(*fetch);
    fetch_->on_session();
    fetch_->tend("hub-1");
  }
  static ManifestFile file_of(const Bytes& bytes) {
    return {"weights.bin", FileRole::kOther, bytes.size(), sha256(bytes)};
  }
  Result<void> get(const Bytes& bytes, const std::vector<Bytes>& bases = {}) {
    fetch_->begin_version("detector", "1.0.0");
    return fetch_->fetch("hub-1", file_of(bytes), bases, [] { return true; });
  }
  // Until so many bytes of it have come; then something more urgent comes.
  Result<void> get_some(const Bytes& bytes, std::uint64_t some) {
    const std::uint64_t before = came("full");
    return fetch_->fetch("hub-1", file_of(bytes), {}, [&, before] { return came("full") - before < some; });
  }
  std::uint64_t came(const std::string& kind) {
    return metrics_.counter("tidelock_edge_transfer_bytes_total", "As the product says.", {{"kind", kind}}).value();
  }
  std::uint64_t count(const std::string& name) { return metrics_.counter(name, "As the product says.").value(); }
  std::uint64_t charged() {
    return static_cast<std::uint64_t>(
        metrics_.gauge("tidelock_edge_transfer_day_bytes", "As the product says.").value());
  }

  std::string home_;
  KeyPair ca_;
  Node hub_, neighbour_;
  EdgeConfig config_;
  ElapsedClock clock_;
  Metrics metrics_;
  std::unique_ptr<NodeServer> hub_server_, neighbour_server_;
  std::unique_ptr<Kv> kv_;
  std::unique_ptr<BlobStore> blobs_;
  std::vector<Bytes> doubted_;  // files that were told to be looked at
  std::unique_ptr<ModelFetch> fetch_;
};

const std::size_t kSize = 300'000;

TEST_F(ModelFetchTest, WhatANeighbourHasComesFromItAndCostsNothing) {
  const Bytes file = noise(1, kSize);
  hub_.have(file);
  neighbour_.have(file);
  with_neighbour();
  start();
  const auto got = get(file);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(blobs_->has(sha256(file)));
  EXPECT_EQ(neighbour_.sent_bytes(), kSize);
  EXPECT_EQ(hub_.sent_bytes(), 0u) << "not a byte crossed the wide-area link";
  EXPECT_EQ(charged(), 0u);
  EXPECT_EQ(came("neighbour"), kSize);
  // And the hub is told where it came from.
  fetch_->on_session();
  fetch_->tend("hub-1");
  EXPECT_EQ(hub_.said().bytes, (std::vector<ModelBytes>{{"detector", "1.0.0", "edge-2", kSize}}));
}

// Bases are read as they are needed: one that cannot be, or is another file by now, costs the saving and no more.
TEST_F(ModelFetchTest, AFileIsMadeOfOneThatIsHereUnlessThatCannotBeReadOrWentBad) {  // M3, X3
  struct Case {
    const char* why;
    std::function<void(const std::string& path)> harm;
    bool by_delta;
  };
  const Case cases[] = {
      {"it is as it came", [](const std::string&) {}, true},
      {"another byte",
       [](const std::string& path) {
         std::filesystem::permissions(path, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
         std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
         file.seekp(100).put('!');
       },
       false},
      {"cut short", [](const std::string& path) { std::filesystem::resize_file(path, kSize / 2); }, false},
      {"gone from the disk", [](const std::string& path) { std::filesystem::remove(path); }, false},
  };
  std::uint64_t seed = 10;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    const Bytes base = noise(++seed, kSize);
    Bytes target = base;
    target.replace(kSize / 3, 8, "an edit.");
    hub_.have(target);
    hub_.have_delta(base, target);
    ASSERT_TRUE(blobs_->put(base));
    c.harm(blobs_->path(sha256(base)).value());
    start();
    doubted_.clear();
    const std::uint64_t full = came("full"), delta = came("delta"),
                        fallbacks = count("tidelock_edge_delta_fallbacks_total");
    const auto got = get(target, {sha256(base)});
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(blobs_->read(sha256(target), 0, 2 * kSize).value(), target);
    EXPECT_GT(came("delta") - delta, 0u);
    EXPECT_LT(came("delta") - delta, 1'000u);
    EXPECT_EQ(came("full") - full, c.by_delta ? 0u : kSize);
    EXPECT_EQ(count("tidelock_edge_delta_fallbacks_total") - fallbacks, c.by_delta ? 0u : 1u) << "never in silence";
    EXPECT_EQ(doubted_, c.by_delta ? std::vector<Bytes>{} : std::vector<Bytes>{sha256(base)});
  }
}

TEST_F(ModelFetchTest, ANeighbourThatLiesCostsTimeOnly) {  // X1, M4
  const Bytes file = noise(1, kSize), other = noise(2, kSize);
  hub_.have(file);
  start();
  // Half of it came from the hub before there was a neighbour.
  ASSERT_EQ(get_some(file, kSize / 2).error().code, Code::kUnavailable);
  const std::uint64_t before = came("full");
  ASSERT_GE(before, kSize / 2);
  neighbour_.have_as(sha256(file), other);
  with_neighbour();
  fetch_->on_session();
  const auto got = get(file);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(blobs_->map(sha256(file)).value().bytes(), file) << "the right bytes";
  EXPECT_EQ(neighbour_.sent_bytes(), kSize) << "it was believed once";
  EXPECT_EQ(neighbour_.asked(), 1);
  EXPECT_EQ(came("full"), kSize) << "what came from the hub before is not lost by it";
  EXPECT_EQ(count("tidelock_edge_site_lies_total"), 1u);
  EXPECT_EQ(count("tidelock_edge_site_fallbacks_total"), 1u) << "never in silence";
  EXPECT_FALSE(blobs_->has(sha256(other)));
}

TEST_F(ModelFetchTest, ANeighbourWhoseDiskFailsIsNoLiar) {  // X1
  const Bytes file = noise(1, kSize);
  hub_.have(file);
  neighbour_.have(file);
  neighbour_.say_corrupt(true);  // as builds before this one did
  with_neighbour();
  start();
  const auto got = get(file);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(came("full"), kSize);
  EXPECT_EQ(count("tidelock_edge_site_lies_total"), 0u);
  EXPECT_EQ(count("tidelock_edge_site_fallbacks_total"), 1u);
}

TEST_F(ModelFetchTest, ANeighbourThatIsGoneHoldsUpNothing) {
  const Bytes file = noise(1, kSize);
  hub_.have(file);
  with_neighbour();
  neighbour_server_->stop();
  start();
  const auto got = get(file);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(came("full"), kSize);
}

TEST_F(ModelFetchTest, NeighboursAreNotAskedWhereTheConfigurationSaysSo) {
  const Bytes file = noise(1, kSize);
  hub_.have(file);
  neighbour_.have(file);
  with_neighbour();
  config_.site_neighbours = false;
  start();
  ASSERT_TRUE(get(file));
  EXPECT_EQ(neighbour_.asked(), 0);
  EXPECT_EQ(hub_.sent_bytes(), kSize);
}

// A gateway serves what it holds, to those that its hub names, and nothing that is not whole.
TEST_F(ModelFetchTest, AGatewayServesItsNeighboursOnly) {  // X1
  const Bytes file = noise(1, kSize), half = noise(2, kSize);
  hub_.have(file);
  hub_.have(half);
  config_.site_listen = "127.0.0.1:0";
  start();
  ASSERT_TRUE(get(file));
  ASSERT_FALSE(get_some(half, kSize / 2));
  const std::string address = hub_.said().address;
  ASSERT_FALSE(address.empty()) << "it told the hub where it serves";
  NodeClientOptions options;
  options.address = address;
  options.tls = papers({NodeRole::kEdge, "edge-2"});
  options.expected_hub = "edge-1";
  options.role = NodeRole::kEdge;
  const auto neighbour = NodeClient::make(options).value();
  const auto tell = [&](const Bytes& of) -> Result<SiteTell> {
    const auto raw = neighbour->call(encode(SiteAsk{sha256(of)}), 5'000);
    if (!raw) return fail(raw.error());
    return decode<SiteTell>(*raw, "answer");
  };
  EXPECT_EQ(tell(file).error().code, Code::kBusy) << "nobody has named it as a neighbour";
  hub_.site({{"edge-1", address, {}}, {"edge-2", "", {}}});
  fetch_->on_session();
  fetch_->tend("hub-1");
  EXPECT_EQ(tell(file).value().state, SiteState::kHas);
  EXPECT_EQ(tell(half).value().state, SiteState::kFetching);
  EXPECT_EQ(tell(noise(3, 10)).value().state, SiteState::kNothing);
  const auto fetched = [&](const Bytes& of, FetchMore more) {
    const auto got = neighbour->fetch(
        encode(FetchRequest{FetchBlob{sha256(of)}, more}),
        [](std::optional<Bytes> frame) -> Result<FetchTurn> { return FetchTurn{{}, 5'000, frame.has_value()}; });
    return got ? Error{Code::kOk, {}, {}, 0} : got.error();
  };
  EXPECT_EQ(fetched(file, {0, 10, 10}).code, Code::kOk);
  EXPECT_EQ(fetched(half, {0, 10, 10}).code, Code::kNotFound) << "what is not whole is served to nobody";
  EXPECT_EQ(fetched(file, {0, kSize + 1, 10}).code, Code::kInvalid);
  const std::string hex = to_hex(sha256(file)), path = home_ + "/blobs/blobs/" + hex.substr(0, 2) + "/" + hex;
  std::filesystem::resize_file(path, kSize - 1);  // here is nobody's lie either
  EXPECT_EQ(fetched(file, {0, 10, 10}).code, Code::kUnavailable);
  hub_.site({{"edge-1", address, {}}});  // removed from the cluster
  fetch_->on_session();
  fetch_->tend("hub-1");
  EXPECT_EQ(tell(file).error().code, Code::kBusy);
  EXPECT_EQ(fetched(file, {0, 10, 10}).code, Code::kBusy);
}

// A pause says how long it lasts, and only a gateway's own is one.
TEST_F(ModelFetchTest, AHubThatIsBusyIsNoPauseAndASpentBudgetIs) {
  const Bytes file = noise(1, kSize);
  hub_.have(file);
  hub_.say_busy(true);
  config_.transfer.daily_budget_bytes = 50'000;
  start();
  const auto busy = get(file);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, Code::kBusy);
  EXPECT_EQ(busy.error().detail_ns, 0) << "the hub's word is not taken for a pause of this gateway";
  hub_.say_busy(false);
  const auto spent = get(file);
  ASSERT_FALSE(spent);
  EXPECT_EQ(spent.error().code, Code::kBusy);
  EXPECT_GT(spent.error().detail_ns, 0);
  EXPECT_NE(spent.error().message.find("paused: the daily budget of 50000 bytes is spent"), std::string::npos);
  EXPECT_LE(charged(), 50'000u);
  EXPECT_LE(hub_.sent_bytes(), 50'000u);
  // A neighbour may bring it meanwhile, so the pause is looked at again before the day ends.
  with_neighbour();
  fetch_->on_session();
  const auto again = get(file);
  ASSERT_FALSE(again);
  EXPECT_LE(again.error().detail_ns, 300 * kSecond);
  neighbour_.have(file);
  ASSERT_TRUE(get(file)) << "and what a neighbour gives needs no budget";
}

// A version that is withdrawn while it comes: the transfer ends, what came stays, and it goes on there if it is wanted
// again.
TEST_F(ModelFetchTest, ATransferThatIsNotWantedAnyMoreEndsAndMayGoOnAtTheByte) {
  const Bytes file = noise(1, kSize);
  hub_.have(file);
  start();
  const auto ended = get_some(file, 100'000);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, Code::kUnavailable);
  EXPECT_FALSE(blobs_->has(sha256(file)));
  const std::uint64_t here = came("full");
  EXPECT_LT(here, kSize);
  ASSERT_TRUE(get(file));
  EXPECT_EQ(came("full"), kSize) << "no byte came twice";
}

// What a connection costs is charged once, with the first bytes that are asked for on it.
TEST_F(ModelFetchTest, AConnectionIsChargedOnce) {
  const Bytes first = noise(1, 6'000), second = noise(2, 6'000);
  hub_.have(first);
  hub_.have(second);
  start();
  ASSERT_TRUE(get(first));
  const std::uint64_t of_first = charged();
  EXPECT_GE(of_first, first.size() + 4'000) << "a handshake, a stream and the bytes";
  ASSERT_TRUE(get(second));
  EXPECT_GE(charged() - of_first, second.size() + 600) << "a stream and the bytes";
  EXPECT_LT(charged() - of_first, second.size() + 1'500) << "the connection was there already";
  EXPECT_EQ(came("full"), first.size() + second.size());
}

TEST_F(ModelFetchTest, NothingIsChargedWhileTheRateSaysWait) {
  const Bytes first = noise(1, 6'000), second = noise(2, 6'000);
  hub_.have(first);
  hub_.have(second);
  config_.transfer.rate_bytes_per_s = 500;  // what the first takes is 20 s of it
  start();
  ASSERT_TRUE(get(first));
  const std::uint64_t of_first = charged();
  int looks = 0;
  const auto waited = fetch_->fetch("hub-1", file_of(second), {}, [&] { return ++looks < 5; });
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, Code::kUnavailable) << waited.error().message;
  EXPECT_EQ(charged(), of_first) << "nothing was asked for";
  EXPECT_EQ(came("full"), first.size());
}

constexpr std::uint64_t kWallMinuteMs = 60'000;
constexpr std::uint64_t kLastMorningMs = 2'240'560'680'000;  // 2040-12-31 09:58 UTC

TEST_F(ModelFetchTest, AMonthThatIsUsedUpPausesAndSaysSoUntilTheNext) {  // M3, C4
  const Bytes file = noise(1, 90'000);
  hub_.have(file);
  config_.transfer.monthly_budget_bytes = 60'000;
  std::uint64_t wall_ms = kLastMorningMs;
  const auto begin = [&] {
    start();
    fetch_->take_wall_clock([&] { return wall_ms; });
  };
  begin();
  const auto month_bytes = [&] {
    return static_cast<std::uint64_t>(
        metrics_.gauge("tidelock_edge_transfer_month_bytes", "As the product says.").value());
  };
  struct Case {
    const char* why;
    std::uint64_t later_ms;
    bool restarts;
  };
  const Case cases[] = {{"its end is met", 0, false},
                        {"a restart gives none of it back", kWallMinuteMs, true},
                        {"the last minute of the month", 14 * 60 * kWallMinuteMs, false}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    wall_ms += c.later_ms;
    if (c.restarts) begin();
    const auto spent = get(file);
    ASSERT_FALSE(spent);
    EXPECT_EQ(spent.error().code, Code::kBusy);
    EXPECT_GT(spent.error().detail_ns, 0);
    EXPECT_NE(spent.error().message.find("paused: the monthly budget of 60000 bytes is spent; goes on in "),
              std::string::npos)
        << spent.error().message;
    EXPECT_LE(month_bytes(), 60'000u);
    EXPECT_LE(hub_.sent_bytes(), 60'000u);
  }
  EXPECT_GT(hub_.sent_bytes(), 30'000u);
  wall_ms = kLastMorningMs + (14 * 60 + 2) * kWallMinuteMs;  // midnight
  const auto done = get(file);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(came("full"), file.size()) << "it went on at the byte";
  EXPECT_LE(month_bytes(), 60'000u) << "of the new month";
}

TEST_F(ModelFetchTest, AWindowThatClosesInATransferPausesItThereAndItGoesOn) {  // M3
  const Bytes file = noise(1, 3'000'000);
  hub_.have(file);
  config_.transfer.windows = {{9 * 60, 10 * 60}};
  std::uint64_t wall_ms = kLastMorningMs;
  start();
  fetch_->take_wall_clock([&] { return wall_ms; });
  fetch_->begin_version("detector", "1.0.0");
  const auto paused = fetch_->fetch("hub-1", file_of(file), {}, [&] {
    if (came("full") > 100'000) wall_ms = kLastMorningMs + 2 * kWallMinuteMs;
    return true;
  });
  ASSERT_FALSE(paused);
  EXPECT_EQ(paused.error().code, Code::kBusy);
  EXPECT_EQ(paused.error().message, "paused: transfers run at 09:00-10:00 UTC only; goes on in 1381 min at the latest");
  EXPECT_GT(paused.error().detail_ns, 0);
  const std::uint64_t here = came("full");
  EXPECT_GT(here, 100'000u);
  EXPECT_LT(here, file.size()) << "what was asked for came, and no more was asked for";
  EXPECT_EQ(hub_.sent_bytes(), here);
  wall_ms += 22 * 60 * kWallMinuteMs;
  ASSERT_FALSE(get(file)) << "the next morning, an hour early";
  EXPECT_EQ(hub_.sent_bytes(), here);
  wall_ms += 60 * kWallMinuteMs;
  const auto done = get(file);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(came("full"), file.size()) << "no byte came twice";
}

TEST_F(ModelFetchTest, AFileThatWentBadIsRepairedFromANeighbour) {  // X3, M3
  const Bytes file = noise(1, kSize);
  hub_.have(file);
  neighbour_.have(file);
  with_neighbour();
  ASSERT_EQ(blobs_->put(file), sha256(file));
  const std::string path = *blobs_->path(sha256(file));
  std::filesystem::permissions(path, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
  ASSERT_TRUE(files::replace(path, noise(2, kSize)));
  ASSERT_EQ(blobs_->verify(sha256(file)).error().code, Code::kCorrupt);
  start();
  const auto got = get(file);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(blobs_->examine(sha256(file)));
  EXPECT_EQ(neighbour_.sent_bytes(), kSize);
  EXPECT_EQ(hub_.sent_bytes(), 0u) << "not a byte crossed the wide-area link";
  EXPECT_EQ(charged(), 0u);
}

}  // namespace
}  // namespace tidelock
