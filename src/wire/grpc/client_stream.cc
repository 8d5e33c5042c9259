// Writes are started outside the mutex by the one thread that set write_in_flight_; all others queue behind it, so
// order is kept and no gRPC call is made under a lock except TryCancel, which runs no callback of ours. gRPC may end
// the call by itself, so a hold keeps the object from OnDone until reading is over *and* no write is in flight.
#include "wire/grpc/client_stream.h"

namespace tidelock::wire {

Result<std::shared_ptr<ClientStream>> ClientStream::make(const LoadedTls& tls, StreamOptions options,
                                                         SessionCallbacks callbacks) {
  auto channel = make_channel(tls, options.channel);
  if (!channel) return fail(channel.error());
  std::shared_ptr<ClientStream> stream(new ClientStream(std::move(options), std::move(callbacks)));
  stream->channel_ = std::move(*channel);
  stream->stub_ = v1::Node::NewStub(stream->channel_);
  return stream;
}

void ClientStream::start() {
  keep_ = shared_from_this();
  if (options_.kind == StreamKind::kSession) {
    stub_->async()->Session(&context_, this);
  } else {
    stub_->async()->Raft(&context_, this);
  }
  AddHold();
  StartCall();
}

Result<void> ClientStream::send(Bytes frame) {
  if (auto ok = check_frame_size(frame.size()); !ok) return ok;
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return fail(Code::kUnavailable, options_.channel.address + ": the stream has ended");
    if (write_in_flight_ || !open_) {
      if (queued_bytes_ + frame.size() > options_.queue_bytes && options_.when_full == WhenFull::kClose) {
        ended_ = true;
        closed_here_ = "outgoing queue full";
        context_.TryCancel();
        return fail(Code::kBusy, options_.channel.address + ": outgoing queue full (" +
                                     std::to_string(options_.queue_bytes) + " bytes); the stream is closed");
      }
      queued_bytes_ += frame.size();
      queue_.push_back(std::move(frame));
      while (queued_bytes_ > options_.queue_bytes) {
        queued_bytes_ -= queue_.front().size();
        queue_.pop_front();
        dropped_.fetch_add(1, std::memory_order_relaxed);
      }
      return {};
    }
    write_in_flight_ = true;
  }
  sent_.fetch_add(frame.size(), std::memory_order_relaxed);
  writing_.set_body(std::move(frame));
  StartWrite(&writing_);
  return {};
}

void ClientStream::close(std::string why) {
  const std::lock_guard lock(mutex_);
  if (ended_) return;
  ended_ = true;
  closed_here_ = std::move(why);
  context_.TryCancel();
}

void ClientStream::close_and_wait() {
  close("closed here");
  std::unique_lock lock(mutex_);
  over_.wait(lock, [this] { return done_; });
}

bool ClientStream::take_hold_locked() {
  if (!held_ || !read_over_ || write_in_flight_) return false;
  held_ = false;
  return true;
}

void ClientStream::read_side_over() {
  bool release = false;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    read_over_ = true;
    release = take_hold_locked();
  }
  if (release) RemoveHold();
}

void ClientStream::OnReadInitialMetadataDone(bool ok) {
  if (!ok) {
    read_side_over();
    return;
  }
  const auto hub = peer_identity(*context_.auth_context());
  if (!hub || hub->role != NodeRole::kHub) {  // TLS has checked the name already; this guards against two names
    close(hub ? "the peer is " + identity_name(*hub) + ", not a hub" : hub.error().message);
    read_side_over();
    return;
  }
  if (callbacks_.on_open) callbacks_.on_open(*hub);
  StartRead(&incoming_);
  bool write = false;
  {
    const std::lock_guard lock(mutex_);
    open_ = true;
    if (!ended_ && !queue_.empty()) {  // frames that were sent before the stream stood
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
}

void ClientStream::OnReadDone(bool ok) {
  if (!ok) {
    read_side_over();
    return;
  }
  bool deliver = false;
  {
    const std::lock_guard lock(mutex_);
    deliver = !ended_;
  }
  if (deliver) {
    Bytes body = std::move(*incoming_.mutable_body());
    received_.fetch_add(body.size(), std::memory_order_relaxed);
    if (callbacks_.on_frame) callbacks_.on_frame(std::move(body));
  }
  StartRead(&incoming_);
}

void ClientStream::OnWriteDone(bool ok) {
  bool write = false;
  bool release = false;
  {
    const std::lock_guard lock(mutex_);
    write_in_flight_ = false;
    if (ok && !ended_ && !queue_.empty()) {
      writing_.set_body(std::move(queue_.front()));
      queue_.pop_front();
      queued_bytes_ -= writing_.body().size();
      write_in_flight_ = write = true;
    }
    if (!ok) ended_ = true;
    release = take_hold_locked();
  }
  if (write) {
    sent_.fetch_add(writing_.body().size(), std::memory_order_relaxed);
    StartWrite(&writing_);
  }
  if (release) RemoveHold();
}

void ClientStream::OnDone(const grpc::Status& status) {
  Error why;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    queue_.clear();
    queued_bytes_ = 0;
    const std::string& address = options_.channel.address;
    if (!closed_here_.empty()) {
      why = Error{Code::kUnavailable, address + ": " + closed_here_, {}, 0};
    } else if (status.ok()) {
      why = Error{Code::kUnavailable, address + ": the peer ended the stream", {}, 0};
    } else {
      why = from_status(status, address);
      // Whether a frame was handled is the protocol's to find out; the stream itself is simply gone.
      if (why.code == Code::kMaybeApplied) why.code = Code::kUnavailable;
    }
  }
  if (callbacks_.on_closed) callbacks_.on_closed(why);
  std::shared_ptr<ClientStream> last;
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
    over_.notify_all();
    last = std::move(keep_);
  }
}

}  // namespace tidelock::wire

namespace tidelock {

struct SessionClient::Impl {
  std::shared_ptr<wire::ClientStream> stream;
};

Result<std::unique_ptr<SessionClient>> SessionClient::connect(SessionClientOptions options,
                                                              SessionCallbacks callbacks) {
  const auto tls = wire::load_tls(options.tls);
  if (!tls) return fail(tls.error());
  wire::StreamOptions stream_options{
      wire::StreamKind::kSession,
      {options.address, options.expected_hub, options.keepalive, options.connect_timeout_ms},
      options.queue_bytes,
      wire::WhenFull::kClose};
  auto stream = wire::ClientStream::make(*tls, std::move(stream_options), std::move(callbacks));
  if (!stream) return fail(stream.error());
  auto impl = std::make_shared<Impl>();
  impl->stream = std::move(*stream);
  impl->stream->start();
  return std::unique_ptr<SessionClient>(new SessionClient(std::move(impl)));
}

SessionClient::SessionClient(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
SessionClient::~SessionClient() { impl_->stream->close_and_wait(); }
Result<void> SessionClient::send(Bytes frame) { return impl_->stream->send(std::move(frame)); }
void SessionClient::close() { impl_->stream->close("closed here"); }
std::uint64_t SessionClient::bytes_sent() const { return impl_->stream->bytes_sent(); }
std::uint64_t SessionClient::bytes_received() const { return impl_->stream->bytes_received(); }

}  // namespace tidelock
