#include "wire/resp/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace tidelock {
namespace {

constexpr Nanos kLookEvery = 1 * kSecond;

// What OpenSSL says of the last failure of this thread.
std::string reason() {
  const unsigned long error = ERR_peek_last_error();
  const char* text = error != 0 ? ERR_reason_error_string(error) : nullptr;
  return text != nullptr ? text : "unknown reason";
}

tl::unexpected<Error> refuse(const char* what, const std::string& file) {
  return fail(Code::kInvalid, std::string(what) + " \"" + file + "\": " + reason());
}

}  // namespace

// ---- the context ----------------------------------------------------------------------------------------------------

TlsContext::TlsContext(RespTls files) : files_(std::move(files)), context_(nullptr, SSL_CTX_free) {}
TlsContext::~TlsContext() = default;

Result<std::unique_ptr<TlsContext>> TlsContext::make(RespTls files) {
  std::unique_ptr<TlsContext> made(new TlsContext(std::move(files)));
  made->dates_ = made->dates();
  if (const auto loaded = made->load(); !loaded) return fail(loaded.error());
  return made;
}

Result<void> TlsContext::load() {
  ERR_clear_error();
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> fresh(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (fresh == nullptr) return fail(Code::kUnavailable, "TLS: " + reason());
  SSL_CTX* context = fresh.get();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(
      context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  if (SSL_CTX_use_certificate_chain_file(context, files_.certificate_file.c_str()) != 1) {
    return refuse("certificate file", files_.certificate_file);
  }
  if (SSL_CTX_use_PrivateKey_file(context, files_.key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return refuse("key file", files_.key_file);
  }
  if (files_.clients != TlsClients::kAny) {
    if (SSL_CTX_load_verify_locations(context, files_.ca_file.c_str(), nullptr) != 1) {
      return refuse("CA file", files_.ca_file);
    }
    SSL_CTX_set_verify(
        context, SSL_VERIFY_PEER | (files_.clients == TlsClients::kCertified ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        nullptr);
  }
  context_ = std::move(fresh);
  return {};
}

std::string TlsContext::dates() const {
  std::string dates;
  for (const std::string& file : {files_.certificate_file, files_.key_file, files_.ca_file}) {
    struct stat info{};
    if (file.empty() || ::stat(file.c_str(), &info) != 0) info = {};
    dates += std::to_string(info.st_ino) + ":" + std::to_string(info.st_mtim.tv_sec) + "." +
             std::to_string(info.st_mtim.tv_nsec) + " ";
  }
  return dates;
}

std::unique_ptr<TlsStream> TlsContext::accept(int fd, Nanos now) {
  if (saturating_sub(now, looked_at_) >= kLookEvery) {
    looked_at_ = now;
    // Certificate and key are replaced one after the other: what does not fit together yet will a second later.
    if (std::string current = dates(); current != dates_) {
      const auto loaded = load();
      complaint_ = loaded ? std::string() : loaded.error().message;
      if (loaded) dates_ = std::move(current);
    }
  }
  ERR_clear_error();
  SSL* ssl = SSL_new(context_.get());
  if (ssl == nullptr) return nullptr;
  if (SSL_set_fd(ssl, fd) != 1) {
    SSL_free(ssl);
    return nullptr;
  }
  SSL_set_accept_state(ssl);
  return std::make_unique<TlsStream>(ssl);
}

// ---- a stream -------------------------------------------------------------------------------------------------------

TlsStream::TlsStream(SSL* ssl) : ssl_(ssl) {}

TlsStream::~TlsStream() {
  finish_sending();
  SSL_free(ssl_);
}

void TlsStream::finish_sending() {
  if (!established_ || broken_ || (SSL_get_shutdown(ssl_) & SSL_SENT_SHUTDOWN) != 0) return;
  ERR_clear_error();
  (void)SSL_shutdown(ssl_);
}

// Not SSL_has_pending: a record of which only a part has come is no reason to ask again.
bool TlsStream::has_more() const { return SSL_pending(ssl_) > 0 || end_untold_; }

ssize_t TlsStream::outcome(int result, bool* wants_write) {
  if (!established_ && SSL_is_init_finished(ssl_) == 1) established_ = true;
  if (result > 0) return result;
  const int why = SSL_get_error(ssl_, result);
  *wants_write = why == SSL_ERROR_WANT_WRITE;
  if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
    errno = EAGAIN;
    return -1;
  }
  if (why == SSL_ERROR_ZERO_RETURN) return 0;
  if (!established_ && BIO_number_read(SSL_get_rbio(ssl_)) == 0) return 0;
  broken_ = true;
  errno = EPROTO;
  return -1;
}

ssize_t TlsStream::recv(char* to, std::size_t bytes_max) {
  std::size_t got = 0;
  end_untold_ = false;
  while (got < bytes_max && !broken_) {  // a record holds 16 KiB at most
    ERR_clear_error();
    const int wanted = static_cast<int>(std::min<std::size_t>(bytes_max - got, INT_MAX));
    const ssize_t more = outcome(SSL_read(ssl_, to + got, wanted), &recv_wants_write_);
    if (more <= 0) {
      if (got == 0) return more;
      end_untold_ = more == 0 || broken_;
      break;
    }
    got += static_cast<std::size_t>(more);
  }
  if (got > 0) return static_cast<ssize_t>(got);
  errno = EPROTO;
  return -1;
}

ssize_t TlsStream::send(const char* from, std::size_t bytes) {
  if (broken_) {
    errno = EPROTO;
    return -1;
  }
  ERR_clear_error();
  bool wants_write = false;
  const ssize_t sent =
      outcome(SSL_write(ssl_, from, static_cast<int>(std::min<std::size_t>(bytes, INT_MAX))), &wants_write);
  if (sent != 0) return sent;
  errno = EPIPE;
  return -1;
}

}  // namespace tidelock
