// One thread (`core`) owns the HubCore and everything it touches; gRPC, ledger and HTTP threads only push into its
// queue. The order of a step: rows are committed, then appends, frames, closes and answers go out.

#include "hub/hub.h"

#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "hub/join.h"
#include "hub/ledger_clock.h"
#include "hub/model_store.h"
#include "hub/restore.h"
#include "hub/site_table.h"
#include "hub/state_rows.h"
#include "hub/work_thread.h"
#include "ledger/raft/raft_ledger.h"
#include "protocol/hub_core.h"
#include "store/kv/folder_format.h"
#include "store/kv/kv.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "wire/http/server.h"

namespace tidelock {
namespace {

std::uint64_t random_number() {
  std::uint64_t value = 0;
  while (value == 0) {
    if (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) value = 0;
  }
  return value;
}

constexpr Nanos kVersionsEvery = 5 * kSecond;

}  // namespace

// "host:port", or what is wrong with it.
static Result<std::pair<std::string, int>> split_address(const std::string& address, const char* field) {
  const std::size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string::npos && colon + 1 < address.size()) {
    port = 0;
    for (std::size_t i = colon + 1; i < address.size(); ++i) {
      const char c = address[i];
      if (c < '0' || c > '9' || port > 65535) {
        port = -1;
        break;
      }
      port = port * 10 + (c - '0');
    }
  }
  if (colon == 0 || port < 0 || port > 65535) {
    return fail(Code::kInvalid,
                std::string(field) + " = \"" + address + "\": must be host:port, for example 127.0.0.1:7400");
  }
  return std::pair{address.substr(0, colon), port};
}

class Hub::Impl : public LedgerListener, public NodeService, public RaftTransport {
 public:
  explicit Impl(HubConfig config) : config_(std::move(config)), clock_(config_.shim) {}
  ~Impl() override { stop(); }

  Result<void> start() {
    std::error_code error;
    std::filesystem::create_directories(config_.data_dir + "/ledger", error);
    if (error) return fail(Code::kInvalid, "data_dir = \"" + config_.data_dir + "\": " + error.message());
    if (auto claimed = claim_folder(config_.data_dir, "hub " + config_.id); !claimed) return claimed;
    auto kv = Kv::open(config_.data_dir + "/db",
                       {std::string(kStateFamily), std::string(kRaftLogFamily), std::string(kRaftStateFamily)});
    if (!kv) return fail(kv.error());
    kv_ = std::move(*kv);
    auto blobs = HubModelStore::open(config_.data_dir + "/models", config_);
    if (!blobs) return fail(blobs.error());
    models_ = std::move(*blobs);
    rows_ = std::make_unique<KvStateRows>(*kv_);
    models_->look_after({*rows_, [this] { return ledger_seen_ ? ledger_->status() : LedgerStatus{}; },
                         [this] { return on_core_thread([]() -> Result<void> { return {}; }); }});

    HubOptions options;
    options.id = config_.id;
    options.boot = Boot{random_number()};
    options.seed = config_.seed;
    options.protocol_version = config_.protocol_version;
    options.ledger_version = config_.ledger_version;
    ledger_clock_.emplace(config_.data_dir + "/ledger-clock", clock_run(config_.shim).value_or(0));
    options.ledger_clock = ledger_clock_->load();
    core_ = std::make_unique<HubCore>(options, *rows_);
    const StateMachine& state = core_->state();
    if (state.seeded() && !(state.settings() == config_.seed.settings)) {  // A2
      return fail(
          Code::kConflict,
          "the settings of this hub differ from the cluster's: authority_window_ns, rho_ppm and lease lengths are "
          "ledger state, set when the cluster is made; take [cluster] out of the configuration or make it equal");
    }
    if (state.ledger_version() > config_.ledger_version) {
      return fail(Code::kInvalid, "data_dir = \"" + config_.data_dir + "\": the ledger is at version " +
                                      std::to_string(state.ledger_version()) + ", this build reads up to " +
                                      std::to_string(config_.ledger_version) + "; install a newer build");
    }
    remember_state();
    applied_.store(state.applied().value, std::memory_order_release);

    const auto grpc = split_address(config_.grpc_address, "grpc");
    if (!grpc) return fail(grpc.error());
    const auto http = split_address(config_.http_address, "http");
    if (!http) return fail(http.error());
    if (!config_.joins && !config_.hubs.contains(config_.id)) {
      return fail(Code::kInvalid, "hubs does not name this hub (id = \"" + config_.id + "\")");
    }
    RaftPeersOptions peers;
    peers.tls = config_.tls;
    peers.seed = random_number();
    for (const auto& [id, address] : config_.hubs) {
      if (id != config_.id) peers.peers.push_back({id, address});
    }
    auto raft_peers = RaftPeers::start(peers, [this](const NodeId& peer, bool up, const std::string& why) {
      log(LogLevel::kInfo, "hub", up ? "peer up" : "peer down", {{"peer", peer}, {"why", why}});
    });
    if (!raft_peers) return fail(raft_peers.error());
    peers_ = std::move(*raft_peers);

    // The core's thread first: the ledger delivers as soon as it is open.
    thread_ = std::thread([this] { run(); });
    RaftLedgerOptions ledger;
    ledger.id = config_.id;
    for (const auto& [id, address] : config_.hubs) ledger.members.push_back({id, address});
    ledger.bootstrap = !config_.joins;
    ledger.directory = config_.data_dir + "/ledger";
    ledger.applied = core_->state().applied();
    ledger.election_timeout_ms = config_.election_timeout_ms;
    ledger.heartbeat_ms = config_.heartbeat_ms;
    ledger.snapshot_threshold_entries = config_.snapshot_threshold_entries;
    ledger.snapshot_trailing_entries = config_.snapshot_threshold_entries / 4;
    ledger.seed = random_number();
    auto opened = RaftLedger::open(ledger, *kv_, *this, *this, clock_);
    if (!opened) return fail(opened.error());
    ledger_ = std::move(*opened);
    {
      const std::lock_guard lock(mutex_);
      ledger_ready_ = true;
    }
    changed_.notify_all();

    NodeServerOptions server;
    server.host = grpc->first;
    server.port = grpc->second;
    server.tls = config_.tls;
    server.fetch_idle_ns = 180 * kSecond;  // an edge waits two minutes for what is brought or made first
    auto listening = NodeServer::start(server, *this);
    if (!listening) return fail(listening.error());
    server_ = std::move(*listening);

    add_metrics();
    std::vector<HttpRoute> routes = standard_routes(
        metrics_, [] { return std::string(); },
        [this] {
          const LedgerStatus status = ledger_->status();
          if (!status.leader.empty()) return std::string();
          if (status.last_index.value > 0) return std::string("no leader of the ledger is known yet");
          return "this hub waits to be added: tidelock hub add " + config_.id + "=" + config_.grpc_address;
        });
    routes.push_back({"POST", "/join", [this](const HttpRequest& request) { return answer_join(config_, request); }});
    HttpServerOptions http_options;
    http_options.host = http->first;
    http_options.port = http->second;
    auto web = HttpServer::listen(http_options, std::move(routes));
    if (!web) return fail(web.error());
    web_ = std::move(*web);
    models_->watch(
        [this] { return active_.load(); }, [this] { return model_key(); },
        [this](AdminRequest request, Reply reply) { ask(std::move(request), config_.id, std::move(reply)); });
    log(LogLevel::kInfo, "hub", "ready", {{"grpc", server_->address()}, {"http", web_->address()}});
    return {};
  }

  void stop() {
    web_.reset();
    if (models_) models_->stop();  // first: what waits for an object store would hold up the server's end
    if (server_) server_->stop();
    models_work_.stop();
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      ledger_ready_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
    if (ledger_) ledger_->stop();
    for (auto& [token, reply] : replies_) reply(fail(Code::kUnavailable, "the hub is stopping"));
    replies_.clear();
    server_.reset();
    peers_.reset();
  }

  // ---- LedgerListener: the ledger's thread
  void on_committed(std::vector<LedgerEntry> entries) override {
    for (LedgerEntry& entry : entries) push(HubCommitted{entry.index, std::move(entry.command)});
  }
  void on_dropped(CommandId id, Code code) override { push(HubDropped{id, code}); }
  void on_leadership(bool leading, NodeId leader) override {
    log(LogLevel::kInfo, "ledger", leading ? "leading" : "following", {{"leader", leader}});
    std::string address;
    if (ledger_seen_.load(std::memory_order_acquire)) {
      for (const LedgerMember& m : ledger_->status().members) {
        if (m.id == leader) address = m.address;
      }
    }
    push(HubLeadership{leading, std::move(leader), std::move(address)});
  }
  Result<void> on_install(const LedgerSnapshot& snapshot) override {
    return on_core_thread([&]() -> Result<void> {
      if (auto imported = kv_->import_family(std::string(kStateFamily), snapshot.directory + "/state"); !imported)
        return imported;
      step(HubInstalled{});
      log(LogLevel::kInfo, "hub", "snapshot installed", {{"index", snapshot.index.value}});
      return {};
    });
  }
  Result<Index> on_snapshot(const std::string& directory) override {
    // The index is read first: the export may hold later entries too, and those are skipped when they are delivered
    // again.
    const Index index{applied_.load(std::memory_order_acquire)};
    if (auto exported = kv_->export_family(std::string(kStateFamily), directory + "/state"); !exported)
      return fail(exported.error());
    return index;
  }
  void on_failed(const Error& error) override {
    log(LogLevel::kError, "ledger", "store failed", {{"code", code_name(error.code)}, {"message", error.message}});
    std::_Exit(70);  // D3: replayed at the next start
  }

  // ---- RaftTransport
  void peers(const std::vector<RaftMember>& reachable, const std::vector<RaftMember>& members) override {
    std::vector<RaftPeer> peers;
    peers.reserve(reachable.size());
    for (const RaftMember& m : reachable) peers.push_back({m.id, m.address});
    std::vector<std::pair<NodeId, std::string>> stores;  // M2: a majority of the members, whoever else may be reached
    stores.reserve(members.size());
    for (const RaftMember& m : members) stores.emplace_back(m.id, m.address);
    if (auto set = peers_->set_peers(peers); !set) {
      log(LogLevel::kError, "hub", "peers", {{"message", set.error().message}});
    }
    models_->set_peers(stores);
  }
  void send(const NodeId& peer, Bytes message) override { peers_->send(peer, std::move(message)); }

  // ---- NodeService: gRPC's threads
  void on_session_open(SessionPtr session) override {
    push(Work{[this, session] {
      sessions_[ConnId{session->id()}] = session;
      step(HubConnected{ConnId{session->id()}, session->peer().id});
    }});
  }
  void on_session_frame(SessionId session, Bytes frame) override {
    auto decoded = decode<EdgeFrame>(frame, "edge frame");
    if (!decoded) {
      push(Work{[this, session, why = decoded.error().message] {
        const auto it = sessions_.find(ConnId{session});
        if (it != sessions_.end()) it->second->close(why);
      }});
      return;
    }
    push(HubFrameIn{ConnId{session}, std::move(*decoded)});
  }
  void on_session_closed(SessionId session, const std::string& reason) override {
    push(Work{[this, session, reason] {
      step(HubDisconnected{ConnId{session}});
      sessions_.erase(ConnId{session});
      log(LogLevel::kInfo, "hub", "session closed", {{"session", session}, {"why", reason}});
    }});
  }
  void on_raft_frame(const NodeId& peer, Bytes frame) override {
    if (ledger_seen_.load(std::memory_order_acquire)) ledger_->receive(peer, std::move(frame));
  }
  void on_call(const PeerIdentity& peer, Bytes request, Reply reply) override {
    auto call = decode<NodeCall>(request, "call");
    if (!call) return reply(fail(call.error()));
    if (const auto* has = std::get_if<HasBlobs>(&call->body)) return reply(encode(models_->answer(peer, *has)));
    if (const auto* care = std::get_if<StoreCall>(&call->body)) return reply(encode(models_->care(peer, *care)));
    if (auto* hubs = std::get_if<HubsCall>(&call->body)) return on_hubs_call(peer, std::move(*hubs), std::move(reply));
    if (auto* site = std::get_if<SiteCall>(&call->body)) {  // M3
      const auto describe = [this](Reply described) { ask({{}, DescribeCluster{}}, {}, std::move(described)); };
      return site_.answer(peer, std::move(*site), describe, std::move(reply));
    }
    auto& admin = std::get<AdminRequest>(call->body);
    if (peer.role != NodeRole::kClient && !admin.changes_nothing()) {
      reply(encode(
          answer_of({Code::kDenied, "only an operator's certificate (role client) may change the cluster", {}, 0})));
      return;
    }
    if (auto* publish = std::get_if<PublishModel>(&admin.body)) {  // M2: the bytes must rest at a majority first
      models_work_.post([this, admin, publish = *publish, reply, who = peer.id] {
        if (const auto ready = models_->check_published(publish.signed_manifest, model_key(), active_.load()); !ready) {
          reply(encode(answer_of(ready.error())));
        } else {
          ask(admin, who, reply);
        }
      });
      return;
    }
    ask(std::move(admin), peer.id, std::move(reply));
  }
  Result<ChunkSource> on_download(const PeerIdentity& peer, Bytes request) override {
    if (request == kBackupRequest) return backup(peer);
    return models_->download(std::move(request));
  }
  Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity& peer, Bytes first) override {
    return models_->upload(peer, std::move(first));
  }
  Result<std::unique_ptr<FetchSource>> on_fetch(const PeerIdentity&, Bytes first, std::function<void()> more) override {
    return models_->fetch(std::move(first), std::move(more));
  }
  void on_refused(const std::string& peer_address, const std::string& why) override {
    log(LogLevel::kWarn, "hub", "peer refused", {{"peer", peer_address}, {"why", why}});
  }

 private:
  // A consistent copy first, then at the reader's pace: the file is gone as soon as nobody reads it any more.
  Result<ChunkSource> backup(const PeerIdentity& peer) {
    if (peer.role != NodeRole::kClient) {
      return fail(Code::kDenied, "only an operator's certificate (role client) may take a backup");
    }
    const std::string path = config_.data_dir + "/backup-" + std::to_string(random_number()) + ".tmp";
    const auto written = write_backup(*kv_, config_.id, path);
    auto file = std::make_shared<std::ifstream>(path, std::ios::binary);
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    if (!written) return fail(written.error());
    if (!*file) return fail(Code::kBusy, path + ": cannot be read back");
    return ChunkSource([file]() -> Result<std::optional<Bytes>> {
      Bytes chunk(1u << 20, '\0');
      file->read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
      chunk.resize(static_cast<std::size_t>(file->gcount()));
      if (chunk.empty()) return std::optional<Bytes>{};
      return std::optional<Bytes>(std::move(chunk));
    });
  }

  HubsView hubs_view() const {
    const LedgerStatus status = ledger_->status();
    HubsView view{status.leader, status.last_index, config_.ledger_version, ledger_version_.load(), {}};
    for (const LedgerMember& m : status.members) view.hubs.push_back({m.id, m.address, m.voter, m.heard_ns, m.synced});
    return view;
  }

  void on_hubs_call(const PeerIdentity& peer, HubsCall call, Reply reply) {
    AdminAnswer answer;
    answer.hub = config_.id;
    if (!ledger_seen_.load(std::memory_order_acquire)) {
      reply(encode(answer_of({Code::kNotActive, "this hub is starting; repeat in a moment", {}, 0})));
      return;
    }
    const HubsView view = hubs_view();
    answer.hint = view.leader;
    answer.active = view.leader == config_.id;
    if (call.what == HubsCall::What::kView) {
      if (peer.role == NodeRole::kHub &&
          !call.address.empty()) {  // a hub that looks at this one says where the hubs are
        if (auto met = decode<std::vector<std::pair<NodeId, std::string>>>(call.address, "hubs")) {
          std::vector<RaftMember> hubs;
          for (auto& [id, address] : *met) hubs.push_back({std::move(id), std::move(address)});
          ledger_->meet(std::move(hubs));
        }
      }
      answer.value = encode(view);
    } else if (peer.role != NodeRole::kClient) {
      answer.code = Code::kDenied;
      answer.message = "only an operator's certificate (role client) may change the cluster";
    } else if (!answer.active) {
      answer.code = Code::kNotActive;
      answer.message = view.leader.empty() ? "no majority of the hubs is there to decide; see `tidelock hub list`"
                                           : "this hub does not lead; ask " + view.leader;
    } else if (call.what == HubsCall::What::kAdd) {  // blocks while it looks whether the other is there
      if (!models_work_.post([this, call, reply] {
            if (const auto fits = check_joiner(call); !fits) {
              reply(encode(answer_of(fits.error())));
            } else {
              change_hubs({LedgerChange::What::kAdd, call.hub, call.address}, reply);
            }
          })) {
        reply(encode(answer_of({Code::kBusy, "too many requests wait here; repeat in a moment", {}, 0})));
      }
      return;
    } else {
      const bool remove = call.what == HubsCall::What::kRemove;
      change_hubs({remove ? LedgerChange::What::kRemove : LedgerChange::What::kTransfer, call.hub, {}}, reply);
      return;
    }
    reply(encode(answer));
  }

  // What every hub reads, so that the ledger may hold it; nothing when one of them cannot be asked.
  void ask_versions() {
    HubVersions versions{config_.ledger_version};
    for (const LedgerMember& m : ledger_->status().members) {
      if (m.id == config_.id) continue;
      const auto view = view_of(m.id, m.address);
      if (!view) return;
      versions.all_read = std::min(versions.all_read, view->ledger_version);
    }
    push(versions);
  }

  Result<HubsView> view_of(const NodeId& id, const std::string& address) {
    NodeClientOptions options;
    options.address = address;
    options.tls = config_.tls;
    options.expected_hub = id;
    options.connect_timeout_ms = 2'000;
    auto client = NodeClient::make(options);
    if (!client) return fail(client.error());
    std::vector<std::pair<NodeId, std::string>> known;
    for (const LedgerMember& m : ledger_->status().members) known.emplace_back(m.id, m.address);
    const HubsCall look{HubsCall::What::kView, {}, encode(known)};
    const auto raw = (*client)->call(encode(NodeCall{look}), 2'000);
    if (!raw) return fail(raw.error());
    const auto answer = decode<AdminAnswer>(*raw, "answer");
    if (!answer) return fail(answer.error());
    if (!answer->value) return fail(Code::kUnavailable, answer->message);
    return decode<HubsView>(*answer->value, "hubs");
  }

  // A hub that comes in must be there, be who it is said to be, and hold no other ledger.
  Result<void> check_joiner(const HubsCall& call) {
    if (auto ok = check_node_id(call.hub); !ok) return ok;
    const auto view = view_of(call.hub, call.address);
    if (!view) {
      return fail(Code::kUnavailable, call.hub + " does not answer at " + call.address +
                                          "; start it with `joins = true` in its hub.toml and an empty data_dir, and "
                                          "repeat: " +
                                          view.error().message);
    }
    const auto knows_us = std::any_of(view->hubs.begin(), view->hubs.end(),
                                      [&](const HubsView::Hub& hub) { return hub.id == config_.id; });
    if (view->ledger_version < ledger_version_.load()) {
      return fail(Code::kConflict, call.hub + " reads ledger versions up to " + std::to_string(view->ledger_version) +
                                       ", the ledger is at " + std::to_string(ledger_version_.load()) +
                                       "; install a newer build there");
    }
    if (view->last_index.value == 0 || knows_us) return {};
    return fail(Code::kConflict, call.hub +
                                     " holds a ledger of its own; stop it, empty its data_dir, set `joins = true` "
                                     "in its hub.toml, start it, and repeat");
  }

  void change_hubs(LedgerChange change, Reply reply) {
    const char* words[] = {"add", "remove", "transfer to"};
    const std::string what = words[static_cast<std::size_t>(change.what)] + (" " + change.id);
    ledger_->change(change, [this, what, reply = std::move(reply)](const Result<void>& end) {
      AdminAnswer answer;
      if (!end) {
        answer = answer_of(end.error());
        answer.message = what + ": " + answer.message;
        if (answer.code == Code::kNotFound) {
          answer.message += "; there are";
          for (const auto& hub : hubs_view().hubs) answer.message += " " + hub.id;
        }
      }
      const HubsView view = hubs_view();
      answer.hub = config_.id;
      answer.hint = view.leader;
      answer.value = encode(view);
      log(LogLevel::kInfo, "hub", "hubs changed",
          {{"what", what}, {"code", code_name(answer.code)}, {"message", answer.message}});
      reply(encode(answer));
    });
  }

  struct Work {
    std::function<void()> run;
  };
  using Item = std::variant<decltype(HubEvent::what), Work>;

  template <class What>
  void push(What what) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      if constexpr (std::is_same_v<What, Work>) {
        queue_.emplace_back(std::move(what));
      } else {
        queue_.emplace_back(decltype(HubEvent::what)(std::move(what)));
      }
    }
    changed_.notify_one();
  }

  Result<void> on_core_thread(std::function<Result<void>()> run) {
    std::promise<Result<void>> done;
    std::future<Result<void>> result = done.get_future();
    push(Work{[&] { done.set_value(run()); }});
    while (result.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
      const std::lock_guard lock(mutex_);
      if (stopping_) return fail(Code::kUnavailable, "the hub is stopping");
    }
    return result.get();
  }

  void ask(AdminRequest request, NodeId who, Reply reply) {
    push(Work{[this, request = std::move(request), who = std::move(who), reply = std::move(reply)] {
      const AskToken token{++last_token_};
      replies_[token] = reply;
      step(HubAsked{token, request, who});
    }});
  }

  void run() {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ledger_ready_; });
      if (stopping_) return;
    }
    ledger_seen_.store(true, std::memory_order_release);
    for (;;) {
      Item item = HubEvent{}.what;
      {
        std::unique_lock lock(mutex_);
        const Nanos wait = std::clamp<Nanos>(saturating_sub(wake_at_, clock_.now()), 0, 100 * kMillisecond);
        if (queue_.empty() && wait > 0) {
          changed_.wait_for(lock, std::chrono::nanoseconds(wait), [this] { return stopping_ || !queue_.empty(); });
        }
        if (stopping_) return;
        if (!queue_.empty()) {
          item = std::move(queue_.front());
          queue_.pop_front();
        } else {
          item = decltype(HubEvent::what)(HubTick{});
        }
      }
      if (detector_.poll()) step(HubDisrupted{});  // C2
      if (auto* work = std::get_if<Work>(&item)) {
        work->run();
      } else {
        step(std::move(std::get<decltype(HubEvent::what)>(item)));
      }
    }
  }

  void step(decltype(HubEvent::what) what) {
    if (const auto* committed = std::get_if<HubCommitted>(&what);
        committed != nullptr && committed->index <= core_->state().applied()) {
      return;  // contained in the snapshot that was installed
    }
    HubActions actions;
    core_->step(HubEvent{clock_.now(), std::move(what), wall_ms_now()}, actions);  // C6: anew for each
    if (!actions.rows.rows.empty()) {
      KvBatch batch;
      for (auto& [key, value] : actions.rows.rows) {
        if (value)
          batch.put(std::string(kStateFamily), std::move(key), std::move(*value));
        else
          batch.erase(std::string(kStateFamily), std::move(key));
      }
      // Not synced: the ledger's log is, and both share one write-ahead log, so a restart replays from what is here.
      if (const auto ok = kv_->commit(batch, Sync::kNone); !ok) on_failed(ok.error());
      remember_state();
    }
    for (auto& append : actions.append) ledger_->append(append.id, std::move(append.command));
    for (auto& send : actions.send) {
      const auto it = sessions_.find(send.conn);
      if (it == sessions_.end()) continue;
      (void)it->second->send(encode(send.frame));  // a full queue closes the session
    }
    for (auto& close : actions.close) {
      const auto it = sessions_.find(close.conn);
      if (it == sessions_.end()) continue;
      closing_.push_back({clock_.now() + 200 * kMillisecond, it->second, close.reason});
    }
    for (auto& answer : actions.answers) {
      const auto it = replies_.find(answer.token);
      if (it == replies_.end()) continue;
      it->second(encode(answer.answer));
      replies_.erase(it);
    }
    for (const auto& note : actions.notes) log(LogLevel::kInfo, "hub", note.event, {{"detail", note.detail}});
    ledger_clock_->note({core_->ledger_clock(clock_.now()), clock_.now()});
    wake_at_ = actions.wake_at;
    // The goodbye travels first; an edge that does not hang up by itself is cut.
    while (!closing_.empty() && closing_.front().at <= clock_.now()) {
      closing_.front().session->close(closing_.front().reason);
      closing_.pop_front();
    }
    if (!closing_.empty()) wake_at_ = std::min(wake_at_, closing_.front().at);
    active_.store(core_->active(), std::memory_order_relaxed);
    session_count_.store(core_->sessions(), std::memory_order_relaxed);
    open_blocks_.store(core_->open_blocks(), std::memory_order_relaxed);
    applied_.store(core_->state().applied().value, std::memory_order_release);  // after the commit
    term_.store(core_->state().term().value, std::memory_order_relaxed);
    ledger_version_.store(core_->state().ledger_version(), std::memory_order_relaxed);
    if (actions.stop) on_failed({Code::kInvalid, *actions.stop, {}, 0});
    if (core_->active() && core_->state().ledger_version() < config_.ledger_version && clock_.now() >= versions_at_) {
      versions_at_ = clock_.now() + kVersionsEvery;
      (void)models_work_.post([this] { ask_versions(); });  // refused when that is busy: it comes again
    }
  }

  void remember_state() {
    const Bytes& key = core_->state().model_key();
    const std::lock_guard lock(key_mutex_);
    if (model_key_ != key) model_key_ = key;
  }
  Bytes model_key() const {
    const std::lock_guard lock(key_mutex_);
    return model_key_;
  }

  void add_metrics() {
    metrics_.counter_from(metric::kRaftLeaderChanges, "Changes of the ledger's leader seen by this hub.", {},
                          [this] { return ledger_->status().leader_changes_total; });
    metrics_.gauge_from("tidelock_hub_active", "1 while this hub sequences writes.", {},
                        [this] { return active_.load() ? 1.0 : 0.0; });
    metrics_.gauge_from("tidelock_hub_sessions", "Open sessions of edges.", {},
                        [this] { return static_cast<double>(session_count_.load()); });
    metrics_.gauge_from("tidelock_hub_open_blocks", "Strong writes that wait for edges or for the ledger.", {},
                        [this] { return static_cast<double>(open_blocks_.load()); });
    metrics_.gauge_from("tidelock_ledger_applied_index", "Ledger index applied at this hub.", {},
                        [this] { return static_cast<double>(applied_.load()); });
    metrics_.gauge_from("tidelock_ledger_term", "Newest claim applied at this hub.", {},
                        [this] { return static_cast<double>(term_.load()); });
    metrics_.counter_from("tidelock_ledger_snapshots_installed_total", "Snapshots installed from another hub.", {},
                          [this] { return ledger_->status().snapshots_installed_total; });
  }

  struct Closing {
    Nanos at;
    SessionPtr session;
    std::string reason;
  };

  const HubConfig config_;
  ElapsedClock clock_;
  Metrics metrics_;
  std::unique_ptr<Kv> kv_;
  std::unique_ptr<HubModelStore> models_;
  WorkThread models_work_;
  SiteTable site_;

  // owned by the core's thread
  std::unique_ptr<KvStateRows> rows_;
  std::unique_ptr<HubCore> core_;
  std::optional<LedgerClockFile> ledger_clock_;
  DisruptionDetector detector_;
  std::unordered_map<ConnId, SessionPtr> sessions_;
  std::map<AskToken, Reply> replies_;
  std::deque<Closing> closing_;
  std::uint64_t last_token_ = 0;
  Nanos wake_at_ = 0;
  Nanos versions_at_ = 0;

  std::mutex mutex_;  // queue_, stopping_, ledger_ready_
  std::condition_variable changed_;
  std::deque<Item> queue_;
  bool stopping_ = false;
  bool ledger_ready_ = false;

  mutable std::mutex key_mutex_;
  Bytes model_key_;
  std::atomic<bool> ledger_seen_{false};
  std::atomic<bool> active_{false};
  std::atomic<std::uint32_t> ledger_version_{1};
  std::atomic<std::uint64_t> session_count_{0}, open_blocks_{0}, applied_{0}, term_{0};

  std::unique_ptr<RaftPeers> peers_;
  std::unique_ptr<RaftLedger> ledger_;
  std::thread thread_;
  std::unique_ptr<NodeServer> server_;
  std::unique_ptr<HttpServer> web_;
};

Hub::Hub(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Hub::~Hub() = default;

Result<std::unique_ptr<Hub>> Hub::start(HubConfig config) {
  auto impl = std::make_unique<Impl>(std::move(config));
  if (auto started = impl->start(); !started) return fail(started.error());
  return std::unique_ptr<Hub>(new Hub(std::move(impl)));
}

}  // namespace tidelock
