// INFO as Redis lays it out, with a section of ours, and TL.INFO as JSON.

#include <unistd.h>

#include <algorithm>
#include <string>

#include "edge/breakers.h"
#include "edge/commands.h"
#include "edge/tl_reply.h"
#include "wire/resp/numbers.h"

namespace tidelock {
namespace {

class Text {
 public:
  Text& line(std::string_view name, std::string_view value) {
    out_ += std::string(name) + ":" + std::string(value) + "\r\n";
    return *this;
  }
  Text& line(std::string_view name, std::uint64_t value) { return line(name, std::to_string(value)); }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

std::string json_string(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

class Json {
 public:
  Json& field(std::string_view name, std::string_view text) { return raw(name, json_string(text)); }
  Json& field(std::string_view name, std::int64_t number) { return raw(name, std::to_string(number)); }
  Json& field(std::string_view name, std::uint64_t number) { return raw(name, std::to_string(number)); }
  Json& field(std::string_view name, bool value) { return raw(name, value ? "true" : "false"); }
  Json& raw(std::string_view name, std::string_view json) {
    out_ += out_.empty() ? "{" : ",";
    out_ += json_string(name) + ":" + std::string(json);
    return *this;
  }
  std::string take() { return (out_.empty() ? "{" : out_) + "}"; }

 private:
  std::string out_;
};

// -1: never, or unbounded.
std::int64_t ms_between(Nanos later, Nanos earlier) {
  return earlier == kNever ? -1 : saturating_sub(later, earlier) / kMillisecond;
}

}  // namespace

std::string EdgeCommands::info(const Arguments& args) const {
  const auto wants = [&](std::string_view section) {
    if (args.size() == 1) return true;
    for (std::size_t i = 1; i < args.size(); ++i) {
      for (const std::string_view every : {"all", "default", "everything"}) {
        if (equal_ignoring_case(args[i], every)) return true;
      }
      if (equal_ignoring_case(args[i], section)) return true;
    }
    return false;
  };
  const EdgeCore& core = core_.core();
  const Nanos now = core_.clock().now();
  const OutboxCounters& outbox = core.outbox().counters();
  std::string out;
  const auto add = [&](std::string section) {
    if (!out.empty()) out += "\r\n";
    out += section;
  };
  if (wants("server")) {
    const auto uptime = static_cast<std::uint64_t>((now - started_at_) / kSecond);
    Text server;
    server.line("redis_version", "7.0.15")
        .line("redis_mode", "standalone")
        .line("os", "Linux")
        .line("arch_bits", 64)
        .line("multiplexing_api", back_end_name(core_.loop().back_end()));
    if (const std::string& why = core_.loop().refusal(); !why.empty()) server.line("multiplexing_refusal", why);
    server.line("process_id", static_cast<std::uint64_t>(::getpid()))
        .line("uptime_in_seconds", uptime)
        .line("uptime_in_days", uptime / 86400);
    add("# Server\r\n" + server.take());
  }
  if (wants("clients") || wants("stats")) {  // the second ends the first
    add(server_->info_sections() + Text()
                                       .line("keyspace_hits", core_.reads_found())
                                       .line("keyspace_misses", core_.reads_missing())
                                       .line("evicted_keys", l2_.counters().evicted)
                                       .take());
  }
  if (wants("memory")) {
    add("# Memory\r\n" + Text()
                             .line("used_memory", core_.arena().live_bytes())
                             .line("maxmemory", config_.arena_bytes)
                             .line("maxmemory_policy", "allkeys-lru")
                             .line("arena_bytes", core_.arena().live_bytes())
                             .line("arena_entries", core_.arena().entries())
                             .take());
  }
  if (wants("persistence")) {
    add("# Persistence\r\n" +
        Text().line("loading", 0).line("rdb_bgsave_in_progress", 0).line("aof_enabled", 0).take());
  }
  if (wants("replication")) add("# Replication\r\n" + Text().line("role", "master").line("connected_slaves", 0).take());
  if (wants("errorstats")) add(server_->statistics_section("errorstats"));
  for (const std::string_view section : {"commandstats", "latencystats"}) {  // long: only when asked for
    const bool named = std::any_of(args.begin() + 1, args.end(), [&](std::string_view arg) {
      return equal_ignoring_case(arg, section) || equal_ignoring_case(arg, "all") ||
             equal_ignoring_case(arg, "everything");
    });
    if (named) add(server_->statistics_section(section));
  }
  if (wants("keyspace")) {  // what memory holds; DBSIZE counts L2 too
    std::string text = "# Keyspace\r\n";
    const std::size_t entries = core.memory().entries();
    if (entries > 0) text += "db0:keys=" + std::to_string(entries) + ",expires=0,avg_ttl=0\r\n";
    add(text);
  }
  if (wants("tidelock")) {
    const EdgeCounters& counters = core.counters();
    add("# Tidelock\r\n" +
        Text()
            .line("edge", config_.id)
            .line("site", config_.site)
            .line("session", core.session_open() ? "open" : "none")
            .line("session_hub", core_.session_hub())
            .line("term", core.highest_term().value)
            .line("applied", core.applied().value)
            .line("fresh_age_ms", std::to_string(ms_between(now, core.fresh_at())))
            .line("lease_left_ms", std::to_string(core.lease_until() == kNever || core.lease_until() <= now
                                                      ? 0
                                                      : ms_between(core.lease_until(), now)))
            .line("open_blocks", core.open_blocks())
            .line("clock_fault", core.clock_fault() ? 1 : 0)
            .line("open_breakers", breakers_.open())
            .line("reads", counters.reads_total)
            .line("hits", counters.hits_total)
            .line("fallbacks", counters.fallbacks_total)
            .line("stale", counters.stale_total)
            .line("invalidations", counters.invalidations_total)
            .line("fetches", counters.fetches_total)
            .line("probes", counters.probes_total)
            .line("sessions", counters.sessions_total)
            .line("features_written", outbox.written)
            .line("features_flushed", outbox.flushed)
            .line("features_superseded", outbox.superseded)
            .line("features_expired", outbox.expired)
            .line("features_pending", outbox.pending)
            .line("features_shed", outbox.shed)
            .line("features_lost", outbox.lost)
            .take());
  }
  return out;
}

std::string EdgeCommands::tl_info() const {
  const EdgeCore& core = core_.core();
  const EdgeCounters& counters = core.counters();
  const OutboxCounters& outbox = core.outbox().counters();
  const Nanos now = core_.clock().now();
  const Nanos lease = core.lease_until();
  std::string namespaces;
  for (const Namespace& ns : core.namespaces()) {
    namespaces += namespaces.empty() ? "[" : ",";
    namespaces += Json()
                      .field("prefix", ns.prefix)
                      .field("consistency", consistency_name(ns.consistency))
                      .field("bound_ms", static_cast<std::int64_t>(ns.bound_ns / kMillisecond))
                      .field("ttl_ms", static_cast<std::int64_t>(ns.ttl_ns / kMillisecond))
                      .take();
  }
  namespaces += namespaces.empty() ? "[]" : "]";
  return Json()
      .field("edge", config_.id)
      .field("site", config_.site)
      .field("session_open", core.session_open())
      .field("hub", core_.session_hub())
      .field("term", core.highest_term().value)
      .field("applied", core.applied().value)
      .field("fresh_age_ms", ms_between(now, core.fresh_at()))
      .field("lease_left_ms", lease == kNever || lease <= now ? std::int64_t{0} : ms_between(lease, now))
      .field("open_blocks", static_cast<std::uint64_t>(core.open_blocks()))
      .field("clock_fault", core.clock_fault())
      .field("entries", static_cast<std::uint64_t>(core.memory().entries()))
      .field("memory_bytes", static_cast<std::uint64_t>(core.memory().bytes()))
      .raw("reads", Json()
                        .field("total", counters.reads_total)
                        .field("hits", counters.hits_total)
                        .field("fallbacks", counters.fallbacks_total)
                        .field("stale", counters.stale_total)
                        .take())
      .field("invalidations", counters.invalidations_total)
      .field("fetches", counters.fetches_total)
      .field("probes", counters.probes_total)
      .field("sessions", counters.sessions_total)
      .raw("features", Json()
                           .field("written", outbox.written)
                           .field("flushed", outbox.flushed)
                           .field("superseded", outbox.superseded)
                           .field("expired", outbox.expired)
                           .field("pending", outbox.pending)
                           .field("shed", outbox.shed)
                           .field("lost", outbox.lost)
                           .take())
      .raw("models", models_json_())
      .raw("breakers", breakers_.json())
      .raw("namespaces", namespaces)
      .take();
}

}  // namespace tidelock
