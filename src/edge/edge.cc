// What is made in which order, and taken down in the reverse. The order of a start is F11's: lock, store, revoke the
// former page, new arena, new page, core; only then a link.

#include "edge/edge.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/wall_clock.h"
#include "codec/certificate.h"
#include "edge/addresses.h"
#include "edge/breakers.h"
#include "edge/commands.h"
#include "edge/core_loop.h"
#include "edge/edge_metrics.h"
#include "edge/l2_engine.h"
#include "edge/l2_store.h"
#include "edge/links.h"
#include "edge/model_keeper.h"
#include "edge/outbox_disk.h"
#include "edge/policies_row.h"
#include "edge/work_thread.h"
#include "memory/arena.h"
#include "memory/page.h"
#include "protocol/edge_core.h"
#include "store/kv/folder_format.h"
#include "store/kv/kv.h"
#include "store/models/files.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "wire/http/server.h"
#include "wire/resp/acl.h"
#include "wire/resp/event_loop.h"
#include "wire/resp/server.h"

namespace tidelock {
namespace {

constexpr Nanos kReportEvery = kSecond;
constexpr std::size_t kToldBytesMax = 128;      // of a name that a client sent, in the log
constexpr Nanos kLoopSilenceMax = 5 * kSecond;  // beyond it /healthz says no

std::uint64_t random_number() {
  std::uint64_t value = 0;
  while (value == 0) {
    if (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) value = 0;
  }
  return value;
}

Result<void> make_folder(const char* field, const std::string& path) {
  if (path.empty()) return fail(Code::kInvalid, std::string(field) + " is empty: must be a folder");
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail(Code::kInvalid, std::string(field) + " = \"" + path + "\": " + error.message());
  return {};
}

// F11: two live processes with one edge id must not be.
class FolderLock {
 public:
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  Result<void> take(const std::string& folder) {
    const std::string path = folder + "/lock";
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd_ < 0) return fail(Code::kInvalid, path + ": " + std::strerror(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      return fail(Code::kConflict, "data_dir = \"" + folder + "\": another edge process is using it");
    }
    return {};
  }

 private:
  int fd_ = -1;
};

// run_dir/models -> the room, replaced as a whole.
Result<void> link_models(const std::string& run_dir, const std::string& room) {
  std::error_code error;
  const std::string target = std::filesystem::absolute(room, error).string();
  const std::string fresh = run_dir + "/models.new";
  std::filesystem::remove(fresh, error);
  if (::symlink(target.c_str(), fresh.c_str()) != 0 || ::rename(fresh.c_str(), (run_dir + "/models").c_str()) != 0) {
    return fail(Code::kInvalid,
                "run_dir = \"" + run_dir + "\": cannot place the link `models`: " + std::strerror(errno));
  }
  return {};
}

}  // namespace

class Edge::Impl {
 public:
  explicit Impl(EdgeConfig config) : config_(std::move(config)), clock_(config_.shim) {}
  ~Impl() { stop(); }

  Result<void> start() {
    if (const auto ok = check_node_id(config_.id); !ok)
      return fail(Code::kInvalid, "id = \"" + config_.id + "\": " + ok.error().message);
    if (const auto ok = validate_labels(config_.labels); !ok) return ok;
    for (const auto& step :
         {&Impl::check_identity, &Impl::open_store, &Impl::open_memory, &Impl::open_core, &Impl::open_faces}) {
      if (auto done = (this->*step)(); !done) return done;
    }
    thread_ = std::thread([this] { loop_->run(); });
    loop_->post([this] { core_loop_->start(); });
    keeper_->start();
    log(LogLevel::kInfo, "edge", "ready",
        {{"redis", redis_address_},
         {"redis_tls", redis_tls_address_},
         {"http", web_ ? web_->address() : std::string()},
         {"run_dir", config_.run_dir}});
    return {};
  }

  std::string redis_address_, redis_tls_address_;
  std::string http_address() const { return web_ ? web_->address() : std::string(); }

 private:
  // Files and addresses that can never work are refused now, not retried for ever by a link.
  Result<void> check_identity() {
    for (const auto& [hub, address] : config_.hubs) {
      NodeClientOptions options;
      options.address = address;
      options.tls = config_.tls;
      options.expected_hub = hub;
      if (const auto usable = NodeClient::make(options); !usable) return fail(usable.error());
    }
    if (config_.hubs.empty()) return {};
    const auto pem = files::read_all(config_.tls.certificate_file, 1u << 20);
    if (!pem) return fail(pem.error());
    const auto self = identity_of_certificate(*pem);
    if (!self) return fail(self.error());
    if (self->role != NodeRole::kEdge || self->id != config_.id) {
      return fail(Code::kInvalid, "certificate file \"" + config_.tls.certificate_file + "\" is of " +
                                      std::string(role_name(self->role)) + " \"" + self->id +
                                      "\"; it must be of edge \"" + config_.id + "\"");
    }
    return {};
  }
  Result<void> open_store() {
    if (const auto good = check_l2(config_.l2); !good) return good;
    if (const auto good = validate_breaker(config_.breaker); !good) return good;
    had_data_ = std::filesystem::exists(config_.data_dir + "/db");
    if (const auto made = make_folder("data_dir", config_.data_dir); !made) return made;
    if (const auto locked = lock_.take(config_.data_dir); !locked) return locked;
    if (auto claimed = claim_folder(config_.data_dir, "edge " + config_.id, kEdgeFolderFormat); !claimed)
      return claimed;
    auto kv = Kv::open(config_.data_dir + "/db", {kL2Family, kOutboxFamily, kMetaFamily});
    if (!kv) return fail(kv.error());
    kv_ = std::move(*kv);
    return {};
  }

  Result<void> open_memory() {
    if (const auto made = make_folder("run_dir", config_.run_dir); !made) return made;
    boot_ = Boot{random_number()};
    const std::string page_path = config_.run_dir + "/page";
    if (const auto revoked = PageWriter::revoke(page_path); !revoked) {  // F11
      const ClusterSettings settings = kept_policies(*kv_).value_or(Policies{}).settings;
      session_after_ = saturating_add(clock_.now(), stretch(settings.lease_long_ns, settings.rho_ppm));
      log(LogLevel::kWarn, "edge", "former page not revoked: no session until its lease has surely lapsed",
          {{"message", revoked.error().message}, {"wait_ms", settings.lease_long_ns / kMillisecond}});
    }
    // The arena first: a page announces its arena by equal edge boots.
    auto arena = ArenaWriter::create({config_.run_dir + "/arena", boot_, config_.arena_bytes});
    if (!arena) return fail(arena.error());
    arena_.emplace(std::move(*arena));
    PageOptions page;
    page.path = page_path;
    page.edge_boot = boot_;
    page.shim = config_.shim;
    auto created = PageWriter::create(page);
    if (!created) return fail(created.error());
    page_.emplace(std::move(*created));
    return link_models(config_.run_dir, config_.data_dir + "/models/room");
  }

  Result<void> open_core() {
    const auto same_clock = clock_run(config_.shim);
    if (!same_clock) return fail(same_clock.error());
    L2Run run;
    run.clock_run = *same_clock;
    run.edge_boot = boot_.value;
    run.suspended_ns = suspended_ns_now();
    remote_ = open_remote(config_.l2, config_.id, clock_);
    L2Options l2 = l2_options(config_.l2);
    l2.journal_path = config_.data_dir + "/l2.journal";
    l2_ = std::make_unique<L2Store>(*kv_, run, l2, remote_.get());
    if (auto counted = l2_->open(); !counted) return counted;

    std::vector<std::pair<Bytes, Bytes>> rows;
    const auto scanned = kv_->scan(kOutboxFamily, {}, {}, [&](BytesView key, BytesView value) {
      rows.emplace_back(Bytes(key), Bytes(value));
      return true;
    });
    if (!scanned) return fail(scanned.error());
    OutboxOptions outbox_options;
    outbox_options.clock_run = run.clock_run;
    auto outbox = Outbox::restore(outbox_options, rows, clock_.now(), wall_ms_now(), Rng(random_number()));
    if (!outbox) return fail(outbox.error());

    EdgeOptions options;
    options.id = config_.id;
    options.site = config_.site;
    options.boot = boot_;
    options.protocol_version = config_.protocol_version;
    options.writer = hash64(config_.id);
    options.session_after = session_after_;
    if (auto known = kept_policies(*kv_)) {
      options.joined = true;
      options.settings = known->settings;
      options.namespaces = std::move(known->namespaces);
    }
    core_ = std::make_unique<EdgeCore>(options, *arena_, *l2_, std::move(*outbox), Rng(random_number()));
    l2_->keep([core = core_.get()](const std::string& key) { return core->outbox().pending(key).has_value(); });

    auto loop = EventLoop::create(clock_, config_.redis_io);
    if (!loop) return fail(loop.error());
    loop_ = std::move(*loop);
    loop_->post([this] {  // once it runs, what it runs on is settled
      if (loop_->refusal().empty()) return;
      log(LogLevel::kWarn, "edge", "the Redis protocol runs on epoll", {{"why", loop_->refusal()}});
    });
    disk_ = std::make_unique<OutboxDisk>(
        *kv_, clock_,
        [this](std::uint64_t number, AckLevel level) { core_loop_->post(EdgeOutboxPersisted{number, level}); },
        [this](const std::string& why) {
          log(LogLevel::kError, "edge", "outbox store failed", {{"message", why}});
          core_loop_->post(EdgeOutboxFailed{why});
        });
    links_ = std::make_unique<Links>(config_, *loop_, worker_,
                                     [this](CoreLoop::What what) { core_loop_->take(std::move(what)); });
    CoreLoop::Listener listener;
    listener.session = [this](const SessionOpened& session) {
      keeper_->on_session(session.hub, session.model_key);
      server_->all_keys_changed();  // nobody told us what changed while there was no session
    };
    listener.strong = [this](const StrongChanged& changed) {
      keeper_->on_strong_changed(changed.key, changed.value, changed.version);
    };
    listener.recalled = [this](const VersionsRecalled& op) { keeper_->on_recalled(op.versions); };
    listener.session_lost = [this](const std::string&) { server_->all_keys_changed(); };
    listener.changed = [this](const std::string& key) { server_->key_changed(key); };
    listener.slot_changed = [this](std::uint16_t slot) {
      server_->keys_changed([slot](std::string_view key) { return (hash64(key) & 0xFFFF) == slot; });
    };
    listener.policies = [this](const PagePolicies& policies) {
      KvBatch batch;
      keep_policies(batch, {policies.settings, policies.namespaces});
      (void)kv_->commit(batch, Sync::kNone);  // lost: the next run waits for its first welcome
      if (breakers_) breakers_->place(policies.namespaces);
    };
    listener.round_trip = [this](Nanos ns) { keeper_->on_round_trip(ns); };
    core_loop_ =
        std::make_unique<CoreLoop>(*loop_, clock_, *core_, *page_, *arena_, *l2_, *disk_, *links_, std::move(listener));

    ModelKeeper::Links keeper;
    keeper.read = [this](std::string key, std::function<void(ReadDone)> done) {
      loop_->post([this, key = std::move(key), done = std::move(done)] { core_loop_->read(key, {}, done); });
    };
    keeper.report = [this](EdgeStagedModel staged) { core_loop_->post(std::move(staged)); };
    if (!config_.model_server.folder.empty()) {
      auto beside = ModelServer::open(config_.model_server, clock_, metrics_);
      if (!beside) return fail(beside.error());
      model_server_ = std::move(*beside);
      keeper.in_force = [this](Index activation, std::string folder, Manifest manifest) {
        model_server_->in_force(activation, std::move(folder), std::move(manifest));
      };
      keeper.recalled = [this](const std::string& name, const std::string& version) {
        model_server_->recalled(name, version);
      };
    }
    auto models = ModelKeeper::open(config_, *kv_, clock_, metrics_, std::move(keeper));
    if (!models) return fail(models.error());
    keeper_ = std::move(*models);
    return {};
  }

  Result<void> open_faces() {
    breaker_waker_ = loop_->add_waker([this](Nanos now) { breakers_->tick(now); });
    breakers_ = std::make_unique<Breakers>(config_.breaker, *page_, metrics_,
                                           [this](Nanos at) { loop_->wake_at(breaker_waker_, at); });
    commands_ = std::make_unique<EdgeCommands>(
        config_, *core_loop_, *l2_, worker_, *breakers_, [this] { return keeper_->json(); }, keeper_->care());
    RespServerOptions options;
    options.password = config_.requirepass;
    options.cheap_now = [clock = HotClock(config_.shim)] { return clock.now().latest; };
    options.complain = [](const std::string& what) {
      log(LogLevel::kWarn, "edge", "TLS of the Redis protocol goes on with its former certificate", {{"why", what}});
    };
    options.denied = [](const AclLogEntry& entry, const std::string& peer, std::uint64_t untold) {  // X4: the audit log
      log(LogLevel::kWarn, "edge", "the Redis protocol refused a client",
          {{"reason", entry.reason},
           {"object", entry.object.substr(0, kToldBytesMax)},
           {"user", entry.user.substr(0, kToldBytesMax)},
           {"peer", peer},
           {"untold", untold}});
    };
    reporter_ = loop_->add_waker([this](Nanos now) { report(now); });
    loop_->wake_at(reporter_, clock_.now());
    server_ = std::make_unique<RespServer>(*loop_, *commands_, options);
    commands_->serve(server_.get());
    for (const std::string& user : config_.users) {
      if (const auto good = server_->set_user(user); !good) return fail(Code::kInvalid, good.error().message);
    }
    for (const auto& [name, value] : config_.parameters) {
      if (const auto good = server_->set_parameter(name, value); !good)
        return fail(Code::kInvalid, good.error().message);
    }
    const std::string own_socket = config_.run_dir + "/redis.sock";
    if (const auto listening = server_->listen_unix(own_socket); !listening) return listening;
    if (!config_.redis_unix.empty() && config_.redis_unix != own_socket) {
      if (const auto listening = server_->listen_unix(config_.redis_unix); !listening) return listening;
    }
    if (!config_.redis_address.empty()) {
      const auto address = split_address("redis", config_.redis_address);
      if (!address) return fail(address.error());
      const auto port = server_->listen_tcp(address->first, address->second);
      if (!port) return fail(port.error());
      redis_address_ = address->first + ":" + std::to_string(*port);
    }
    if (!config_.redis_tls_address.empty()) {
      const auto address = split_address("redis_tls", config_.redis_tls_address);
      if (!address) return fail(address.error());
      RespTls files = config_.redis_tls;
      if (files.certificate_file.empty()) {
        files.certificate_file = config_.tls.certificate_file;
        files.key_file = config_.tls.key_file;
      }
      if (files.ca_file.empty()) files.ca_file = config_.tls.ca_file;
      const auto port = server_->listen_tls(address->first, address->second, std::move(files));
      if (!port) return fail(port.error().code, "redis_tls: " + port.error().message);
      redis_tls_address_ = address->first + ":" + std::to_string(*port);
    }
    add_edge_metrics(metrics_, core_loop_->gauges(), *links_, clock_);
    add_redis_metrics(metrics_, redis_gauges_);
    if (remote_) add_remote_metrics(metrics_, *remote_);
    if (config_.http_address.empty()) return {};
    const auto address = split_address("http", config_.http_address);
    if (!address) return fail(address.error());
    const auto healthy = [this]() -> std::string {
      const Nanos silent = saturating_sub(clock_.now(), core_loop_->gauges().turned_at.load(std::memory_order_relaxed));
      return silent < kLoopSilenceMax ? std::string()
                                      : "the loop has not turned for " + std::to_string(silent / kSecond) + " s";
    };
    const auto ready = [this, healthy]() -> std::string {
      if (std::string why = healthy(); !why.empty()) return why;
      if (had_data_ || core_loop_->gauges().session_ever.load(std::memory_order_relaxed)) return {};
      return "no session with a hub yet, and no data from an earlier run";
    };
    HttpServerOptions http;
    http.host = address->first;
    http.port = address->second;
    auto web = HttpServer::listen(http, standard_routes(metrics_, healthy, ready));
    if (!web) return fail(web.error());
    web_ = std::move(*web);
    return {};
  }

  // M5: what a rollout is judged by. On the loop's thread.
  void report(Nanos now) {
    loop_->wake_at(reporter_, saturating_add(now, kReportEvery));
    redis_gauges_.publish(server_->stats());
    std::vector<ModelHealth> figures = keeper_->figures();
    for (const ModelHealth& figure : figures) {  // M10: another version is judged by itself
      if (!figure.in_force) continue;
      const auto [known, fresh] = in_force_.try_emplace(figure.name, figure.version);
      if (!fresh && std::exchange(known->second, figure.version) != figure.version)
        breakers_->renewed(core_->namespaces(), figure.name, now);
    }
    EdgeReport next{config_.labels, keeper_->link_bytes_per_s(), commands_->health().report(std::move(figures))};
    if (reported_ && *reported_ == next) return;
    reported_ = next;
    core_loop_->take(EdgeReported{std::move(next)});
  }

  void stop() {
    web_.reset();
    keeper_stop();
    if (loop_) loop_->stop();
    if (thread_.joinable()) thread_.join();
    worker_.stop();
    // Nothing runs any more but gRPC's and the disk's threads, which only post.
    server_.reset();
    links_.reset();
    disk_.reset();
    keeper_.reset();
    commands_.reset();
    breakers_.reset();
    core_loop_.reset();
    core_.reset();
    loop_.reset();
    // The page keeps its proofs: they stay true and lapse by time; the hub counts on the lease anyway.
  }
  // The keeper's thread asks the loop; it ends first. The object stays: the loop still calls it.
  void keeper_stop() {
    if (keeper_) keeper_->stop();
    if (model_server_) model_server_->stop();
  }

  const EdgeConfig config_;
  ElapsedClock clock_;
  RedisGauges redis_gauges_;
  Metrics metrics_;
  FolderLock lock_;
  Boot boot_;
  bool had_data_ = false;
  Nanos session_after_ = kNever;
  std::unique_ptr<Kv> kv_;
  std::optional<ArenaWriter> arena_;
  std::optional<PageWriter> page_;
  std::unique_ptr<RemoteStore> remote_;
  std::unique_ptr<L2Store> l2_;
  std::unique_ptr<EdgeCore> core_;
  std::unique_ptr<EventLoop> loop_;
  EdgeWorker worker_;
  std::unique_ptr<OutboxDisk> disk_;
  std::unique_ptr<Links> links_;
  std::unique_ptr<CoreLoop> core_loop_;
  std::unique_ptr<ModelServer> model_server_;  // outlives the keeper, which tells it
  std::unique_ptr<ModelKeeper> keeper_;
  std::unique_ptr<Breakers> breakers_;
  std::unique_ptr<EdgeCommands> commands_;
  std::unique_ptr<RespServer> server_;
  std::unique_ptr<HttpServer> web_;
  EventLoop::Waker reporter_{}, breaker_waker_{};
  std::map<std::string, std::string> in_force_;  // model -> version, as last reported
  std::optional<EdgeReport> reported_;
  std::thread thread_;
};

Edge::Edge(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Edge::~Edge() = default;
std::string Edge::redis_address() const { return impl_->redis_address_; }
std::string Edge::redis_tls_address() const { return impl_->redis_tls_address_; }
std::string Edge::http_address() const { return impl_->http_address(); }

Result<std::unique_ptr<Edge>> Edge::start(EdgeConfig config) {
  auto impl = std::make_unique<Impl>(std::move(config));
  if (auto started = impl->start(); !started) return fail(started.error());
  return std::unique_ptr<Edge>(new Edge(std::move(impl)));
}

}  // namespace tidelock
