// One Link per peer, with a number: what a stream of an earlier link to that peer still has to say is not heard. A
// single thread opens streams when they are due; everything else happens in gRPC's callbacks.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
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
    std::uint64_t number = 0;
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
  std::map<NodeId, Link> links;
  std::uint64_t links_total = 0;
  std::uint64_t dropped_before = 0;  // by links that are gone
  bool stopping = false;
  int live = 0;  // streams whose on_closed has not returned
  Rng rng{1};
  std::thread thread;

  void run();
  void open(const NodeId& id, std::unique_lock<std::mutex>& lock);
  void on_open(const NodeId& id, std::uint64_t number);
  void on_closed(const NodeId& id, std::uint64_t number, const Error& why);
  Link* find(const NodeId& id, std::uint64_t number);
  void add(const RaftPeer& peer);
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
  const auto found = links.find(id);
  if (stopping || found == links.end()) return;
  const RaftPeer peer = found->second.peer;
  const std::uint64_t number = found->second.number;
  lock.unlock();
  SessionCallbacks callbacks;
  callbacks.on_open = [this, id, number](const PeerIdentity&) { on_open(id, number); };
  callbacks.on_closed = [this, id, number](const Error& why) { on_closed(id, number, why); };
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
  Link* link = find(id, number);
  if (stopping || link == nullptr) return;
  if (!stream) {  // the files were good at start: one is being replaced; try again
    link->due = std::chrono::steady_clock::now() + std::chrono::milliseconds(options.reconnect_max_ms);
    return;
  }
  link->stream = *stream;
  ++live;
  lock.unlock();
  (*stream)->start();
  lock.lock();
}

RaftPeers::Impl::Link* RaftPeers::Impl::find(const NodeId& id, std::uint64_t number) {
  const auto found = links.find(id);
  return found != links.end() && found->second.number == number ? &found->second : nullptr;
}

void RaftPeers::Impl::add(const RaftPeer& peer) {
  Link& link = links[peer.id];
  link.peer = peer;
  link.number = ++links_total;
  link.backoff_ms = options.reconnect_min_ms;
}

void RaftPeers::Impl::on_open(const NodeId& id, std::uint64_t number) {
  {
    const std::lock_guard lock(mutex);
    Link* link = find(id, number);
    if (link == nullptr) return;
    link->up = true;
    link->said_down = false;
    link->backoff_ms = options.reconnect_min_ms;
  }
  if (on_link) on_link(id, true, "");
}

void RaftPeers::Impl::on_closed(const NodeId& id, std::uint64_t number, const Error& why) {
  bool tell = false;
  {
    const std::lock_guard lock(mutex);
    if (Link* found = find(id, number)) {
      Link& link = *found;
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
  }
  if (tell && on_link) on_link(id, false, why.message);
  const std::lock_guard lock(mutex);
  --live;
  wake.notify_all();
}

RaftPeers::RaftPeers(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

static Result<void> check_peers(const std::vector<RaftPeer>& peers) {
  std::set<NodeId> seen;
  for (const RaftPeer& peer : peers) {
    if (auto ok = check_node_id(peer.id); !ok) return ok;
    if (auto ok = wire::parse_address(peer.address); !ok) return fail(ok.error());
    if (!seen.insert(peer.id).second) return fail(Code::kInvalid, "peer \"" + peer.id + "\" is named twice");
  }
  return {};
}

Result<void> RaftPeers::set_peers(const std::vector<RaftPeer>& peers) {
  if (auto ok = check_peers(peers); !ok) return ok;
  std::vector<std::shared_ptr<wire::ClientStream>> ended;
  {
    const std::lock_guard lock(impl_->mutex);
    for (auto it = impl_->links.begin(); it != impl_->links.end();) {
      const Impl::Link& link = it->second;
      const bool stays = std::any_of(peers.begin(), peers.end(), [&](const RaftPeer& peer) {
        return peer.id == link.peer.id && peer.address == link.peer.address;
      });
      if (stays) {
        ++it;
        continue;
      }
      if (link.stream) ended.push_back(link.stream);
      impl_->dropped_before += link.dropped_before + (link.stream ? link.stream->dropped() : 0);
      it = impl_->links.erase(it);
    }
    for (const RaftPeer& peer : peers) {
      if (!impl_->links.contains(peer.id)) impl_->add(peer);
    }
  }
  impl_->wake.notify_all();
  for (const auto& stream : ended) stream->close("no longer a peer");
  return {};
}

Result<std::unique_ptr<RaftPeers>> RaftPeers::start(RaftPeersOptions options, OnLink on_link) {
  if (const auto tls = wire::load_tls(options.tls); !tls) return fail(tls.error());
  if (options.reconnect_min_ms < 1 || options.reconnect_max_ms < options.reconnect_min_ms) {
    return fail(Code::kInvalid, "reconnect_min_ms " + std::to_string(options.reconnect_min_ms) +
                                    ": want at least 1 and at most reconnect_max_ms, " +
                                    std::to_string(options.reconnect_max_ms));
  }
  auto impl = std::make_unique<Impl>();
  if (auto ok = check_peers(options.peers); !ok) return fail(ok.error());
  impl->rng = Rng(options.seed);
  impl->options = std::move(options);
  impl->on_link = std::move(on_link);
  for (const RaftPeer& peer : impl->options.peers) impl->add(peer);
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
  std::uint64_t sum = impl_->dropped_before;
  for (const auto& [id, link] : impl_->links) sum += link.dropped_before + (link.stream ? link.stream->dropped() : 0);
  return sum;
}

}  // namespace tidelock
