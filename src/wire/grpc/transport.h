// How nodes talk to each other: gRPC streams under mutual TLS, always. Bodies are opaque bytes of at most
// kFrameBytesMax.
//
// Identity: TLS checks both certificates against the CA; the name in a certificate binds it to a role and a node id
// (codec/certificate.h). The server refuses a session from anything but an edge and a Raft stream from anything but a
// hub; clients accept only a hub, and only the expected one where an id is given. An edge serves calls and fetches to
// other edges; who asks it expects it by its id. Connections resume the TLS session of the one before (tls_sessions.h).
//
// Threads:  methods may be called from any thread unless said otherwise. Callbacks come from gRPC's threads (few: they
//           must not block) except those marked *bulk*, which come from a small pool of their own and may read disks.
//           Callbacks about one session, or one upload, are never concurrent with each other.
// Cost:     a send takes one mutex and, when nothing is queued, writes to the socket from the calling thread.
// Errors:   kUnavailable nothing reached the peer (the message names address and cause; it holds "certificate refused"
//           when TLS was the cause); kMaybeApplied it was sent and no answer came; kDenied the peer refused who we are;
//           kInvalid, kConflict, ... as the peer's handler said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "codec/certificate.h"

namespace tidelock {

inline constexpr std::size_t kFrameBytesMax = 4u << 20;

// Paths of PEM files. Read anew by each start and connect, so that a renewed certificate is taken up by reconnecting.
struct TlsFiles {
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
};

// A dead link is noticed after `timeout_ms` when bytes are outstanding (TCP_USER_TIMEOUT) and after `idle_ms +
// timeout_ms` when none are. Anything received puts the idle ping off. One idle ping costs about 250 bytes on the wire:
// 1 s of idle_ms is 20 MB a day, so sessions over a metered link use more than a lease renewal (15 s, F9).
struct Keepalive {
  int idle_ms = 20'000;
  int timeout_ms = 3'000;
};

// What gRPC itself complains about (failed handshakes, refused certificates): one line each, from any thread. Process
// wide; call once, before the first server or client. Without it such lines go to stderr.
void set_transport_log(std::function<void(bool is_error, const std::string& line)> log);

// ------------------------------------------------------------------------------------------------- server side

using SessionId = std::uint64_t;  // counts the sessions of one NodeServer from 1; never reused

// The hub's end of one session. Outlives its stream: send and close after the end do nothing but say so.
class Session {
 public:
  virtual ~Session() = default;
  virtual SessionId id() const = 0;
  virtual const PeerIdentity& peer() const = 0;
  virtual const std::string& peer_address() const = 0;
  // In order. kInvalid when above kFrameBytesMax, kUnavailable when the session has ended. When the frame does not fit
  // into the outgoing queue the session is closed ("outgoing queue full") and the answer is kBusy.
  virtual Result<void> send(Bytes frame) = 0;
  // Drops what is still queued and ends the stream; the peer sees `reason`. on_session_closed follows.
  virtual void close(std::string reason) = 0;
  virtual std::size_t queued_bytes() const = 0;
  // Bytes of bodies since the session began, for metrics.
  virtual std::uint64_t bytes_sent() const = 0;
  virtual std::uint64_t bytes_received() const = 0;
};
using SessionPtr = std::shared_ptr<Session>;

// Answers a call: once, from any thread, at any time. Dropped unused, the caller gets kMaybeApplied.
using Reply = std::function<void(Result<Bytes>)>;

// The chunks of one download: called (*bulk*) each time the network has taken the chunk before; at most one chunk is in
// memory. nullopt ends the download, an error ends it with that error. Destroyed when the download is over, however.
using ChunkSource = std::function<Result<std::optional<Bytes>>()>;

// Consumes one upload (*bulk*). The next chunk is read from the network only after `chunk` has returned. Destroyed
// without `finish` when the peer gave up or the link broke.
class UploadConsumer {
 public:
  virtual ~UploadConsumer() = default;
  virtual Result<void> chunk(Bytes bytes) = 0;  // an error ends the upload with that error
  virtual void finish(Reply reply) = 0;         // the peer has sent everything
};

// The serving end of one fetch (*bulk*, one call at a time): frames to the peer, as many as it has asked for.
class FetchSource {
 public:
  virtual ~FetchSource() = default;
  // What the peer says after its first frame. An error ends the fetch with that error.
  virtual Result<void> take(Bytes said) = 0;
  // The next frame; nullopt: none until the peer says more, or `more` (see on_fetch) is called. At most one is in
  // memory.
  virtual Result<std::optional<Bytes>> next() = 0;
};

// What a hub, or an edge, does with what arrives. Must outlive the NodeServer.
class NodeService {
 public:
  virtual ~NodeService() = default;
  virtual void on_session_open(SessionPtr session) = 0;  // before any frame of it
  virtual void on_session_frame(SessionId session, Bytes frame) = 0;
  virtual void on_session_closed(SessionId session, const std::string& reason) = 0;  // last; exactly once per open
  virtual void on_raft_frame(const NodeId& peer, Bytes frame) = 0;                   // in order per stream
  virtual void on_call(const PeerIdentity& peer, Bytes request, Reply reply) = 0;
  virtual Result<ChunkSource> on_download(const PeerIdentity& peer, Bytes request) = 0;                  // *bulk*
  virtual Result<std::unique_ptr<UploadConsumer>> on_upload(const PeerIdentity& peer, Bytes first) = 0;  // *bulk*
  // *bulk*. What takes long is done elsewhere; then `more` says that next() may have a frame: from any thread but
  // inside of next() and take(), and also when the fetch is over.
  virtual Result<std::unique_ptr<FetchSource>> on_fetch(const PeerIdentity&, Bytes, std::function<void()> /*more*/) {
    return fail(Code::kInvalid, "this node serves no fetches");
  }
  // A peer with a valid certificate was turned away: wrong role for what it asked. For the log.
  virtual void on_refused(const std::string& peer_address, const std::string& why) = 0;
};

struct NodeServerOptions {
  NodeRole role = NodeRole::kHub;  // kEdge: serves calls and fetches, to edges
  std::string host = "127.0.0.1";
  int port = 0;  // 0: the system picks; see NodeServer::port()
  TlsFiles tls;
  Keepalive keepalive;
  std::size_t session_queue_bytes = 16u << 20;  // cap on what waits to be sent to one session
  int bulk_threads = 4;                         // a download may wait for another hub or an object store
  int transfers_max = 64;                       // uploads, downloads and fetches at once; more are refused with kBusy
  // Of one peer: it has one fetch at a time, and what else there is of it lost its link without a word. One more ends
  // the oldest.
  int fetches_of_peer_max = 4;
  // When all transfers are taken, fetches that were silent for so long end to make room.
  Nanos fetch_idle_ns = 60 * kSecond;
  int calls_max = 1'024;      // calls without an answer yet; more are refused with kBusy
  int sessions_max = 10'000;  // more are refused with kBusy
};

class NodeServer {
 public:
  // Listens when it returns. kConflict names the address when it is in use; kInvalid a file that cannot be read or is
  // not PEM, or an address that is not ours.
  static Result<std::unique_ptr<NodeServer>> start(NodeServerOptions options, NodeService& service);
  ~NodeServer();  // stops
  int port() const;
  std::string address() const;  // "host:port"
  // Ends every stream; when it returns no callback runs and none will come. Not from a callback. Idempotent.
  void stop();

 private:
  struct Impl;
  explicit NodeServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// ------------------------------------------------------------------------------------------------- client side

struct SessionClientOptions {
  std::string address;  // host:port
  TlsFiles tls;
  NodeId expected_hub;  // empty: any hub of this cluster
  Keepalive keepalive;
  int connect_timeout_ms = 3'000;
  std::size_t queue_bytes = 16u << 20;  // cap on what waits to be sent
};

struct SessionCallbacks {
  std::function<void(const PeerIdentity& hub)> on_open;  // the hub has accepted the stream
  std::function<void(Bytes frame)> on_frame;
  std::function<void(const Error& why)> on_closed;  // last, exactly once, also without on_open
};

// The edge's end of one session: one connection, one stream. Never reconnects; make a new one.
class SessionClient {
 public:
  // Returns at once; on_open or on_closed follows (connection refused within a millisecond on a LAN, silence after
  // connect_timeout_ms). They may come before connect() has returned, so they must not reach for the client through
  // what its result is stored in: let them queue events. An error here is a TLS file or an address that cannot be used.
  static Result<std::unique_ptr<SessionClient>> connect(SessionClientOptions options, SessionCallbacks callbacks);
  // Cancels; when it returns no callback runs and none will come. Not from a callback.
  ~SessionClient();
  // As Session::send. Frames may be sent before on_open; they wait.
  Result<void> send(Bytes frame);
  void close();  // on_closed follows
  std::uint64_t bytes_sent() const;
  std::uint64_t bytes_received() const;

 private:
  struct Impl;
  explicit SessionClient(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

struct RaftPeer {
  NodeId id;
  std::string address;  // host:port
};

struct RaftPeersOptions {
  TlsFiles tls;
  std::vector<RaftPeer> peers;  // the others, not ourselves
  Keepalive keepalive{1'000, 2'000};
  int reconnect_min_ms = 20;
  int reconnect_max_ms = 200;
  int connect_timeout_ms = 1'000;
  std::size_t queue_bytes = 32u << 20;  // per peer; when full the oldest waiting frames are dropped (Raft sends again)
  std::uint64_t seed = 1;               // of the reconnect jitter
};

// One outgoing stream to each other hub, reconnected for ever.
class RaftPeers {
 public:
  // `on_link` (may be empty) hears that a link came up, or why it went down: once per change, not once per attempt.
  using OnLink = std::function<void(const NodeId& peer, bool up, const std::string& why)>;
  static Result<std::unique_ptr<RaftPeers>> start(RaftPeersOptions options, OnLink on_link);
  ~RaftPeers();  // ends all streams; no callback afterwards
  // The others from now on: new ones are dialled, streams to those that are gone end. kInvalid changes nothing.
  Result<void> set_peers(const std::vector<RaftPeer>& peers);
  // Never blocks. What cannot be delivered is dropped, as Raft allows. False for an unknown peer or a frame too large.
  bool send(const NodeId& peer, Bytes frame);
  bool up(const NodeId& peer) const;
  std::uint64_t dropped() const;  // frames, all peers

 private:
  struct Impl;
  explicit RaftPeers(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct NodeClientOptions {
  std::string address;  // host:port
  TlsFiles tls;
  NodeId expected_hub;             // empty: any hub of this cluster
  NodeRole role = NodeRole::kHub;  // of the node with that id
  Keepalive keepalive;
  int connect_timeout_ms = 3'000;
};

// What the caller of a fetch wants next.
struct FetchTurn {
  std::optional<Bytes> say;  // to the hub, now
  int wake_ms = 0;           // called again when nothing came for so long; 0: at once
  bool done = false;         // the fetch is over, and well
};

// Asks a hub: calls, downloads, uploads. Keeps one connection, opened by the first request and again when it broke.
// Every method blocks its caller until it is done.
class NodeClient {
 public:
  static Result<std::unique_ptr<NodeClient>> make(NodeClientOptions options);
  ~NodeClient();
  // kUnavailable: not sent. kMaybeApplied: sent, and the deadline or the link ended before the answer.
  Result<Bytes> call(Bytes request, int timeout_ms);
  // `on_chunk` runs on the calling thread, in order; an error from it cancels and is returned. No more than one chunk
  // waits in memory. `idle_timeout_ms` bounds the wait for each chunk.
  Result<void> download(Bytes request, const std::function<Result<void>(Bytes chunk)>& on_chunk, int idle_timeout_ms);
  // Opens the connection if there is none. kUnavailable: nothing that could be asked now would reach the hub.
  Result<void> connect(int timeout_ms);
  // How many were opened so far: each costs the link a handshake.
  std::uint64_t connections() const;
  // A conversation: sends `first`, then calls `turn` on this thread: once at the beginning with nothing, with each
  // frame that came, and with nothing when none came for as long as it wanted to wait. An error of `turn` ends the
  // fetch and is returned. kUnavailable: the link broke, or the hub was never reached. `unknown`, if given, becomes
  // true when the hub is of a build that knows no fetches.
  Result<void> fetch(Bytes first, const std::function<Result<FetchTurn>(std::optional<Bytes> came)>& turn,
                     bool* unknown = nullptr);
  // Sends `first`, then what `next_chunk` gives (on the calling thread) until it gives nullopt, then waits for the
  // answer.
  Result<Bytes> upload(Bytes first, const ChunkSource& next_chunk, int idle_timeout_ms);
  const std::string& address() const;

 private:
  struct Impl;
  explicit NodeClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tidelock
