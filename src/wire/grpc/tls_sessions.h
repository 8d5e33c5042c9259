// Resumption of TLS sessions: a link that drops a hundred times a day shall not carry both certificates a hundred
// times.
//
// A client keeps the session of each node that it has spoken to, for a while, in memory. The server keeps its own end,
// under a number of 32 bytes that it hands out: the ticket of another kind, the session itself sealed, holds the
// client's certificate and costs more than it saves. So a new connection takes about a third of a whole
// handshake.
//
// What a resumed session proves (X1): that the peer holds the secret of a session in which it has shown its
// certificate. Its name is that of the certificate, and everything that is judged by the name is judged again. A
// certificate that has expired since ends its sessions at the server; at a client they end with the channel, or
// kClientSessionsMs before a new one. Sessions are forgotten by the end of the process, and by a client when it is
// given another certificate, key or CA.
//
// Threads: any. Cost: a session is under 1 KB here. Errors: none; without sessions a handshake is a whole one.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "wire/grpc/internal.h"

namespace tidelock::wire {

inline constexpr std::uint64_t kClientSessionsMs = 3'600'000;  // then a certificate is looked at again
inline constexpr std::size_t kServerSessionsMax = 16'384;      // a whole handshake leaves two, a resumed one another

// Adds the sessions of this identity to a channel's arguments.
void keep_sessions(const LoadedTls& tls, grpc::ChannelArguments& arguments);

// While one of these lives, the TLS contexts that this thread makes keep their sessions, `sessions_max` of them: beyond
// that the oldest is forgotten.
class ServerSessions {
 public:
  explicit ServerSessions(std::size_t sessions_max);
  ~ServerSessions();
  ServerSessions(const ServerSessions&) = delete;
  ServerSessions& operator=(const ServerSessions&) = delete;
};

}  // namespace tidelock::wire
