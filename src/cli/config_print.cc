// What a configuration came to, as JSON. Nothing secret is in it.

#include <nlohmann/json.hpp>

#include "cli/config.h"
#include "cli/config_names.h"
#include "cli/trust_pin.h"

namespace tidelock {
namespace {

nlohmann::json list_of(const std::vector<std::pair<NodeId, std::string>>& hubs) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [id, address] : hubs) list.push_back(id + "=" + address);
  return list;
}
std::vector<std::pair<NodeId, std::string>> pairs_of(const std::map<NodeId, std::string>& hubs) {
  return {hubs.begin(), hubs.end()};
}

nlohmann::json windows_json(const std::vector<TransferWindow>& windows) {
  nlohmann::json list = nlohmann::json::array();
  for (const TransferWindow& window : windows) list.push_back(transfer_window_text(window));
  return list;
}

std::vector<std::string> user_names(const std::vector<std::string>& lines) {  // their rules hold hashes of passwords
  std::vector<std::string> names;
  for (const std::string& line : lines) names.push_back(line.substr(0, line.find(' ')));
  return names;
}

nlohmann::json namespaces_json(const std::vector<Namespace>& namespaces) {
  nlohmann::json list = nlohmann::json::array();
  for (const Namespace& ns : namespaces) {
    nlohmann::json on_stale = nlohmann::json::array();
    for (const OnStale what : ns.on_stale) on_stale.push_back(kOnStale[static_cast<int>(what)]);
    list.push_back({{"prefix", ns.prefix},
                    {"consistency", kConsistency[static_cast<int>(ns.consistency)]},
                    {"bound_ms", ns.bound_ns / kMillisecond},
                    {"bound_floor_ms", ns.bound_floor_ns / kMillisecond},
                    {"scope", kScope[static_cast<int>(ns.scope)]},
                    {"write_mode", kMode[static_cast<int>(ns.write_mode)]},
                    {"flush_age_ms", ns.flush_age_ns / kMillisecond},
                    {"ttl_ms", ns.ttl_ns / kMillisecond},
                    {"on_stale", std::move(on_stale)},
                    {"deadline_ms", ns.deadline_ns / kMillisecond},
                    {"fallback_cap_ms", ns.fallback_cap_ns == kForever ? -1 : ns.fallback_cap_ns / kMillisecond}});
  }
  return list;
}

}  // namespace

std::string print_config(const HubSettings& settings) {
  const HubConfig& hub = settings.hub;
  const ClusterSettings& cluster = hub.seed.settings;
  const nlohmann::json json = {
      {"id", hub.id},
      {"data_dir", hub.data_dir},
      {"grpc", hub.grpc_address},
      {"http", hub.http_address},
      {"hubs", list_of(pairs_of(hub.hubs))},
      {"joins", hub.joins},
      {"tls", {{"ca", hub.tls.ca_file}, {"certificate", hub.tls.certificate_file}, {"key", hub.tls.key_file}}},
      {"join", {{"ca_key", hub.ca_key_file}, {"tokens", hub.join_tokens_file}}},
      {"cluster",
       {{"authority_window_ms", cluster.authority_window_ns / kMillisecond},
        {"lease_long_ms", cluster.lease_long_ns / kMillisecond},
        {"lease_short_ms", cluster.lease_short_ns / kMillisecond},
        {"rho_ppm", cluster.rho_ppm}}},
      {"ledger",
       {{"election_timeout_ms", hub.election_timeout_ms},
        {"heartbeat_ms", hub.heartbeat_ms},
        {"snapshot_threshold_entries", hub.snapshot_threshold_entries}}},
      {"models",
       {{"store", kModelStore[static_cast<std::size_t>(hub.models.store.engine)]},
        {"url", hub.models.store.url.substr(0, hub.models.store.url.find('?'))},
        {"prefix", hub.models.prefix},
        {"region", hub.models.store.region},
        {"path_style", hub.models.store.path_style},
        {"ca", hub.models.store.ca_file},
        {"allow_plain_http", hub.models.store.allow_plain_http},
        {"credentials", kCredentials[static_cast<std::size_t>(hub.models.store.credentials)]},
        {"credentials_file", hub.models.store.credentials_file},
        {"metadata_url", hub.models.store.metadata_url},
        {"quota_mib", hub.models.quota_bytes >> 20},
        {"watch_s", hub.models.watch_every / kSecond}}},
      {"namespaces", namespaces_json(hub.seed.namespaces.empty() ? default_namespaces() : hub.seed.namespaces)},
      {"log", {{"level", settings.log.level}, {"format", settings.log.format}}}};
  return json.dump(2);
}

std::string print_config(const EdgeSettings& settings) {
  const EdgeConfig& edge = settings.edge;
  const nlohmann::json json = {
      {"id", edge.id},
      {"site", edge.site},
      {"labels", edge.labels},
      {"data_dir", edge.data_dir},
      {"run_dir", edge.run_dir},
      {"hubs", list_of({edge.hubs.begin(), edge.hubs.end()})},
      {"redis", edge.redis_address},
      {"redis_tls", edge.redis_tls_address},
      {"redis_unix", edge.redis_unix},
      {"http", edge.http_address},
      {"requirepass", edge.requirepass.empty() ? "" : "[hidden]"},
      {"users", user_names(edge.users)},
      {"config", edge.parameters},
      {"tls", {{"ca", edge.tls.ca_file}, {"certificate", edge.tls.certificate_file}, {"key", edge.tls.key_file}}},
      {"redis_door",
       {{"certificate", edge.redis_tls.certificate_file},
        {"key", edge.redis_tls.key_file},
        {"ca", edge.redis_tls.ca_file},
        {"clients", kTlsClients[static_cast<int>(edge.redis_tls.clients)]},
        {"io", kRedisIo[static_cast<int>(edge.redis_io)]}}},
      {"memory", {{"arena_mib", edge.arena_bytes >> 20}}},
      {"l2",
       {{"engine", kL2Engine[static_cast<int>(edge.l2.engine)]},
        {"address", edge.l2.address},
        {"password", edge.l2.password.empty() ? "" : "[hidden]"},
        {"deadline_us", edge.l2.deadline_ns / kMicrosecond},
        {"max_bytes", edge.l2.bytes_max}}},
      {"model_server",
       {{"folder", edge.model_server.folder},
        {"url", edge.model_server.url},
        {"timeout_ms", edge.model_server.timeout_ms}}},
      {"breaker",
       {{"window_ms", edge.breaker.window_ns / kMillisecond},
        {"frames_min", edge.breaker.frames_min},
        {"failed_percent", edge.breaker.failed_percent},
        {"late_after_ms", edge.breaker.late_after_ns / kMillisecond},
        {"late_percent", edge.breaker.late_percent},
        {"open_ms", edge.breaker.open_ns / kMillisecond},
        {"probes", edge.breaker.probes}}},
      {"transfer",
       {{"rate_bytes_per_s", edge.transfer.rate_bytes_per_s},
        {"daily_budget_bytes", edge.transfer.daily_budget_bytes},
        {"monthly_budget_bytes", edge.transfer.monthly_budget_bytes},
        {"windows", windows_json(edge.transfer.windows)},
        {"full_fallback", edge.transfer_full_fallback},
        {"neighbours", edge.site_neighbours},
        {"listen", edge.site_listen},
        {"address", edge.site_address}}},
      {"trust", {{"root_sha256", pinned_sha256(edge.models)}}},
      {"models",
       {{"quota_mib", edge.models.quota_bytes >> 20}, {"rehash_kib_per_s", edge.models.rehash_bytes_per_s >> 10}}},
      {"log", {{"level", settings.log.level}, {"format", settings.log.format}}}};
  return json.dump(2);
}

}  // namespace tidelock
