// One outgoing bidirectional stream on a channel of its own: the common part of SessionClient and RaftPeers.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "wire/grpc/internal.h"

namespace tidelock::wire {

enum class StreamKind { kSession, kRaft };
enum class WhenFull { kClose, kDropOldest };

struct StreamOptions {
  StreamKind kind = StreamKind::kSession;
  ChannelOptions channel;
  std::size_t queue_bytes = 0;
  WhenFull when_full = WhenFull::kClose;
};

class ClientStream final : public grpc::ClientBidiReactor<Frame, Frame>,
                           public std::enable_shared_from_this<ClientStream> {
 public:
  // Two steps, so that the owner can store the stream before a callback looks for it.
  static Result<std::shared_ptr<ClientStream>> make(const LoadedTls& tls, StreamOptions options,
                                                    SessionCallbacks callbacks);
  void start();  // once
  Result<void> send(Bytes frame);
  void close(std::string why);
  // Cancels and waits until on_closed has returned. After start; not from a callback.
  void close_and_wait();
  std::uint64_t bytes_sent() const { return sent_.load(std::memory_order_relaxed); }
  std::uint64_t bytes_received() const { return received_.load(std::memory_order_relaxed); }
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  ClientStream(StreamOptions options, SessionCallbacks callbacks)
      : options_(std::move(options)), callbacks_(std::move(callbacks)) {}
  void OnReadInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  void read_side_over();
  bool take_hold_locked();  // true once: the caller must RemoveHold after unlocking

  // Fixed once open.
  const StreamOptions options_;
  const SessionCallbacks callbacks_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Node::Stub> stub_;
  grpc::ClientContext context_;

  Frame incoming_;  // touched by read callbacks only
  Frame writing_;   // touched by whoever set write_in_flight_
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> dropped_{0};

  std::mutex mutex_;  // guards what follows
  std::condition_variable over_;
  std::deque<Bytes> queue_;
  std::size_t queued_bytes_ = 0;
  bool write_in_flight_ = false;
  bool open_ = false;   // the hub has accepted: writes may go
  bool ended_ = false;  // no further frame goes out or comes in
  bool read_over_ = false;
  bool held_ = true;  // keeps OnDone away while a write may still be started from outside
  bool done_ = false;
  std::string closed_here_;  // why, when it was us
  std::shared_ptr<ClientStream> keep_;
};

}  // namespace tidelock::wire
