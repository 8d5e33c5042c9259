#include "wire/grpc/internal.h"

#include <arpa/inet.h>
#include <grpc/grpc_security_constants.h>
#include <grpc/support/log.h>
#include <grpcpp/security/credentials.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <future>
#include <iterator>
#include <mutex>

#include "codec/archive.h"
#include "wire/grpc/tls_sessions.h"

namespace tidelock {
namespace {

constexpr std::size_t kTlsFileBytesMax = 64u << 10;

std::mutex log_mutex;
std::function<void(bool, const std::string&)> log_sink;  // guarded by log_mutex

void on_grpc_log(gpr_log_func_args* args) {
  const std::lock_guard lock(log_mutex);
  if (log_sink) log_sink(args->severity == GPR_LOG_SEVERITY_ERROR, args->message);
}

}  // namespace

void set_transport_log(std::function<void(bool is_error, const std::string& line)> log) {
  {
    const std::lock_guard lock(log_mutex);
    log_sink = std::move(log);
  }
  gpr_set_log_function(on_grpc_log);
}

namespace wire {
namespace {

struct WireError {
  Code code = Code::kInvalid;
  std::string message;
  std::string hint;
  std::int64_t detail_ns = 0;
  template <class A>
  void fields(A& a) {
    a(code, message, hint, detail_ns);
  }
};

Result<std::string> read_file(const std::string& path, const char* what) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(Code::kInvalid, std::string(what) + " \"" + path + "\" cannot be read");
  std::string text;
  text.resize(kTlsFileBytesMax + 1);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kTlsFileBytesMax) {
    return fail(Code::kInvalid, std::string(what) + " \"" + path + "\" is larger than 64 KiB");
  }
  return text;
}

grpc::StatusCode status_code(Code code) {
  switch (code) {
    case Code::kOk: return grpc::StatusCode::OK;
    case Code::kUnavailable: return grpc::StatusCode::UNAVAILABLE;
    case Code::kNotActive: return grpc::StatusCode::FAILED_PRECONDITION;
    case Code::kMaybeApplied: return grpc::StatusCode::UNKNOWN;
    case Code::kConflict: return grpc::StatusCode::ABORTED;
    case Code::kNotFound: return grpc::StatusCode::NOT_FOUND;
    case Code::kInvalid: return grpc::StatusCode::INVALID_ARGUMENT;
    case Code::kBusy: return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Code::kStale: return grpc::StatusCode::OUT_OF_RANGE;
    case Code::kCorrupt: return grpc::StatusCode::DATA_LOSS;
    case Code::kDenied: return grpc::StatusCode::PERMISSION_DENIED;
  }
  return grpc::StatusCode::UNKNOWN;
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// gRPC 1.51 has no code for "TLS said no"; these are the words it uses. With TLS 1.3 a client learns that *its*
// certificate was refused only after its own handshake is over, as a connection that dies before the first SETTINGS
// frame.
bool says_certificate(const std::string& text) {
  return contains(text, "andshake failed") || contains(text, "certificate") || contains(text, "CERTIFICATE") ||
         contains(text, "SSL_ERROR") || contains(text, "Hostname Verification") || contains(text, "Peer name");
}
// When the peer refused us: under TLS 1.3 a client's own handshake is over before the server has judged the client's
// certificate, and gRPC's server then hangs up without a word. A hub that stops in that millisecond looks the same.
bool says_hung_up(const std::string& text) {
  return contains(text, "Socket closed") || contains(text, "Connection reset") || contains(text, "Corruption") ||
         contains(text, "Endpoint") || contains(text, "Broken pipe");
}

}  // namespace

Result<LoadedTls> load_tls(const TlsFiles& files) {
  LoadedTls tls;
  struct Part {
    const char* what;
    const std::string& path;
    std::string& into;
  };
  for (const Part& part :
       {Part{"CA file", files.ca_file, tls.ca}, Part{"certificate file", files.certificate_file, tls.certificate},
        Part{"key file", files.key_file, tls.key}}) {
    auto text = read_file(part.path, part.what);
    if (!text) return fail(text.error());
    part.into = std::move(*text);
  }
  if (auto ok = check_ca_bundle(tls.ca); !ok) {
    return fail(Code::kInvalid, "CA file \"" + files.ca_file + "\": " + ok.error().message);
  }
  auto self = check_key_pair({tls.certificate, tls.key});
  if (!self) {
    return fail(Code::kInvalid, "certificate file \"" + files.certificate_file + "\" with key file \"" +
                                    files.key_file + "\": " + self.error().message);
  }
  tls.self = std::move(*self);
  return tls;
}

Result<Endpoint> parse_address(const std::string& address) {
  const auto bad = [&](const char* want) {
    return fail(Code::kInvalid, "address \"" + address.substr(0, 256) + "\": want " + want);
  };
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return bad("host:port");
  Endpoint endpoint;
  const char* end = address.data() + address.size();
  const auto [at, error] = std::from_chars(address.data() + colon + 1, end, endpoint.port);
  if (error != std::errc() || at != end || endpoint.port < 1 || endpoint.port > 65'535) {
    return bad("a port from 1 to 65535 after the colon");
  }
  endpoint.host = address.substr(0, colon);
  if (endpoint.host.front() == '[' && endpoint.host.back() == ']') {
    endpoint.host = endpoint.host.substr(1, endpoint.host.size() - 2);
  } else if (endpoint.host.find(':') != std::string::npos) {
    return bad("an IPv6 address in brackets, [::1]:port");
  }
  return endpoint;
}

Result<PeerIdentity> peer_identity(const grpc::AuthContext& context) {
  std::vector<std::string> names;
  for (const grpc::string_ref& name : context.FindPropertyValues(GRPC_PEER_DNS_PROPERTY_NAME)) {
    names.emplace_back(name.data(), name.size());
  }
  return identity_of_names(names);
}

std::string plain_peer(const std::string& peer) {
  for (const std::string_view scheme : {"ipv4:", "ipv6:"}) {
    if (!peer.starts_with(scheme)) continue;
    std::string text = peer.substr(scheme.size());
    for (std::size_t at = 0; (at = text.find('%', at)) != std::string::npos && at + 2 < text.size(); ++at) {
      const std::string code = text.substr(at, 3);  // gRPC writes [::1] as %5B::1%5D
      if (code == "%5B" || code == "%5D") text.replace(at, 3, code == "%5B" ? "[" : "]");
    }
    return text;
  }
  return peer;
}

void set_keepalive(grpc::ChannelArguments& arguments, const Keepalive& keepalive) {
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive.idle_ms);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive.timeout_ms);  // also TCP_USER_TIMEOUT
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no limit: silence is when pings matter
}

void pin_callback_queue() {
  static const bool pinned = [] {
    struct Pin {
      // Without credentials a channel is one on which every call fails at once, in gRPC's own words a lame one.
      std::shared_ptr<grpc::Channel> channel = grpc::CreateChannel("", nullptr);
      std::unique_ptr<v1::Node::Stub> stub = v1::Node::NewStub(channel);
    };
    static Pin* const pin = new Pin;  // never freed: that is the point
    struct Call {
      grpc::ClientContext context;
      Frame request, response;
      std::promise<void> done;
    } call;
    pin->stub->async()->Call(&call.context, &call.request, &call.response,
                             [&call](const grpc::Status&) { call.done.set_value(); });
    call.done.get_future().wait();
    return true;
  }();
  static_cast<void>(pinned);
}

Result<std::shared_ptr<grpc::Channel>> make_channel(const LoadedTls& tls, const ChannelOptions& options) {
  pin_callback_queue();
  const auto endpoint = parse_address(options.address);
  if (!endpoint) return fail(endpoint.error());
  if (!options.expected_hub.empty()) {
    if (auto ok = check_node_id(options.expected_hub); !ok) return fail(ok.error());
  }
  grpc::SslCredentialsOptions credentials;
  credentials.pem_root_certs = tls.ca;
  credentials.pem_private_key = tls.key;
  credentials.pem_cert_chain = tls.certificate;

  grpc::ChannelArguments arguments;
  // TLS itself checks the name: the expected hub, or at least a hub.
  arguments.SetSslTargetNameOverride(options.expected_hub.empty()
                                         ? any_of_role_name(options.role)
                                         : identity_name({options.role, options.expected_hub}));
  keep_sessions(tls, arguments);
  set_keepalive(arguments, options.keepalive);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, options.connect_timeout_ms);  // in truth the connect time-out
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // an http_proxy meant for others must not catch us
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // what may be repeated is the caller's to know
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kMessageBytesMax));
  arguments.SetMaxSendMessageSize(static_cast<int>(kMessageBytesMax));

  std::array<unsigned char, 16> raw{};
  std::string target = "dns:///" + options.address;
  if (inet_pton(AF_INET, endpoint->host.c_str(), raw.data()) == 1) target = "ipv4:" + options.address;
  if (inet_pton(AF_INET6, endpoint->host.c_str(), raw.data()) == 1) target = "ipv6:" + options.address;
  return grpc::CreateCustomChannel(target, grpc::SslCredentials(credentials), arguments);
}

grpc::Status to_status(const Error& error) {
  const WireError wire{error.code, error.message, error.hint, error.detail_ns};
  return grpc::Status(status_code(error.code), error.message, encode(wire));
}

Error from_status(const grpc::Status& status, const std::string& address) {
  if (!status.error_details().empty()) {
    if (auto wire = decode<WireError>(status.error_details(), "status details"); wire && wire->code != Code::kOk) {
      return Error{wire->code, std::move(wire->message), std::move(wire->hint), wire->detail_ns};
    }
  }
  const std::string text = status.error_message();
  const bool never_connected = text.starts_with("failed to connect") || text.starts_with("DNS resolution failed") ||
                               contains(text, "Failed to connect to remote host");
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      if (!never_connected) return Error{Code::kMaybeApplied, address + ": connection lost: " + text, {}, 0};
      if (says_certificate(text)) {
        return Error{Code::kUnavailable, address + ": certificate refused: " + text, {}, 0};
      }
      if (says_hung_up(text)) {
        return Error{Code::kUnavailable,
                     address + ": certificate refused by the hub, or the hub is just stopping: " + text,
                     {},
                     0};
      }
      return Error{Code::kUnavailable, address + ": " + text, {}, 0};
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED: return Error{Code::kDenied, address + ": " + text, {}, 0};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::UNIMPLEMENTED: return Error{Code::kInvalid, address + ": " + text, {}, 0};
    default: return Error{Code::kMaybeApplied, address + ": " + text, {}, 0};
  }
}

Error why_not_listening(const std::string& host, int port) {
  const std::string address = host + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
    return Error{Code::kInvalid, "listen address " + address + ": " + gai_strerror(error), {}, 0};
  }
  int error = 0;
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  if (fd < 0) {
    error = errno;
  } else {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd, 1) != 0) error = errno;
    ::close(fd);
  }
  freeaddrinfo(found);
  if (error == EADDRINUSE) return Error{Code::kConflict, "listen address " + address + " is in use", {}, 0};
  if (error != 0) return Error{Code::kInvalid, "listen address " + address + ": " + std::strerror(error), {}, 0};
  return Error{Code::kConflict, "listen address " + address + " could not be had; it was free a moment later", {}, 0};
}

}  // namespace wire
}  // namespace tidelock
