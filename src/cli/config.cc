#include "cli/config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

#include "cli/config_names.h"
#include "cli/trust_pin.h"
#include "cli/words.h"
#include "protocol/rollout.h"
#include "wire/resp/acl.h"

// toml++ 3.3 asserts what some files do not keep to ("[#" is one), and where assertions are off it tells the compiler
// to rely on it. Here they stay, as errors that Reader::open takes.
namespace tidelock {
struct TomlConfused {};
static constexpr void toml_expects(bool kept) {
  if (!kept) throw TomlConfused();
}
}  // namespace tidelock
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expr) ::tidelock::toml_expects(static_cast<bool>(expr))
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace tidelock {
namespace {

// toml++ 3.3 looks letters outside of quotes up in a table that has no place for some (U+00A1 to U+0499: undefined
// behaviour), and only it knows what is outside. So it sees none: bytes that are not ASCII are written as `XX for it, `
// itself as ``, and what comes out of it is turned back.
std::string as_ascii(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) {
      out.append({'`', kHex[byte >> 4], kHex[byte & 15]});
    } else {
      out.append(c == '`' ? 2 : 1, c);
    }
  }
  return out;
}
std::string from_ascii(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned byte = 0;
    if (text[at] != '`') {
      out += text[at];
    } else if (text.substr(at, 2) == "``") {
      out += text[at++];
    } else if (const std::string_view hex = text.substr(at + 1, 2);
               hex.size() == 2 && std::from_chars(hex.data(), hex.data() + 2, byte, 16).ptr == hex.data() + 2) {
      out += static_cast<char>(byte);
      at += 2;
    } else {
      out += "` or a letter that is not ASCII";  // a message of toml++ about one character outside of quotes
    }
  }
  return out;
}
std::optional<std::string> text_of(const toml::node& node) {
  auto text = node.value_exact<std::string>();
  if (text) *text = from_ascii(*text);
  return text;
}

// As it is written in TOML, on one line, cut when it is long. (That of toml++ breaks lines by a count of columns that
// an infinity overflows.)
constexpr std::size_t kShownBytesMax = 256;
void show(std::string& out, const toml::node& node) {
  if (out.size() > kShownBytesMax) return;
  const auto list = [&](char open, char close, const auto& items, const auto& show_item) {
    out += open;
    const char* before = " ";
    for (auto&& item : items) {
      out += std::exchange(before, ", ");
      show_item(item);
    }
    out.append(items.empty() ? "" : " ") += close;
  };
  if (const auto* array = node.as_array()) {
    list('[', ']', *array, [&](const toml::node& item) { show(out, item); });
  } else if (const auto* table = node.as_table()) {
    list('{', '}', *table, [&](const auto& item) {
      out.append(item.first.str()).append(" = ");
      show(out, item.second);
    });
  } else {
    std::ostringstream text;
    text << toml::default_formatter{node, toml::format_flags::none};
    out += text.str();
  }
}
std::string shown(const toml::node& node) {
  std::string out;
  show(out, node);
  out = from_ascii(out);
  if (out.size() <= kShownBytesMax) return out;
  std::size_t end = kShownBytesMax;
  while ((static_cast<unsigned char>(out[end]) & 0xC0) == 0x80) --end;  // not within a letter
  return out.substr(0, end) + "...";
}

// The first line that is not UTF-8, or that would be shown in another order than it is read; 0: none.
std::size_t line_of_bad_text(std::string_view text) {
  std::size_t line = 1;
  std::string letters;
  for (const char c : text) {
    if (c != '\n') {
      letters += static_cast<unsigned char>(c) >= 0x80 ? c : ' ';  // control characters are the parser's to refuse
      continue;
    }
    if (!is_plain_text(letters)) return line;
    letters.clear();
    ++line;
  }
  return is_plain_text(letters) ? 0 : line;
}

// Reads keys out of one file and remembers which were asked for, so that what is left over can be refused.
class Reader {
 public:
  explicit Reader(std::string path) : path_(std::move(path)) {}

  Result<void> open() {
    auto text = read_file(path_);
    if (!text) return fail(text.error());
    if (text->starts_with("\xEF\xBB\xBF")) text->erase(0, 3);  // a byte order mark
    if (const std::size_t line = line_of_bad_text(*text); line != 0)
      return fail(Code::kInvalid,
                  path_ + ":" + std::to_string(line) + ": not UTF-8, or it turns the direction of writing");
    for (const std::string_view escape : {"\\u0060", "\\U00000060"}) {  // as_ascii's own sign, made behind its back
      if (text->find(escape) != std::string::npos)
        return fail(Code::kInvalid, path_ + ": " + std::string(escape) + ": write ` itself");
    }
    try {
      root_ = toml::parse(as_ascii(*text), path_);
    } catch (const toml::parse_error& error) {
      return fail(Code::kInvalid,
                  path_ + ":" + std::to_string(error.source().begin.line) + ": " + from_ascii(error.description()));
    } catch (const TomlConfused&) {
      return fail(Code::kInvalid, path_ + ": not TOML; look for a name that is missing, behind a '[' above all");
    }
    return {};
  }

  void text(const std::string& key, std::string& out, bool required = false) {
    with(key, required, "a string", [&](const toml::node& node) {
      const auto value = text_of(node);
      if (value) out = *value;
      return value.has_value();
    });
  }
  void flag(const std::string& key, bool& out) {
    with(key, false, "true or false", [&](const toml::node& node) {
      const auto value = node.value_exact<bool>();
      if (value) out = *value;
      return value.has_value();
    });
  }
  // Whole numbers within [low, high].
  template <class T>
  void number(const std::string& key, T& out, std::int64_t low, std::int64_t high, std::int64_t unit = 1) {
    with(key, false, "a whole number from " + std::to_string(low) + " to " + std::to_string(high),
         [&](const toml::node& node) {
           const auto value = node.value_exact<std::int64_t>();
           if (!value || *value < low || *value > high) return false;
           out = static_cast<T>(*value * unit);
           return true;
         });
  }
  // ["hub-1=127.0.0.1:7401", ...]
  void addresses(const std::string& key, std::vector<std::pair<NodeId, std::string>>& out) {
    with(key, true, "a list like [\"hub-1=127.0.0.1:7400\"] of 1 to 9 different hubs", [&](const toml::node& node) {
      const auto* list = node.as_array();
      if (list == nullptr || list->empty() || list->size() > 9) return false;
      std::set<std::string> seen;
      for (const auto& item : *list) {
        const auto value = text_of(item);
        const std::size_t equals = value ? value->find('=') : std::string::npos;
        if (equals == std::string::npos || equals == 0) return false;
        if (!check_node_id(value->substr(0, equals)) || !seen.insert(value->substr(0, equals)).second) return false;
        out.emplace_back(value->substr(0, equals), value->substr(equals + 1));
      }
      return true;
    });
  }

  // ["22:00-06:00", ...]: hours of the day, UTC.
  void windows(const std::string& key, std::vector<TransferWindow>& out) {
    const std::string expected = "a list of up to " + std::to_string(kTransferWindowsMax) +
                                 " different times of the day, UTC, as in [\"22:00-06:00\"]";
    with(key, false, expected, [&](const toml::node& node) {
      const auto* list = node.as_array();
      if (list == nullptr || list->size() > kTransferWindowsMax) return false;
      for (const auto& item : *list) {
        const auto text = text_of(item);
        const auto window = text ? parse_transfer_window(*text) : fail(Code::kInvalid, "no text");
        if (!window) return false;
        out.push_back(*window);
      }
      return true;
    });
  }

  // A table whose names are not ours: strings, whole numbers, and true and false as yes and no.
  void pairs(const std::string& key, std::size_t most, std::vector<std::pair<std::string, std::string>>& out) {
    const toml::node* node = table_->get(key);
    if (node == nullptr || !problem_.empty()) return;
    const auto* table = node->as_table();
    if (table == nullptr || table->size() > most) {
      problem_ = path_ + ":" + std::to_string(node->source().begin.line) + ": " + key + " must be written as [" + key +
                 "] with up to " + std::to_string(most) + " entries";
      return;
    }
    for (const auto& [name, value] : *table) {
      const std::string shown_name = from_ascii(name.str());
      known_.insert(key + "." + shown_name);
      std::string text;
      if (const auto word = text_of(value)) {
        text = *word;
      } else if (const auto number = value.value_exact<std::int64_t>()) {
        text = std::to_string(*number);
      } else if (const auto flag = value.value_exact<bool>()) {
        text = *flag ? "yes" : "no";
      } else {
        problem_ = path_ + ":" + std::to_string(value.source().begin.line) + ": " + key + "." + shown_name + " = " +
                   shown(value) + ": must be a string, a whole number, true or false";
        return;
      }
      out.emplace_back(shown_name, std::move(text));
    }
  }

  // Every table of an array [[key]], each read as a file of its own whose keys are named key.NAME.
  void tables(const std::string& key, const std::function<void(Reader&)>& take) {
    known_.insert(key);
    const auto view = table_->at_path(key);
    if (!view || !problem_.empty()) return;
    const auto* list = view.as_array();
    if (list == nullptr || list->size() > kNamespacesMax) {
      problem_ = path_ + ": " + key + " must be written as up to " + std::to_string(kNamespacesMax) + " tables [[" +
                 key + "]]";
      return;
    }
    for (const auto& item : *list) {
      const auto* table = item.as_table();
      if (table == nullptr) {
        problem_ =
            path_ + ":" + std::to_string(item.source().begin.line) + ": " + key + " must be written as [[" + key + "]]";
        return;
      }
      Reader inner(path_);
      inner.table_ = table;
      take(inner);
      if (const auto ok = inner.done(); !ok) {
        problem_ = ok.error().message;
        return;
      }
    }
  }
  // One of `names`; `out` gets its position.
  template <class E, std::size_t N>
  void choice(const std::string& key, E& out, const char* const (&names)[N]) {
    std::string all;
    for (const char* name : names) all += (all.empty() ? "" : ", ") + std::string(name);
    with(key, false, "one of " + all, [&](const toml::node& node) {
      const auto value = text_of(node);
      for (std::size_t i = 0; value && i < N; ++i) {
        if (*value == names[i]) {
          out = static_cast<E>(i);
          return true;
        }
      }
      return false;
    });
  }

  // A list of different ones of `names`.
  template <class E, std::size_t N>
  void choices(const std::string& key, std::vector<E>& out, const char* const (&names)[N]) {
    std::string all;
    for (const char* name : names) all += (all.empty() ? "" : ", ") + std::string(name);
    with(key, false, "a list of different ones of " + all, [&](const toml::node& node) {
      const auto* list = node.as_array();
      if (list == nullptr || list->empty()) return false;
      out.clear();
      for (const auto& item : *list) {
        const auto value = text_of(item);
        const auto* const at =
            std::find_if(std::begin(names), std::end(names), [&](const char* name) { return value == name; });
        if (at == std::end(names)) return false;
        const E one = static_cast<E>(at - std::begin(names));
        if (std::find(out.begin(), out.end(), one) != out.end()) return false;
        out.push_back(one);
      }
      return true;
    });
  }

  Result<void> done() {
    if (problem_.empty()) refuse_unknown(*table_, "");
    if (!problem_.empty()) return fail(Code::kInvalid, problem_);
    return {};
  }

 private:
  void with(const std::string& key, bool required, const std::string& expected,
            const std::function<bool(const toml::node&)>& take) {
    known_.insert(key);
    const auto view = table_->at_path(key);
    if (!problem_.empty()) return;
    if (!view) {
      if (required) problem_ = path_ + ": key '" + key + "' is missing; it must be " + expected;
      return;
    }
    if (!take(*view.node())) {
      problem_ = path_ + ":" + std::to_string(view.node()->source().begin.line) + ": " + key + " = " +
                 shown(*view.node()) + ": must be " + expected;
    }
  }
  void refuse_unknown(const toml::table& table, const std::string& prefix) {
    for (const auto& [name, node] : table) {
      const std::string key = prefix + from_ascii(name.str());
      if (const auto* inner = node.as_table()) {
        refuse_unknown(*inner, key + ".");
      } else if (!known_.contains(key) && problem_.empty()) {
        std::string all;
        for (const std::string& one : known_) all += (all.empty() ? "" : ", ") + one;
        problem_ = path_ + ":" + std::to_string(node.source().begin.line) + ": unknown key '" + key +
                   "' = " + shown(node) + "; known keys are " + all;
      }
    }
  }

  const std::string path_;
  toml::table root_;
  const toml::table* table_ = &root_;  // read where it stands: a copy would forget its lines
  std::set<std::string> known_;
  std::string problem_;
};

void read_tls(Reader& reader, TlsFiles& tls) {
  reader.text("tls.ca", tls.ca_file, true);
  reader.text("tls.certificate", tls.certificate_file, true);
  reader.text("tls.key", tls.key_file, true);
}
void read_log(Reader& reader, LogSettings& log) {
  reader.text("log.level", log.level);
  reader.text("log.format", log.format);
}

// What ships, with [[namespace]] tables in place of, or beside, what has their prefix (DESIGN 2: a hub's file seeds an
// empty cluster).
void read_namespaces(Reader& reader, std::vector<Namespace>& namespaces) {
  namespaces = default_namespaces();
  reader.tables("namespace", [&](Reader& table) {
    Namespace ns;
    table.text("prefix", ns.prefix, true);
    table.choice("consistency", ns.consistency, kConsistency);
    table.choice("scope", ns.scope, kScope);
    table.choice("write_mode", ns.write_mode, kMode);
    table.number("bound_ms", ns.bound_ns, 0, 86'400'000, kMillisecond);
    table.number("bound_floor_ms", ns.bound_floor_ns, 0, 86'400'000, kMillisecond);
    table.number("flush_age_ms", ns.flush_age_ns, 0, 3'600'000, kMillisecond);
    table.number("ttl_ms", ns.ttl_ns, 0, std::int64_t{316'224'000'000}, kMillisecond);
    table.choices("on_stale", ns.on_stale, kOnStale);
    table.number("deadline_ms", ns.deadline_ns, 0, 3'600'000, kMillisecond);
    table.number("fallback_cap_ms", ns.fallback_cap_ns, 1, std::int64_t{316'224'000'000}, kMillisecond);
    const auto same = std::find_if(namespaces.begin(), namespaces.end(),
                                   [&](const Namespace& one) { return one.prefix == ns.prefix; });
    if (same != namespaces.end())
      *same = std::move(ns);
    else
      namespaces.insert(namespaces.begin(), std::move(ns));
  });
}

}  // namespace

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  if (in) out << in.rdbuf();
  if (!in) return fail(Code::kInvalid, path + ": " + std::strerror(errno));
  return out.str();
}

Result<void> write_file(const std::string& path, std::string_view bytes, unsigned mode) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, static_cast<mode_t>(mode));
  if (fd < 0) return fail(Code::kInvalid, path + ": " + std::strerror(errno));
  const bool good = ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && ::fsync(fd) == 0;
  const int cause = errno;
  ::close(fd);
  if (!good) return fail(Code::kBusy, path + ": " + std::strerror(cause));
  return {};
}

// Where published files rest; without a url in the hubs' own folders.
static void read_models(Reader& reader, ModelOriginSettings& models) {
  ObjectStoreOptions& store = models.store;
  reader.choice("models.store", store.engine, kModelStore);
  reader.text("models.url", store.url);
  reader.text("models.prefix", models.prefix);
  reader.text("models.region", store.region);
  reader.flag("models.path_style", store.path_style);
  reader.text("models.ca", store.ca_file);
  reader.flag("models.allow_plain_http", store.allow_plain_http);
  reader.choice("models.credentials", store.credentials, kCredentials);
  reader.text("models.credentials_file", store.credentials_file);
  reader.text("models.metadata_url", store.metadata_url);
  reader.number("models.quota_mib", models.quota_bytes, 0, 1'000'000'000, std::int64_t{1} << 20);
  reader.number("models.watch_s", models.watch_every, 0, 86'400, kSecond);
  models.used = !store.url.empty();
}
static Result<void> check_models(const ModelOriginSettings& models) {
  const ObjectStoreOptions& store = models.store;
  if (!models.used && store.engine != ObjectEngine::kFolder)
    return fail(Code::kInvalid, "url is missing: where the store is");
  if (!models.used && (models.quota_bytes > 0 || models.watch_every > 0))
    return fail(Code::kInvalid,
                "quota_mib bounds copies of what rests elsewhere, and watch_s looks there: they need a url");
  if ((store.credentials == CredentialKind::kFile) == store.credentials_file.empty())
    return fail(Code::kInvalid, "credentials_file belongs to credentials = \"file\", and the other way round");
  return {};
}

Result<HubSettings> read_hub_config(const std::string& path) {
  Reader reader(path);
  if (const auto ok = reader.open(); !ok) return fail(ok.error());
  HubSettings settings;
  HubConfig& hub = settings.hub;
  std::vector<std::pair<NodeId, std::string>> hubs;
  std::string model_key;
  reader.text("id", hub.id, true);
  reader.text("data_dir", hub.data_dir, true);
  reader.text("grpc", hub.grpc_address, true);
  reader.text("http", hub.http_address, true);
  reader.addresses("hubs", hubs);
  reader.flag("joins", hub.joins);
  read_tls(reader, hub.tls);
  reader.text("join.ca_key", hub.ca_key_file);
  reader.text("join.tokens", hub.join_tokens_file);
  reader.text("model_key", model_key);
  ClusterSettings& cluster = hub.seed.settings;
  reader.number("cluster.authority_window_ms", cluster.authority_window_ns, 50, 10'000, kMillisecond);
  reader.number("cluster.lease_long_ms", cluster.lease_long_ns, 100, 3'600'000, kMillisecond);
  reader.number("cluster.lease_short_ms", cluster.lease_short_ns, 100, 60'000, kMillisecond);
  reader.number("cluster.rho_ppm", cluster.rho_ppm, 1, 99'999);
  reader.number("ledger.election_timeout_ms", hub.election_timeout_ms, 50, 60'000);
  reader.number("ledger.heartbeat_ms", hub.heartbeat_ms, 5, 10'000);
  reader.number("ledger.snapshot_threshold_entries", hub.snapshot_threshold_entries, 64, 10'000'000);
  read_models(reader, hub.models);
  read_namespaces(reader, hub.seed.namespaces);
  read_log(reader, settings.log);
  if (const auto ok = reader.done(); !ok) return fail(ok.error());
  if (const auto ok = check_models(hub.models); !ok)
    return fail(Code::kInvalid, path + ": [models] " + ok.error().message);
  if (const auto ok = validate_namespaces(hub.seed.namespaces); !ok)
    return fail(Code::kInvalid, path + ": " + ok.error().message);
  if (const auto ok = check_node_id(hub.id); !ok)
    return fail(Code::kInvalid, path + ": id = \"" + hub.id + "\": " + ok.error().message);
  if (const auto ok = validate_settings(cluster); !ok)
    return fail(Code::kInvalid, path + ": [cluster] " + ok.error().message);
  hub.hubs = {hubs.begin(), hubs.end()};
  if (!model_key.empty()) {
    auto key = read_file(model_key);
    if (!key) return fail(Code::kInvalid, path + ": model_key = \"" + model_key + "\": " + key.error().message);
    hub.seed.model_key = std::move(*key);
  }
  return settings;
}

Result<EdgeSettings> read_edge_config(const std::string& path) {
  Reader reader(path);
  if (const auto ok = reader.open(); !ok) return fail(ok.error());
  EdgeSettings settings;
  EdgeConfig& edge = settings.edge;
  std::vector<std::pair<NodeId, std::string>> hubs;
  reader.text("id", edge.id, true);
  reader.text("site", edge.site, true);
  reader.text("data_dir", edge.data_dir, true);
  reader.text("run_dir", edge.run_dir, true);
  reader.addresses("hubs", hubs);
  reader.text("redis", edge.redis_address);
  reader.text("redis_tls", edge.redis_tls_address);
  reader.text("redis_unix", edge.redis_unix);
  reader.text("http", edge.http_address);
  reader.text("requirepass", edge.requirepass);
  std::vector<std::pair<std::string, std::string>> users;
  reader.pairs("labels", 16, edge.labels);
  reader.pairs("users", Acl::kUsersMax, users);
  reader.pairs("config", 256, edge.parameters);
  read_tls(reader, edge.tls);
  reader.text("redis_door.certificate", edge.redis_tls.certificate_file);
  reader.text("redis_door.key", edge.redis_tls.key_file);
  reader.text("redis_door.ca", edge.redis_tls.ca_file);
  reader.choice("redis_door.clients", edge.redis_tls.clients, kTlsClients);
  reader.choice("redis_door.io", edge.redis_io, kRedisIo);
  reader.number("memory.arena_mib", edge.arena_bytes, 1, 1'048'576, 1 << 20);
  reader.choice("l2.engine", edge.l2.engine, kL2Engine);
  reader.text("l2.address", edge.l2.address);
  reader.text("l2.password", edge.l2.password);
  reader.number("l2.deadline_us", edge.l2.deadline_ns, 50, 100'000, kMicrosecond);
  reader.text("model_server.folder", edge.model_server.folder);
  reader.text("model_server.url", edge.model_server.url);
  reader.number("model_server.timeout_ms", edge.model_server.timeout_ms, 100, 3'600'000);
  reader.number("breaker.window_ms", edge.breaker.window_ns, 1'000, 3'600'000, kMillisecond);
  reader.number("breaker.frames_min", edge.breaker.frames_min, 1, 1'000'000);
  reader.number("breaker.failed_percent", edge.breaker.failed_percent, 0, 100);
  reader.number("breaker.late_after_ms", edge.breaker.late_after_ns, 0, 3'600'000, kMillisecond);
  reader.number("breaker.late_percent", edge.breaker.late_percent, 0, 100);
  reader.number("breaker.open_ms", edge.breaker.open_ns, 100, 3'600'000, kMillisecond);
  reader.number("breaker.probes", edge.breaker.probes, 1, 1'000);
  reader.number("l2.max_bytes", edge.l2.bytes_max, 1 << 20, std::int64_t{1} << 50);
  constexpr std::int64_t kTransferBytesMax = std::int64_t{1} << 50;
  reader.number("transfer.rate_bytes_per_s", edge.transfer.rate_bytes_per_s, 0, kTransferBytesMax);
  reader.number("transfer.daily_budget_bytes", edge.transfer.daily_budget_bytes, 0, kTransferBytesMax);
  reader.number("transfer.monthly_budget_bytes", edge.transfer.monthly_budget_bytes, 0, kTransferBytesMax);
  reader.windows("transfer.windows", edge.transfer.windows);
  reader.flag("transfer.full_fallback", edge.transfer_full_fallback);
  reader.flag("transfer.neighbours", edge.site_neighbours);
  reader.text("transfer.listen", edge.site_listen);
  reader.text("transfer.address", edge.site_address);
  reader.number("models.quota_mib", edge.models.quota_bytes, 0, 1'000'000'000, std::int64_t{1} << 20);
  reader.number("models.rehash_kib_per_s", edge.models.rehash_bytes_per_s, 0, 1 << 20, 1 << 10);
  std::string root, root_sha256;
  reader.text("trust.root", root);
  reader.text("trust.root_sha256", root_sha256);
  read_log(reader, settings.log);
  if (const auto ok = reader.done(); !ok) return fail(ok.error());
  if (const auto ok = pin_trust(root, root_sha256, edge.models); !ok)
    return fail(Code::kInvalid, path + ": " + ok.error().message);
  if (const auto ok = check_node_id(edge.id); !ok)
    return fail(Code::kInvalid, path + ": id = \"" + edge.id + "\": " + ok.error().message);
  if (const auto ok = check_model_server(edge.model_server); !ok)
    return fail(Code::kInvalid, path + ": " + ok.error().message);
  if (const auto ok = validate_labels(edge.labels); !ok) return fail(Code::kInvalid, path + ": " + ok.error().message);
  if (const auto ok = check_l2(edge.l2); !ok) return fail(Code::kInvalid, path + ": " + ok.error().message);
  if (edge.redis_tls_address.empty() && !(edge.redis_tls.certificate_file + edge.redis_tls.ca_file).empty()) {
    return fail(Code::kInvalid,
                path + ": [redis_door] is for redis_tls, which is not set: set it, or remove the section");
  }
  if (edge.redis_tls.certificate_file.empty() != edge.redis_tls.key_file.empty()) {
    return fail(Code::kInvalid, path + ": [redis_door]: certificate = \"" + edge.redis_tls.certificate_file +
                                    "\", key = \"" + edge.redis_tls.key_file + "\": give both or neither");
  }
  edge.hubs = {hubs.begin(), hubs.end()};
  for (const auto& [name, rules] : users) {
    if (name.find_first_of(" \t\r\n") != std::string::npos || name.empty()) {
      return fail(Code::kInvalid, path + ": [users]: the name \"" + name + "\" must have no blanks");
    }
    edge.users.push_back(name + " " + rules);
    if (const std::string wrong = check_acl_line(edge.users.back()); !wrong.empty()) {
      return fail(Code::kInvalid, path + ": [users]: " + wrong.substr(wrong.find(' ') + 1));
    }
  }
  return settings;
}

Result<OperatorConfig> read_operator_config(const std::string& path) {
  Reader reader(path);
  if (const auto ok = reader.open(); !ok) return fail(ok.error());
  OperatorConfig config;
  reader.addresses("hubs", config.hubs);
  read_tls(reader, config.tls);
  if (const auto ok = reader.done(); !ok) return fail(ok.error());
  return config;
}

}  // namespace tidelock
