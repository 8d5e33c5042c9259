#include "cli/dev.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/wall_clock.h"
#include "cli/config.h"
#include "codec/certificate.h"
#include "codec/signature.h"
#include "hub/join.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kDay = 86'400;

// Keeps the sockets open until all ports are picked, so that none is picked twice.
class Ports {
 public:
  ~Ports() {
    for (const int fd : fds_) ::close(fd);
  }
  // Below the range from which systems take ports for outgoing connections: from there, a node's port could be taken
  // while it restarts, by a connection of its own peers.
  Result<std::string> next() {
    for (int attempt = 0; attempt < 1'000; ++attempt) {
      std::uint16_t chance = 0;
      if (getrandom(&chance, sizeof chance, 0) != static_cast<ssize_t>(sizeof chance)) break;
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (fd < 0) break;
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(static_cast<std::uint16_t>(kPortFirst + chance % kPorts));
      if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
        fds_.push_back(fd);
        return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
      }
      ::close(fd);
    }
    return fail(Code::kBusy, std::string("no free port on 127.0.0.1: ") + std::strerror(errno));
  }

 private:
  static constexpr int kPortFirst = 12'000, kPorts = 20'000;
  std::vector<int> fds_;
};

Validity years(int count) {
  const std::int64_t now = static_cast<std::int64_t>(wall_ms_now() / 1000);
  return {now - 3600, now + count * 365 * kDay};
}

Result<void> write_identity(const KeyPair& ca, const PeerIdentity& identity, const std::string& directory) {
  NodeNames names;
  names.dns = {"localhost"};
  names.ip = {"127.0.0.1"};
  const auto pair = issue_certificate(ca, identity, names, years(2));
  if (!pair) return fail(pair.error());
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return fail(Code::kInvalid, directory + ": " + error.message());
  if (auto ok = write_file(directory + "/ca.pem", ca.certificate_pem, 0644); !ok) return ok;
  if (auto ok = write_file(directory + "/cert.pem", pair->certificate_pem, 0644); !ok) return ok;
  return write_file(directory + "/key.pem", pair->key_pem, 0600);
}

std::string tls_section(const std::string& directory) {
  return "\n[tls]\nca = \"" + directory + "/ca.pem\"\ncertificate = \"" + directory + "/cert.pem\"\nkey = \"" +
         directory + "/key.pem\"\n";
}

Result<KeyPair> new_ca(const std::string& directory, const std::string& cluster) {
  auto ca = make_ca(cluster, years(10));
  if (!ca) return ca;
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return fail(Code::kInvalid, directory + ": " + error.message());
  if (auto ok = write_file(directory + "/ca.pem", ca->certificate_pem, 0644); !ok) return fail(ok.error());
  if (auto ok = write_file(directory + "/ca-key.pem", ca->key_pem, 0600); !ok) return fail(ok.error());
  return ca;
}

Result<void> new_model_key(const std::string& directory) {
  const auto key = make_signing_key();
  if (!key) return fail(key.error());
  if (auto ok = write_file(directory + "/model-key.pem", key->private_pem, 0600); !ok) return ok;
  return write_file(directory + "/model-key.pub.pem", key->public_pem, 0644);
}

std::string hub_toml(const std::string& id, const std::string& root, const std::string& grpc, const std::string& http,
                     const std::string& hubs) {
  const std::string home = root + "/" + id;
  return "# A Tidelock hub. `tidelock hub --config FILE --print-config` shows every key with its value.\n"
         "id = \"" +
         id +
         "\"\n"
         "data_dir = \"" +
         home +
         "/data\"\n"
         "grpc = \"" +
         grpc +
         "\"            # sessions of edges, ledger, operators\n"
         "http = \"" +
         http +
         "\"            # /metrics, /healthz, /readyz, /join\n"
         "hubs = [" +
         hubs +
         "]  # every hub of the cluster, this one included\n"
         "model_key = \"" +
         root +
         "/model-key.pub.pem\"  # manifests must be signed with it; only an empty cluster reads this\n"
         "\n[join]\n"
         "ca_key = \"" +
         root +
         "/ca/ca-key.pem\"   # lets this hub enrol nodes\n"
         "tokens = \"" +
         home + "/tokens\"\n" + tls_section(home + "/tls");
}

}  // namespace

Result<void> make_dev_cluster(const DevOptions& options) {
  if (options.hubs != 1 && options.hubs != 3 && options.hubs != 5) {
    return fail(Code::kInvalid, "--hubs " + std::to_string(options.hubs) + ": must be 1, 3 or 5");
  }
  if (options.edges < 0 || options.edges > 1000)
    return fail(Code::kInvalid, "--edges " + std::to_string(options.edges) + ": must be 0 to 1000");
  if (options.sites < 1 || options.sites > 1000)
    return fail(Code::kInvalid, "--sites " + std::to_string(options.sites) + ": must be 1 to 1000");
  std::error_code error;
  fs::create_directories(options.directory, error);
  if (error) return fail(Code::kInvalid, options.directory + ": " + error.message());
  const std::string root = fs::absolute(options.directory).lexically_normal().string();
  if (fs::exists(root + "/client.toml")) {
    return fail(Code::kConflict, root + " holds a cluster already; remove it or choose another --dir");
  }
  const auto ca = new_ca(root + "/ca", "dev");
  if (!ca) return fail(ca.error());
  if (auto ok = new_model_key(root); !ok) return ok;

  Ports ports;
  std::vector<std::string> grpc;
  std::string hubs;
  for (int i = 1; i <= options.hubs; ++i) {
    auto address = ports.next();
    if (!address) return fail(address.error());
    grpc.push_back(*address);
    hubs += (hubs.empty() ? "" : ", ") + ("\"hub-" + std::to_string(i) + "=" + *address + "\"");
  }
  for (int i = 1; i <= options.hubs; ++i) {
    const std::string id = "hub-" + std::to_string(i);
    if (auto ok = write_identity(*ca, {NodeRole::kHub, id}, root + "/" + id + "/tls"); !ok) return ok;
    auto http = ports.next();
    if (!http) return fail(http.error());
    if (auto ok = write_file(root + "/" + id + "/hub.toml",
                             hub_toml(id, root, grpc[static_cast<std::size_t>(i - 1)], *http, hubs), 0644);
        !ok)
      return ok;
  }
  for (int i = 1; i <= options.edges; ++i) {
    const std::string id = "edge-" + std::to_string(i);
    const std::string home = root + "/" + id;
    if (auto ok = write_identity(*ca, {NodeRole::kEdge, id}, home + "/tls"); !ok) return ok;
    auto redis = ports.next();
    auto http = ports.next();
    auto listen = ports.next();
    if (!redis) return fail(redis.error());
    if (!http) return fail(http.error());
    if (!listen) return fail(listen.error());
    const int site = 1 + (i - 1) * options.sites / std::max(options.edges, 1);
    const std::string toml =
        "# A Tidelock edge. `tidelock edge --config FILE --print-config` shows every key with its value.\n"
        "id = \"" +
        id +
        "\"\n"
        "site = \"site-" +
        std::to_string(site) +
        "\"\n"
        "data_dir = \"" +
        home +
        "/data\"\n"
        "run_dir = \"" +
        home +
        "/run\"       # page and arena that apps map; put it on tmpfs\n"
        "redis = \"" +
        *redis +
        "\"            # Redis protocol over TCP\n"
        "redis_unix = \"" +
        home +
        "/run/redis.sock\"\n"
        "http = \"" +
        *http +
        "\"\n"
        "hubs = [" +
        hubs + "]\n" + tls_section(home + "/tls") +
        "\n[transfer]                            # of models. Docs: configuration.md, operations.md\n"
        "listen = \"" +
        *listen +
        "\"           # gateways of this site take files from here; without it this one only takes\n"
        "# address = \"10.0.0.7:7430\"         # by which they reach it, where that is another one\n"
        "# neighbours = false                 # every gateway fetches for itself\n"
        "# rate_bytes_per_s = 0               # over the link to the hubs; 0 = unlimited\n"
        "# daily_budget_bytes = 50000000\n# monthly_budget_bytes = 0\n"
        "# windows = [\"22:00-06:00\"]          # UTC\n";
    if (auto ok = write_file(home + "/edge.toml", toml, 0644); !ok) return ok;
  }
  if (auto ok = write_identity(*ca, {NodeRole::kClient, "operator"}, root + "/client/tls"); !ok) return ok;
  return write_file(root + "/client.toml",
                    "# An operator's connection: tidelock --config client.toml status\nhubs = [" + hubs + "]\n" +
                        tls_section(root + "/client/tls"),
                    0644);
}

Result<void> init_first_hub(const HubInitOptions& options) {
  if (const auto ok = check_node_id(options.id); !ok) return fail(Code::kInvalid, "--id: " + ok.error().message);
  std::error_code error;
  fs::create_directories(options.directory, error);
  if (error) return fail(Code::kInvalid, options.directory + ": " + error.message());
  const std::string root = fs::absolute(options.directory).lexically_normal().string();
  if (fs::exists(root + "/ca/ca-key.pem"))
    return fail(Code::kConflict, root + " holds a cluster already; choose another --dir");
  const auto ca = new_ca(root + "/ca", options.id);
  if (!ca) return fail(ca.error());
  if (auto ok = new_model_key(root); !ok) return ok;
  if (auto ok = write_identity(*ca, {NodeRole::kHub, options.id}, root + "/" + options.id + "/tls"); !ok) return ok;
  if (auto ok = write_identity(*ca, {NodeRole::kClient, "operator"}, root + "/client/tls"); !ok) return ok;
  const std::string hubs = "\"" + options.id + "=" + options.grpc + "\"";
  if (auto ok = write_file(root + "/" + options.id + "/hub.toml",
                           hub_toml(options.id, root, options.grpc, options.http, hubs), 0644);
      !ok)
    return ok;
  return write_file(root + "/client.toml",
                    "# An operator's connection: tidelock --config client.toml status\nhubs = [" + hubs + "]\n" +
                        tls_section(root + "/client/tls"),
                    0644);
}

Result<std::string> make_token(const TokenOptions& options) {
  const auto role = parse_role(options.role);
  if (!role) return fail(role.error());
  if (options.minutes < 1 || options.minutes > 7 * 24 * 60) {
    return fail(Code::kInvalid, "--minutes " + std::to_string(options.minutes) + ": must be 1 to 10080");
  }
  const auto token =
      make_join_token(*role, options.id, static_cast<std::int64_t>(wall_ms_now() / 1000) + options.minutes * 60);
  if (!token) return fail(token.error());
  const std::string text = token_text(*token);
  const int fd = ::open(options.tokens_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string line = text + "\n";
  if (fd < 0 || ::write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    if (fd >= 0) ::close(fd);
    return fail(Code::kInvalid, options.tokens_file + ": cannot be written; run this on the hub, as its user");
  }
  ::close(fd);
  return text;
}

Result<void> join_node(const JoinOptions& options) {
  const auto role = parse_role(options.role);
  if (!role) return fail(role.error());
  const auto joined = join_cluster(options.hub_http, options.token, {*role, options.id});
  if (!joined) return fail(joined.error());
  const std::string tls = options.directory + "/tls";
  std::error_code error;
  fs::create_directories(tls, error);
  if (error) return fail(Code::kInvalid, tls + ": " + error.message());
  if (auto ok = write_file(tls + "/ca.pem", joined->ca_pem, 0644); !ok) return ok;
  if (auto ok = write_file(tls + "/cert.pem", joined->pair.certificate_pem, 0644); !ok) return ok;
  return write_file(tls + "/key.pem", joined->pair.key_pem, 0600);
}

}  // namespace tidelock
