// One Link per peer. A single thread opens streams when they are due; everything else happens in gRPC's callbacks.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "base/rng.h"
#include "wire/grpc/client_stream.h"

namespace tidelock {
namespace {
using SteadyTime = std::chrono::steady_clock::time_point;  // when to try again decides nothing that must hold
}

struct RaftPeers::Impl {
  struct Link {
    RaftPeer peer;
    std::shared_ptr<wire::ClientStream> stream;  // null: waiting for `due`
    bool up = false;
    bool said_down = false;  // on_link has heard of this outage
    int backoff_ms = 0;
    SteadyTime due{};
    std::uint64_t dropped_before = 0;  // by earlier streams, and while there was none
  };

  RaftPeersOptions options;
  OnLink on_link;

  mutable std::mutex mutex;
  std::condition_variable wake;
  std::map<NodeId, Link> links;  // the set is fixed; the links are guarded by the mutex
  bool stopping = false;
  int live = 0;  // streams whose on_closed has not returned
  Rng rng{1};
  std::thread thread;

  void run();
  void open(const NodeId& id, std::unique_lock<std::mutex>& lock);
  void on_open(const NodeId& id);
  void on_closed(const NodeId& id, const Error& why);
};

void RaftPeers::Impl::run() {
  std::unique_lock lock(mutex);
  while (!stopping) {
    auto next = SteadyTime::max();
    std::vector<NodeId> due;
    const auto now = std::chrono::steady_clock::now();
    for (auto& [id, link] : links) {
      if (link.stream) continue;
      if (link.due <= now) {
        due.push_back(id);
      } else {
        next = std::min(next, link.due);
      }
    }
    for (const NodeId& id : due) open(id, lock);
    if (!due.empty()) continue;  // the lock was released meanwhile: look again
    if (next == SteadyTime::max()) {
      wake.wait(lock);
    } else {
      wake.wait_until(lock, next);
    }
  }
}

void RaftPeers::Impl::open(const NodeId& id, std::unique_lock<std::mutex>& lock) {
  if (stopping) return;
  const RaftPeer peer = links[id].peer;
  lock.unlock();
  SessionCallbacks callbacks;
  callbacks.on_open = [this, id](const PeerIdentity&) { on_open(id); };
  callbacks.on_closed = [this, id](const Error& why) { on_closed(id, why); };
  Result<std::shared_ptr<wire::ClientStream>> stream = fail(Code::kInvalid, "");
  if (const auto tls = wire::load_tls(options.tls); tls) {
    stream = wire::ClientStream::make(*tls,
                                      {wire::StreamKind::kRaft,
                                       {peer.address, peer.id, options.keepalive, options.connect_timeout_ms},
                                       options.queue_bytes,
                                       wire::WhenFull::kDropOldest},
                                      std::move(callbacks));
  }
  lock.lock();
  if (!stream || stopping) {  // the files were good at start: one is being replaced; try again
    links[id].due = std::chrono::steady_clock::now() + std::chrono::milliseconds(options.reconnect_max_ms);
    return;
  }
  links[id].stream = *stream;
  ++live;
  lock.unlock();
  (*stream)->start();
  lock.lock();
}

void RaftPeers::Impl::on_open(const NodeId& id) {
  {
    const std::lock_guard lock(mutex);
    Link& link = links[id];
    link.up = true;
    link.said_down = false;
    link.backoff_ms = options.reconnect_min_ms;
  }
  if (on_link) on_link(id, true, "");
}

void RaftPeers::Impl::on_closed(const NodeId& id, const Error& why) {
  bool tell = false;
  {
    const std::lock_guard lock(mutex);
    Link& link = links[id];
    tell = !link.said_down && !stopping;
    link.said_down = true;
    link.up = false;
    const int span = std::max(1, link.backoff_ms);
    const int wait_ms = span / 2 + static_cast<int>(rng.below(static_cast<std::uint64_t>(span - span / 2 + 1)));
    link.backoff_ms = std::min(options.reconnect_max_ms, span * 2);
    link.due = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
    if (link.stream) link.dropped_before += link.stream->dropped();
    link.stream.reset();  // the stream keeps itself alive until its last callback has returned
  }
  if (tell && on_link) on_link(id, false, why.message);
  const std::lock_guard lock(mutex);
  --live;
  wake.notify_all();
}

RaftPeers::RaftPeers(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<RaftPeers>> RaftPeers::start(RaftPeersOptions options, OnLink on_link) {
  if (const auto tls = wire::load_tls(options.tls); !tls) return fail(tls.error());
  if (options.reconnect_min_ms < 1 || options.reconnect_max_ms < options.reconnect_min_ms) {
    return fail(Code::kInvalid, "reconnect_min_ms " + std::to_string(options.reconnect_min_ms) +
                                    ": want at least 1 and at most reconnect_max_ms");
  }
  auto impl = std::make_unique<Impl>();
  for (const RaftPeer& peer : options.peers) {
    if (auto ok = check_node_id(peer.id); !ok) return fail(ok.error());
    if (auto ok = wire::parse_address(peer.address); !ok) return fail(ok.error());
    Impl::Link link;
    link.peer = peer;
    link.backoff_ms = options.reconnect_min_ms;
    if (!impl->links.emplace(peer.id, std::move(link)).second) {
      return fail(Code::kInvalid, "peer \"" + peer.id + "\" is named twice");
    }
  }
  impl->rng = Rng(options.seed);
  impl->options = std::move(options);
  impl->on_link = std::move(on_link);
  Impl* raw = impl.get();
  impl->thread = std::thread([raw] { raw->run(); });
  return std::unique_ptr<RaftPeers>(new RaftPeers(std::move(impl)));
}

RaftPeers::~RaftPeers() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_all();
  impl_->thread.join();
  std::vector<std::shared_ptr<wire::ClientStream>> streams;
  {
    const std::lock_guard lock(impl_->mutex);
    for (auto& [id, link] : impl_->links) streams.push_back(link.stream);
  }
  for (const auto& stream : streams) {
    if (stream) stream->close("this hub stops");
  }
  std::unique_lock lock(impl_->mutex);
  impl_->wake.wait(lock, [this] { return impl_->live == 0; });
}

bool RaftPeers::send(const NodeId& peer, Bytes frame) {
  if (!wire::check_frame_size(frame.size())) return false;
  std::shared_ptr<wire::ClientStream> stream;
  {
    const std::lock_guard lock(impl_->mutex);
    const auto found = impl_->links.find(peer);
    if (found == impl_->links.end()) return false;
    stream = found->second.stream;
    if (!stream) ++found->second.dropped_before;
  }
  if (stream) static_cast<void>(stream->send(std::move(frame)));  // ended meanwhile: dropped, as Raft allows
  return true;
}

bool RaftPeers::up(const NodeId& peer) const {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->links.find(peer);
  return found != impl_->links.end() && found->second.up;
}

std::uint64_t RaftPeers::dropped() const {
  const std::lock_guard lock(impl_->mutex);
  std::uint64_t sum = 0;
  for (const auto& [id, link] : impl_->links) sum += link.dropped_before + (link.stream ? link.stream->dropped() : 0);
  return sum;
}

}  // namespace tidelock
