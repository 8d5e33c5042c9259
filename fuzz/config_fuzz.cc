// TOML files of operators. A file is refused with its name and what is wrong, or every value in it is within what the
// program can run with, and the effective configuration can be printed.
#include <sys/mman.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/config.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {

// A file without a place on a disk: what the parser is given is a path.
const std::string& path_with(BytesView bytes) {
  static const int fd = ::memfd_create("config", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  TIDELOCK_ASSERT(fd >= 0 && ::ftruncate(fd, 0) == 0);
  TIDELOCK_ASSERT(::pwrite(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return path;
}

template <class T>
void refused(const Result<T>& read, const std::string& path) {
  TIDELOCK_ASSERT(read.error().code == Code::kInvalid && read.error().message.starts_with(path));
}

constexpr const char* kHub = R"(
id = "hub-1"
data_dir = "data"
grpc = "127.0.0.1:7401"
http = "127.0.0.1:7402"
hubs = ["hub-1=127.0.0.1:7401", "hub-2=127.0.0.1:7403"]
[tls]
ca = "ca.pem"
certificate = "node.pem"
key = "node.key"
[cluster]
authority_window_ms = 300
rho_ppm = 200
[[namespace]]
prefix = "plant:"
consistency = "bounded"
scope = "region"
write_mode = "through"
bound_ms = 1000
bound_floor_ms = 100
)";
constexpr const char* kEdge = R"(
id = "edge-1"
site = "hall-3"
data_dir = "data"
run_dir = "run"
hubs = ["hub-1=127.0.0.1:7401"]
redis = "127.0.0.1:6379"
requirepass = "word"
memory.arena_mib = 64
[tls]
ca = "ca.pem"
certificate = "node.pem"
key = "node.key"
[log]
level = "debug"
)";
constexpr const char* kL2 =
    "l2 = { engine = 'redis', address = 'unix:/r', password = 'p', deadline_us = 300, max_bytes = 2097152 }";
constexpr const char* kOperator =
    "hubs = [\"hub-1=127.0.0.1:7401\"]\ntls = { ca = 'a', certificate = 'b', key = 'c' }\n";

}  // namespace

std::vector<Seed> seeds() {
  return {{"hub", number(0, 1) + kHub},
          {"edge", number(1, 1) + kEdge},
          {"l2", number(1, 1) + kL2 + kEdge},
          {"operator", number(2, 1) + kOperator},
          {"twice", number(1, 1) + kEdge + "level = \"info\"\n"},
          {"overflow", number(0, 1) + kHub + "ttl_ms = 9223372036854775807\n"},
          {"kinds", number(2, 1) + "hubs = [1, 2.5, 1979-05-27, {}, [[]], true]\n"},
          {"comment_in_heading", number(0, 1) + kHub + "[#tls]\n]\n"},
          {"letters", number(0, 1) + kHub + "# \u00fc\n'\u00fc' = \"\"\"\u00fc\"\"\"\n\u00fc = 1\n"},
          {"dotted", number(0, 1) + "tls.ca.x.y.z = 0x7f\n[[namespace]]\n[namespace.prefix]\n"}};
}

void run(BytesView input) {
  Input in(input);
  const std::uint8_t what = in.byte() % 3;
  const std::string& path = path_with(in.rest());
  if (what == 0) {
    const auto hub = read_hub_config(path);
    if (!hub) return refused(hub, path);
    TIDELOCK_ASSERT(validate_settings(hub->hub.seed.settings) && validate_namespaces(hub->hub.seed.namespaces));
    TIDELOCK_ASSERT(check_node_id(hub->hub.id) && !hub->hub.hubs.empty() && hub->hub.hubs.size() <= 9);
    TIDELOCK_ASSERT(nlohmann::json::accept(print_config(*hub)));
  } else if (what == 1) {
    const auto edge = read_edge_config(path);
    if (!edge) return refused(edge, path);
    TIDELOCK_ASSERT(check_node_id(edge->edge.id) && !edge->edge.hubs.empty());
    TIDELOCK_ASSERT(edge->edge.arena_bytes >= 1u << 20);
    TIDELOCK_ASSERT(check_l2(edge->edge.l2));
    const std::string printed = print_config(*edge);
    TIDELOCK_ASSERT(nlohmann::json::accept(printed));
  } else {
    const auto config = read_operator_config(path);
    if (!config) return refused(config, path);
    for (const auto& [id, address] : config->hubs) TIDELOCK_ASSERT(check_node_id(id));
  }
}

}  // namespace tidelock::fuzz
