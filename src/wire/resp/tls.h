// TLS under the Redis protocol, over OpenSSL: a context that follows its files, and a stream on a connected socket.
//
// Threads: a context and its streams belong to one thread.
// Versions: TLS 1.2 and 1.3, no renegotiation, no compression, no session tickets (each connection shows its
//           certificate).
// Cost:     a handshake is one signature and one key exchange on the thread of the loop; a record
//           costs one pass of AES-GCM or ChaCha20. A context looks at the dates of its files at most once a second.
// Signals:  OpenSSL writes with SIGPIPE: the process ignores it.
// Errors:   make names the file and what is wrong with it; a stream that fails is to be closed.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/time.h"

typedef struct ssl_st SSL;          // NOLINT(modernize-use-using): OpenSSL's own declaration
typedef struct ssl_ctx_st SSL_CTX;  // NOLINT(modernize-use-using)

namespace tidelock {

// Who may connect: anybody, whoever has a certificate of `ca_file` or none at all, only who has one.
enum class TlsClients : std::uint8_t { kAny, kOptional, kCertified };

struct RespTls {
  std::string certificate_file, key_file;  // PEM; the certificate may bring its chain
  std::string ca_file;                     // PEM; not needed for kAny
  TlsClients clients = TlsClients::kCertified;
};

class TlsStream {
 public:
  explicit TlsStream(SSL* ssl);  // takes it over
  ~TlsStream();                  // says goodbye if that does not wait
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // As recv and send of a non-blocking socket: -1 with errno EAGAIN, or with another when the stream is broken; 0 of
  // recv: the peer said goodbye, or hung up before it had sent a byte. The handshake is made on the way.
  ssize_t recv(char* to, std::size_t bytes_max);
  ssize_t send(const char* from, std::size_t bytes);
  void finish_sending();  // as shutdown(SHUT_WR)

  bool established() const { return established_; }
  // recv has more to give that epoll does not tell of, because it has left the kernel: bytes, or that it was all.
  bool has_more() const;
  // recv has to wait until the socket takes bytes.
  bool recv_wants_write() const { return recv_wants_write_; }

 private:
  ssize_t outcome(int result, bool* wants_write);
  SSL* ssl_;
  bool established_ = false;
  bool recv_wants_write_ = false;
  bool broken_ = false;
  bool end_untold_ = false;  // what came behind the bytes of the last recv
};

class TlsContext {
 public:
  static Result<std::unique_ptr<TlsContext>> make(RespTls files);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // A stream for a connection that was accepted; nullptr when there is no memory. Reads the files again when they have
  // changed; what cannot be read leaves the former certificate in use, and `complaint` says why until it can.
  std::unique_ptr<TlsStream> accept(int fd, Nanos now);
  const std::string& complaint() const { return complaint_; }

 private:
  explicit TlsContext(RespTls files);
  Result<void> load();
  std::string dates() const;
  const RespTls files_;
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::string dates_;  // of the files that were read last
  Nanos looked_at_ = kNever;
  std::string complaint_;
};

}  // namespace tidelock
