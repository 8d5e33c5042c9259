// gRPC lets nobody at the TLS context of a server. But OpenSSL tells whoever asks for a place in each context
// (CRYPTO_get_ex_new_index) of every one that is made, and that is the place to keep the sessions of a server in.
//
// They are kept as bytes, not as objects: OpenSSL marks the session of a connection that was cut as not to be resumed,
// and connections that are cut are what this is for. (TLS 1.1 and later let such a session be resumed.)
#include "wire/grpc/tls_sessions.h"

#include <grpc/grpc_security.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/wall_clock.h"
#include "codec/signature.h"

namespace tidelock::wire {
namespace {

constexpr std::size_t kSessionBytesMax = 8u << 10;
constexpr std::size_t kClientNodesMax = 64;       // sessions of one identity
constexpr std::size_t kClientIdentitiesMax = 16;  // a process has one; tests have several

// ---- the server's

class SessionTable {
 public:
  explicit SessionTable(std::size_t sessions_max) : sessions_max_(sessions_max) {}

  void put(std::string id, std::string session) {
    const std::lock_guard lock(mutex_);
    if (!sessions_.insert_or_assign(id, std::move(session)).second) return;
    order_.push_back(std::move(id));
    if (order_.size() <= sessions_max_) return;
    sessions_.erase(order_.front());
    order_.pop_front();
  }
  std::string get(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    const auto it = sessions_.find(id);
    return it == sessions_.end() ? std::string() : it->second;
  }

 private:
  const std::size_t sessions_max_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::string> sessions_;
  std::deque<std::string> order_;  // of coming
};

using TablePtr = std::shared_ptr<SessionTable>;
thread_local TablePtr* making = nullptr;

std::string text_of(const unsigned char* bytes, std::size_t size) {
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

int on_session_made(SSL* ssl, SSL_SESSION* session);
SSL_SESSION* on_session_wanted(SSL* ssl, const unsigned char* id, int id_bytes, int* keeps_reference);
void on_context_made(void* context, void*, CRYPTO_EX_DATA* places, int place, long, void*) {
  if (making == nullptr) return;
  auto* table = new TablePtr(*making);
  if (CRYPTO_set_ex_data(places, place, table) != 1) {
    delete table;
    return;
  }
  auto* made = static_cast<SSL_CTX*>(context);
  SSL_CTX_set_options(made, SSL_OP_NO_TICKET);  // a number, not the session itself
  SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(made, on_session_made);
  SSL_CTX_sess_set_get_cb(made, on_session_wanted);
}
void on_context_gone(void*, void* kept, CRYPTO_EX_DATA*, int, long, void*) { delete static_cast<TablePtr*>(kept); }

int place_of_table() {
  static const int place =
      CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL_CTX, 0, nullptr, on_context_made, nullptr, on_context_gone);
  return place;
}
SessionTable* table_of(SSL* ssl) {
  auto* kept = static_cast<TablePtr*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), place_of_table()));
  return kept == nullptr ? nullptr : kept->get();
}

int on_session_made(SSL* ssl, SSL_SESSION* session) {
  SessionTable* table = table_of(ssl);
  const int size = i2d_SSL_SESSION(session, nullptr);
  if (table == nullptr || size <= 0 || static_cast<std::size_t>(size) > kSessionBytesMax) return 0;
  std::string bytes(static_cast<std::size_t>(size), '\0');
  auto* at = reinterpret_cast<unsigned char*>(bytes.data());
  unsigned id_bytes = 0;
  const unsigned char* id = SSL_SESSION_get_id(session, &id_bytes);
  if (i2d_SSL_SESSION(session, &at) == size) table->put(text_of(id, id_bytes), std::move(bytes));
  return 0;  // OpenSSL's object is not kept
}

SSL_SESSION* on_session_wanted(SSL* ssl, const unsigned char* id, int id_bytes, int* keeps_reference) {
  *keeps_reference = 0;
  const SessionTable* table = table_of(ssl);
  if (table == nullptr || id_bytes <= 0) return nullptr;
  const std::string bytes = table->get(text_of(id, static_cast<std::size_t>(id_bytes)));
  if (bytes.empty()) return nullptr;
  const auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
  SSL_SESSION* session = d2i_SSL_SESSION(nullptr, &at, static_cast<long>(bytes.size()));
  if (session == nullptr) return nullptr;
  // X1: nobody looks at the certificate of a resumed session again. This one may have expired meanwhile.
  X509* peer = SSL_SESSION_get0_peer(session);
  if (peer != nullptr && X509_cmp_current_time(X509_get0_notAfter(peer)) > 0) return session;
  SSL_SESSION_free(session);
  return nullptr;
}

// ---- a client's

struct CacheGone {
  void operator()(grpc_ssl_session_cache* cache) const { grpc_ssl_session_cache_destroy(cache); }
};
struct ClientSessions {
  Bytes identity;  // digest of what the client presents and trusts
  std::uint64_t since_ms = 0;
  std::unique_ptr<grpc_ssl_session_cache, CacheGone> cache;
};

}  // namespace

void keep_sessions(const LoadedTls& tls, grpc::ChannelArguments& arguments) {
  static std::mutex mutex;
  static auto* const all = new std::deque<ClientSessions>;  // the youngest first; lives as long as gRPC's own threads
  const Bytes identity = sha256(sha256(tls.ca) + sha256(tls.certificate) + sha256(tls.key));
  const std::uint64_t now_ms = wall_ms_now();  // C4: of certificates
  const std::lock_guard lock(mutex);
  std::erase_if(*all, [&](const ClientSessions& one) {
    return now_ms < one.since_ms || now_ms - one.since_ms >= kClientSessionsMs;
  });
  auto found = std::find_if(all->begin(), all->end(), [&](const auto& one) { return one.identity == identity; });
  if (found == all->end()) {
    if (all->size() >= kClientIdentitiesMax) all->pop_back();
    ClientSessions made;
    made.identity = identity;
    made.since_ms = now_ms;
    made.cache.reset(grpc_ssl_session_cache_create_lru(kClientNodesMax));
    all->push_front(std::move(made));
    found = all->begin();
  }
  const grpc_arg argument = grpc_ssl_session_cache_create_channel_arg(found->cache.get());
  arguments.SetPointerWithVtable(argument.key, argument.value.pointer.p, argument.value.pointer.vtable);
}

ServerSessions::ServerSessions(std::size_t sessions_max) {
  if (place_of_table() < 0) return;  // no place: tickets, as OpenSSL has them
  making = new TablePtr(std::make_shared<SessionTable>(sessions_max));
}
ServerSessions::~ServerSessions() {
  delete making;
  making = nullptr;
}

}  // namespace tidelock::wire
