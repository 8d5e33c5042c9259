// The server end. One reactor object per running request; each deletes itself (or drops its last reference) in OnDone
// and is counted until then, so that stop() can wait for the last callback.
//
// A session's writes: started outside its mutex by the one thread that set write_in_flight_. Finish is called once,
// when the session has ended and no write is in flight; a write that the peer does not take is cut off by an alarm.
#include <grpcpp/alarm.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>

#include "base/elapsed_clock.h"
#include "wire/grpc/bulk_pool.h"
#include "wire/grpc/fetch_reactor.h"
#include "wire/grpc/internal.h"
#include "wire/grpc/tls_sessions.h"

namespace tidelock {

using wire::Frame;

namespace {

constexpr auto kStuckWrite = std::chrono::milliseconds(500);  // how long an ended session waits for its last write

// What all reactors share. Outlives them: stop() waits for count zero.
class Hall {
 public:
  Hall(const NodeServerOptions& options, NodeService& what)
      : service(what), limits(options), pool(options.bulk_threads) {}
  std::string name() const { return "this " + std::string(role_name(limits.role)); }

  NodeService& service;
  const NodeServerOptions limits;
  const ElapsedClock clock;
  wire::BulkPool pool;

  // Counts one more reactor of a kind, unless there are `limit`.
  bool enter(int& kind, int limit) {
    const std::lock_guard lock(mutex_);
    if (kind >= limit) return false;
    ++kind;
    ++all_;
    return true;
  }
  void leave(int& kind) {
    const std::lock_guard lock(mutex_);
    --kind;
    --all_;
    if (all_ == 0) empty_.notify_all();
  }
  void wait_until_empty() {
    std::unique_lock lock(mutex_);
    empty_.wait(lock, [this] { return all_ == 0; });
  }
  // ---- the fetches that run; each is counted as a transfer, too
  void fetch_begins(const PeerIdentity& peer, wire::FetchReactor* fetch) {
    const std::lock_guard lock(mutex_);
    int before = 0;
    for (const auto& [other, running] : fetches_) before += other == peer ? 1 : 0;
    for (auto it = fetches_.begin(); it != fetches_.end() && before >= limits.fetches_of_peer_max; ++it) {
      if (it->first != peer) continue;
      it->second->cut();
      --before;
    }
    fetches_.emplace_back(peer, fetch);
  }
  void fetch_gone(wire::FetchReactor* fetch) {
    const std::lock_guard lock(mutex_);
    std::erase_if(fetches_, [&](const auto& one) { return one.second == fetch; });
  }
  // Whoever comes next finds room.
  void cut_idle_fetches() {
    const std::lock_guard lock(mutex_);
    const Nanos now = clock.now();
    for (const auto& [peer, fetch] : fetches_) {
      if (saturating_sub(now, fetch->moved_at()) >= limits.fetch_idle_ns) fetch->cut();
    }
  }
  SessionId next_session() { return next_session_.fetch_add(1) + 1; }

  int sessions = 0;   // through enter and leave
  int rafts = 0;      // "
  int calls = 0;      // "
  int transfers = 0;  // "
  int refusals = 0;   // "

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  int all_ = 0;
  std::deque<std::pair<PeerIdentity, wire::FetchReactor*>> fetches_;  // the oldest first
  std::atomic<SessionId> next_session_{0};
};

// ------------------------------------------------------------------------------------------------- sessions

class ServerSession final : public grpc::ServerBidiReactor<Frame, Frame>,
                            public Session,
                            public std::enable_shared_from_this<ServerSession> {
 public:
  ServerSession(Hall& hall, grpc::CallbackServerContext* context, PeerIdentity peer)
      : hall_(hall),
        id_(hall.next_session()),
        peer_(std::move(peer)),
        address_(wire::plain_peer(context->peer())),
        queue_bytes_max_(hall.limits.session_queue_bytes),
        context_(context) {}

  void begin() {
    keep_ = shared_from_this();
    StartSendInitialMetadata();  // tells the edge that it is in
    hall_.service.on_session_open(shared_from_this());
    StartRead(&incoming_);
  }

  SessionId id() const override { return id_; }
  const PeerIdentity& peer() const override { return peer_; }
  const std::string& peer_address() const override { return address_; }
  std::uint64_t bytes_sent() const override { return sent_.load(std::memory_order_relaxed); }
  std::uint64_t bytes_received() const override { return received_.load(std::memory_order_relaxed); }
  std::size_t queued_bytes() const override {
    const std::lock_guard lock(mutex_);
    return queued_bytes_;
  }

  Result<void> send(Bytes frame) override {
    if (auto ok = wire::check_frame_size(frame.size()); !ok) return ok;
    bool full = false;
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return fail(Code::kUnavailable, name() + " has ended: " + reason_);
      if (write_in_flight_) {
        full = queued_bytes_ + frame.size() > queue_bytes_max_;
        if (!full) {
          queued_bytes_ += frame.size();
          queue_.push_back(std::move(frame));
          return {};
        }
      } else {
        write_in_flight_ = true;
      }
    }
    if (full) {
      // The peer does not read: it would not read a farewell either, so the stream is cut.
      end(Error{Code::kBusy, "outgoing queue full", {}, 0}, true);
      return fail(Code::kBusy, name() + ": outgoing queue full (" + std::to_string(queue_bytes_max_) +
                                   " bytes); the session is closed");
    }
    sent_.fetch_add(frame.size(), std::memory_order_relaxed);
    writing_.set_body(std::move(frame));
    StartWrite(&writing_);
    return {};
  }

  void close(std::string reason) override { end(Error{Code::kUnavailable, std::move(reason), {}, 0}, false); }

 private:
  std::string name() const { return "session " + std::to_string(id_) + " of " + identity_name(peer_); }

  void end(Error why, bool cut) {
    bool finish = false;
    {
      const std::lock_guard lock(mutex_);
      if (!ended_) {
        ended_ = true;
        reason_ = why.message;
        status_ = wire::to_status(why);
        queue_.clear();
        queued_bytes_ = 0;
      }
      if (finished_) return;
      if (!write_in_flight_) {
        finished_ = finish = true;
      } else if (cut) {
        context_->TryCancel();
      } else if (!alarm_) {
        alarm_ = std::make_unique<grpc::Alarm>();
        alarm_->Set(std::chrono::system_clock::now() + kStuckWrite, [weak = weak_from_this()](bool fired) {
          if (const auto self = weak.lock(); self && fired) self->cut_off();
        });
      }
    }
    if (finish) Finish(status_);
  }
  void cut_off() {
    const std::lock_guard lock(mutex_);
    if (!finished_) context_->TryCancel();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      end(Error{Code::kUnavailable, "the edge ended the session or was lost", {}, 0}, false);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
    }
    Bytes body = std::move(*incoming_.mutable_body());
    received_.fetch_add(body.size(), std::memory_order_relaxed);
    hall_.service.on_session_frame(id_, std::move(body));
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    bool write = false;
    bool finish = false;
    {
      const std::lock_guard lock(mutex_);
      write_in_flight_ = false;
      if (!ok && !ended_) {
        ended_ = true;
        reason_ = "connection lost";
        status_ = wire::to_status(Error{Code::kUnavailable, reason_, {}, 0});
        queue_.clear();
        queued_bytes_ = 0;
      }
      if (ended_) {
        finish = !finished_;
        finished_ = true;
      } else if (!queue_.empty()) {
        writing_.set_body(std::move(queue_.front()));
        queue_.pop_front();
        queued_bytes_ -= writing_.body().size();
        write_in_flight_ = write = true;
      }
    }
    if (write) {
      sent_.fetch_add(writing_.body().size(), std::memory_order_relaxed);
      StartWrite(&writing_);
    }
    if (finish) Finish(status_);
  }
  void OnCancel() override { end(Error{Code::kUnavailable, "connection lost", {}, 0}, false); }
  void OnDone() override {
    std::string reason;
    {
      const std::lock_guard lock(mutex_);
      reason = reason_;
      alarm_.reset();
    }
    Hall& hall = hall_;
    hall.service.on_session_closed(id_, reason);
    const std::shared_ptr<ServerSession> last = std::move(keep_);
    hall.leave(hall.sessions);
  }

  // Fixed once built. The hall and the context are used by callbacks and, before finished_, by others under the mutex.
  Hall& hall_;
  const SessionId id_;
  const PeerIdentity peer_;
  const std::string address_;
  const std::size_t queue_bytes_max_;
  grpc::CallbackServerContext* const context_;

  Frame incoming_;  // read callbacks only
  Frame writing_;   // whoever set write_in_flight_
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> received_{0};

  mutable std::mutex mutex_;  // guards what follows
  std::deque<Bytes> queue_;
  std::size_t queued_bytes_ = 0;
  bool write_in_flight_ = false;
  bool ended_ = false;     // nothing more goes out or comes in
  bool finished_ = false;  // Finish was called: the context is no longer ours to touch
  std::string reason_;
  grpc::Status status_;  // fixed once ended_
  std::unique_ptr<grpc::Alarm> alarm_;
  std::shared_ptr<ServerSession> keep_;
};

// ------------------------------------------------------------------------------------------------- Raft, refusals

class RaftReactor final : public grpc::ServerBidiReactor<Frame, Frame> {
 public:
  RaftReactor(Hall& hall, NodeId peer) : hall_(hall), peer_(std::move(peer)) {
    StartSendInitialMetadata();
    StartRead(&incoming_);
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    hall_.service.on_raft_frame(peer_, std::move(*incoming_.mutable_body()));
    StartRead(&incoming_);
  }
  void OnDone() override {
    Hall& hall = hall_;
    delete this;
    hall.leave(hall.rafts);
  }
  Hall& hall_;
  const NodeId peer_;
  Frame incoming_;
};

// Answers any kind of request with an error.
template <class Reactor>
class Refusal final : public Reactor {
 public:
  Refusal(Hall& hall, const Error& error) : hall_(hall) { this->Finish(wire::to_status(error)); }

 private:
  void OnDone() override {
    Hall& hall = hall_;
    delete this;
    hall.leave(hall.refusals);
  }
  Hall& hall_;
};

template <class Reactor>
Reactor* refuse(Hall& hall, const Error& error) {
  hall.enter(hall.refusals, std::numeric_limits<int>::max());
  return new Refusal<Reactor>(hall, error);
}

// ------------------------------------------------------------------------------------------------- calls

// The one answer to a request: whoever comes first, the handler, a cancellation or the last copy of the Reply going
// away.
class ReplyCell {
 public:
  explicit ReplyCell(std::function<void(Result<Bytes>)> finish) : finish_(std::move(finish)) {}
  ~ReplyCell() { answer(fail(Code::kMaybeApplied, "the hub dropped the request without an answer")); }
  void answer(Result<Bytes> result) {
    std::function<void(Result<Bytes>)> finish;
    {
      const std::lock_guard lock(mutex_);
      finish.swap(finish_);
    }
    if (!finish) return;
    if (result) {
      if (auto ok = wire::check_frame_size(result->size()); !ok) result = fail(ok.error());
    }
    finish(std::move(result));
  }
  static Reply reply_of(std::shared_ptr<ReplyCell> cell) {
    return [cell = std::move(cell)](Result<Bytes> result) { cell->answer(std::move(result)); };
  }

 private:
  std::mutex mutex_;
  std::function<void(Result<Bytes>)> finish_;  // holds a reactor that lives until it is called
};

class CallReactor final : public grpc::ServerUnaryReactor {
 public:
  CallReactor(Hall& hall, Frame* response) : hall_(hall), response_(response) {}
  void begin(const PeerIdentity& peer, Bytes request) {
    auto cell = std::make_shared<ReplyCell>([this](Result<Bytes> result) {
      if (result) response_->set_body(std::move(*result));
      Finish(result ? grpc::Status::OK : wire::to_status(result.error()));
    });
    cell_ = cell;  // OnCancel may run from here on, but not OnDone: that needs the answer
    hall_.service.on_call(peer, std::move(request), ReplyCell::reply_of(std::move(cell)));
  }

 private:
  void OnCancel() override {
    if (const auto cell = cell_.lock()) cell->answer(fail(Code::kMaybeApplied, "the caller gave up"));
  }
  void OnDone() override {
    Hall& hall = hall_;
    delete this;
    hall.leave(hall.calls);
  }
  Hall& hall_;
  Frame* const response_;
  std::weak_ptr<ReplyCell> cell_;
};

// ------------------------------------------------------------------------------------------------- downloads

class DownloadReactor final : public grpc::ServerWriteReactor<Frame> {
 public:
  DownloadReactor(Hall& hall, PeerIdentity peer, Bytes request) : hall_(hall) {
    hall_.pool.post([this, peer = std::move(peer), request = std::move(request)]() mutable {
      auto source = hall_.service.on_download(peer, std::move(request));
      if (!source) {
        Finish(wire::to_status(source.error()));
        return;
      }
      source_ = std::move(*source);
      next();
    });
  }

 private:
  void next() {  // on the pool, never twice at once: the next is posted when the write before it is done
    if (cancelled_.load()) {
      Finish(grpc::Status::CANCELLED);
      return;
    }
    auto chunk = source_();
    if (chunk && *chunk) {
      if (auto ok = wire::check_frame_size((*chunk)->size()); !ok) chunk = fail(ok.error());
    }
    if (!chunk) {
      Finish(wire::to_status(chunk.error()));
    } else if (!*chunk) {
      Finish(grpc::Status::OK);
    } else {
      frame_.set_body(std::move(**chunk));
      StartWrite(&frame_);
    }
  }
  void OnWriteDone(bool ok) override {
    if (!ok) cancelled_.store(true);
    hall_.pool.post([this] { next(); });
  }
  void OnCancel() override { cancelled_.store(true); }
  void OnDone() override {
    Hall& hall = hall_;
    delete this;
    hall.leave(hall.transfers);
  }
  Hall& hall_;
  ChunkSource source_;  // the pool's
  Frame frame_;
  std::atomic<bool> cancelled_{false};
};

// ------------------------------------------------------------------------------------------------- uploads

class UploadReactor final : public grpc::ServerReadReactor<Frame> {
 public:
  UploadReactor(Hall& hall, PeerIdentity peer, Frame* response)
      : hall_(hall), peer_(std::move(peer)), response_(response) {
    StartRead(&frame_);
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {  // without a frame marked last the upload is broken, however politely the stream ended
      hall_.pool.post([this] {
        consumer_.reset();
        Finish(wire::to_status(Error{Code::kInvalid, "upload ended without its last frame", {}, 0}));
      });
      return;
    }
    hall_.pool.post([this] { take(); });
  }
  void take() {  // on the pool, never twice at once
    const bool last = frame_.last();
    Bytes body = std::move(*frame_.mutable_body());
    if (!consumer_) {
      auto consumer = hall_.service.on_upload(peer_, std::move(body));
      if (!consumer) {
        Finish(wire::to_status(consumer.error()));
        return;
      }
      consumer_ = std::move(*consumer);
    } else if (!body.empty()) {
      if (auto ok = consumer_->chunk(std::move(body)); !ok) {
        consumer_.reset();
        Finish(wire::to_status(ok.error()));
        return;
      }
    }
    if (!last) {
      StartRead(&frame_);
      return;
    }
    auto cell = std::make_shared<ReplyCell>([this](Result<Bytes> result) {
      if (result) response_->set_body(std::move(*result));
      Finish(result ? grpc::Status::OK : wire::to_status(result.error()));
    });
    bool cancelled = false;
    {
      const std::lock_guard lock(mutex_);
      cell_ = cell;
      cancelled = cancelled_;
    }
    // The consumer leaves this object: once it has answered, OnDone may come at any time.
    const std::unique_ptr<UploadConsumer> consumer = std::move(consumer_);
    if (cancelled) {
      cell->answer(fail(Code::kMaybeApplied, "the caller gave up"));
    } else {
      consumer->finish(ReplyCell::reply_of(std::move(cell)));
    }
  }
  void OnCancel() override {
    std::shared_ptr<ReplyCell> cell;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      cell = cell_.lock();
    }
    if (cell) cell->answer(fail(Code::kMaybeApplied, "the caller gave up"));
  }
  void OnDone() override {
    Hall& hall = hall_;
    delete this;
    hall.leave(hall.transfers);
  }
  Hall& hall_;
  const PeerIdentity peer_;
  Frame* const response_;
  Frame frame_;
  std::unique_ptr<UploadConsumer> consumer_;  // the pool's
  std::mutex mutex_;                          // guards what follows
  bool cancelled_ = false;
  std::weak_ptr<ReplyCell> cell_;
};

// ------------------------------------------------------------------------------------------------- the service

class Door final : public v1::Node::CallbackService {
 public:
  explicit Door(Hall& hall) : hall_(hall) {}

  grpc::ServerBidiReactor<Frame, Frame>* Session(grpc::CallbackServerContext* context) override {
    using Reactor = grpc::ServerBidiReactor<Frame, Frame>;
    auto peer = admit(context, "a session", {NodeRole::kEdge});
    if (!peer) return refuse<Reactor>(hall_, peer.error());
    if (!hall_.enter(hall_.sessions, hall_.limits.sessions_max)) {
      return refuse<Reactor>(hall_, busy("sessions", hall_.limits.sessions_max));
    }
    const auto session = std::make_shared<ServerSession>(hall_, context, std::move(*peer));
    session->begin();
    return session.get();
  }
  grpc::ServerBidiReactor<Frame, Frame>* Raft(grpc::CallbackServerContext* context) override {
    using Reactor = grpc::ServerBidiReactor<Frame, Frame>;
    auto peer = admit(context, "a Raft stream", {NodeRole::kHub});
    if (!peer) return refuse<Reactor>(hall_, peer.error());
    if (!hall_.enter(hall_.rafts, kRaftStreamsMax))
      return refuse<Reactor>(hall_, busy("Raft streams", kRaftStreamsMax));
    return new RaftReactor(hall_, std::move(peer->id));
  }
  grpc::ServerUnaryReactor* Call(grpc::CallbackServerContext* context, const Frame* request, Frame* response) override {
    auto peer = admit(context, "a call", {NodeRole::kHub, NodeRole::kEdge, NodeRole::kClient}, {NodeRole::kEdge});
    if (!peer) return refuse<grpc::ServerUnaryReactor>(hall_, peer.error());
    if (!hall_.enter(hall_.calls, hall_.limits.calls_max)) {
      return refuse<grpc::ServerUnaryReactor>(hall_, busy("calls", hall_.limits.calls_max));
    }
    auto* reactor = new CallReactor(hall_, response);
    reactor->begin(*peer, request->body());
    return reactor;
  }
  grpc::ServerWriteReactor<Frame>* Download(grpc::CallbackServerContext* context, const Frame* request) override {
    using Reactor = grpc::ServerWriteReactor<Frame>;
    auto peer = admit(context, "a download", {NodeRole::kHub, NodeRole::kEdge, NodeRole::kClient});
    if (!peer) return refuse<Reactor>(hall_, peer.error());
    if (!hall_.enter(hall_.transfers, hall_.limits.transfers_max)) {
      return refuse<Reactor>(hall_, busy("transfers", hall_.limits.transfers_max));
    }
    return new DownloadReactor(hall_, std::move(*peer), request->body());
  }
  grpc::ServerBidiReactor<Frame, Frame>* Fetch(grpc::CallbackServerContext* context) override {
    using Reactor = grpc::ServerBidiReactor<Frame, Frame>;
    auto peer = admit(context, "a fetch", {NodeRole::kHub, NodeRole::kEdge, NodeRole::kClient}, {NodeRole::kEdge});
    if (!peer) return refuse<Reactor>(hall_, peer.error());
    if (!hall_.enter(hall_.transfers, hall_.limits.transfers_max)) {
      hall_.cut_idle_fetches();
      return refuse<Reactor>(hall_, busy("transfers", hall_.limits.transfers_max));
    }
    auto* fetch = new wire::FetchReactor(
        context, hall_.pool, hall_.clock,
        [this, who = *peer](Bytes first, std::function<void()> more) {
          return hall_.service.on_fetch(who, std::move(first), std::move(more));
        },
        [hall = &hall_](wire::FetchReactor* gone) { hall->fetch_gone(gone); },
        [hall = &hall_] { hall->leave(hall->transfers); });
    hall_.fetch_begins(*peer, fetch);
    return fetch;
  }
  grpc::ServerReadReactor<Frame>* Upload(grpc::CallbackServerContext* context, Frame* response) override {
    using Reactor = grpc::ServerReadReactor<Frame>;
    auto peer = admit(context, "an upload", {NodeRole::kHub, NodeRole::kEdge, NodeRole::kClient});
    if (!peer) return refuse<Reactor>(hall_, peer.error());
    if (!hall_.enter(hall_.transfers, hall_.limits.transfers_max)) {
      return refuse<Reactor>(hall_, busy("transfers", hall_.limits.transfers_max));
    }
    return new UploadReactor(hall_, std::move(*peer), response);
  }

 private:
  static constexpr int kRaftStreamsMax = 64;  // 4 peers, and old streams of theirs that are about to end

  Error busy(const char* what, int limit) const {
    return Error{
        Code::kBusy, hall_.name() + " serves " + std::to_string(limit) + " " + what + " already", {}, 1'000'000'000};
  }
  // Who may ask a hub for it, and who an edge. On a resumed connection, too, each request is judged by the name (X1).
  Result<PeerIdentity> admit(grpc::CallbackServerContext* context, const char* what,
                             std::initializer_list<NodeRole> of_hub, std::initializer_list<NodeRole> of_edge = {}) {
    const auto& roles = hall_.limits.role == NodeRole::kHub ? of_hub : of_edge;
    auto peer = wire::peer_identity(*context->auth_context());
    if (peer && std::find(roles.begin(), roles.end(), peer->role) == roles.end()) {
      peer = fail(Code::kDenied, identity_name(*peer) + " may not open " + what);
    }
    if (!peer) hall_.service.on_refused(wire::plain_peer(context->peer()), peer.error().message);
    return peer;
  }
  Hall& hall_;
};

}  // namespace

struct NodeServer::Impl {
  Impl(const NodeServerOptions& options, NodeService& service) : hall(options, service), door(hall) {}
  Hall hall;
  Door door;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::once_flag stopped;
};

NodeServer::NodeServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<NodeServer>> NodeServer::start(NodeServerOptions options, NodeService& service) {
  if (options.port < 0 || options.port > 65'535) {
    return fail(Code::kInvalid, "listen port " + std::to_string(options.port) + ": want 0 to 65535");
  }
  if (options.bulk_threads < 1 || options.bulk_threads > 64) {
    return fail(Code::kInvalid, "bulk_threads " + std::to_string(options.bulk_threads) + ": want 1 to 64");
  }
  const auto tls = wire::load_tls(options.tls);
  if (!tls) return fail(tls.error());
  if (options.role == NodeRole::kClient || tls->self.role != options.role) {
    return fail(Code::kInvalid, "certificate file \"" + options.tls.certificate_file + "\" is of " +
                                    identity_name(tls->self) + ": only a hub serves" +
                                    (options.role == NodeRole::kEdge ? ", or an edge its neighbours" : ""));
  }
  grpc::SslServerCredentialsOptions credentials(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  credentials.pem_root_certs = tls->ca;
  credentials.pem_key_cert_pairs.push_back({tls->key, tls->certificate});

  wire::pin_callback_queue();
  auto impl = std::make_unique<Impl>(options, service);
  const wire::ServerSessions sessions(wire::kServerSessionsMax);
  grpc::ServerBuilder builder;
  const bool v6 = options.host.find(':') != std::string::npos;
  builder.AddListeningPort((v6 ? "[" + options.host + "]" : options.host) + ":" + std::to_string(options.port),
                           grpc::SslServerCredentials(credentials), &impl->port);
  builder.RegisterService(&impl->door);
  builder.SetMaxReceiveMessageSize(static_cast<int>(wire::kMessageBytesMax));
  builder.SetMaxSendMessageSize(static_cast<int>(wire::kMessageBytesMax));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // else a second hub would silently share the port
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, options.keepalive.idle_ms);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options.keepalive.timeout_ms);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 256);
  impl->server = builder.BuildAndStart();
  if (!impl->server || impl->port == 0) {
    if (impl->server) impl->server->Shutdown();
    return fail(wire::why_not_listening(options.host, options.port));
  }
  return std::unique_ptr<NodeServer>(new NodeServer(std::move(impl)));
}

NodeServer::~NodeServer() { stop(); }
int NodeServer::port() const { return impl_->port; }
std::string NodeServer::address() const {
  const std::string& host = impl_->hall.limits.host;
  return (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":" + std::to_string(impl_->port);
}

void NodeServer::stop() {
  std::call_once(impl_->stopped, [this] {
    impl_->server->Shutdown(std::chrono::system_clock::now());  // cancels every request
    impl_->hall.wait_until_empty();
    impl_->hall.pool.stop();  // a consumer may outlive its request by a moment
    impl_->server->Wait();
  });
}

}  // namespace tidelock
