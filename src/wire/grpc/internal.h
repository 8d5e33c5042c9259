// What the sources of this room share: TLS files, channels, statuses. Includes gRPC, so no other room may include it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "tidelock.grpc.pb.h"
#include "wire/grpc/transport.h"

namespace tidelock::wire {

using v1::Frame;

inline constexpr std::size_t kMessageBytesMax = kFrameBytesMax + 64;  // the envelope around a body

struct LoadedTls {
  std::string ca;
  std::string certificate;
  std::string key;
  PeerIdentity self;
};
// Reads and checks the three files; errors name the file.
Result<LoadedTls> load_tls(const TlsFiles& files);

struct Endpoint {
  std::string host;
  int port = 0;
};
// "host:port" or "[v6]:port".
Result<Endpoint> parse_address(const std::string& address);

// Who is at the other end of an established TLS connection.
Result<PeerIdentity> peer_identity(const grpc::AuthContext& context);
// gRPC's "ipv4:127.0.0.1:4711" without the scheme.
std::string plain_peer(const std::string& peer);

struct ChannelOptions {
  std::string address;
  NodeId expected_hub;
  Keepalive keepalive;
  int connect_timeout_ms = 3'000;
  NodeRole role = NodeRole::kHub;  // of the expected one
};
// A channel of its own: no connection, back-off or DNS answer is shared with another, so a new channel tries at once.
Result<std::shared_ptr<grpc::Channel>> make_channel(const LoadedTls& tls, const ChannelOptions& options);
void set_keepalive(grpc::ChannelArguments& arguments, const Keepalive& keepalive);

// gRPC 1.51 runs callbacks on a queue that it tears down with its last user, and a new user in that moment makes it
// abort. A user that is never given back keeps the queue and its threads for the life of the process. Call before
// anything else.
void pin_callback_queue();

// Our Error travels whole in the status' details.
grpc::Status to_status(const Error& error);
// `address` is for the message. What does not carry an Error of ours is judged by when it failed: before the connection
// stood it is kUnavailable, later kMaybeApplied.
Error from_status(const grpc::Status& status, const std::string& address);

// Why a listener could not be had: gRPC does not say.
Error why_not_listening(const std::string& host, int port);

inline Result<void> check_frame_size(std::size_t size) {
  if (size <= kFrameBytesMax) return {};
  return fail(Code::kInvalid, "frame of " + std::to_string(size) + " bytes: at most " + std::to_string(kFrameBytesMax) +
                                  " go into one");
}

}  // namespace tidelock::wire
