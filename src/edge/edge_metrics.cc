#include "edge/edge_metrics.h"

namespace tidelock {

void RedisGauges::publish(const RespServerStats& stats) {
  const auto set = [](Word& word, std::uint64_t value) { word.store(value, std::memory_order_relaxed); };
  set(connections, stats.connections);
  set(connections_total, stats.connections_total);
  set(commands, stats.commands_total);
  set(errors, stats.errors_total);
  set(deferred, stats.deferred);
  set(authentication_failures, stats.authentication_failures);
  set(refused_max, stats.refused_max);
  set(refused_protected, stats.refused_protected);
  set(refused_unauthenticated, stats.refused_unauthenticated);
  set(refused_tls, stats.refused_tls);
  set(closed_idle, stats.closed_idle);
  set(closed_slow_reader, stats.closed_slow_reader);
  set(closed_protocol_error, stats.closed_protocol_error);
  set(closed_memory, stats.closed_memory);
  set(bytes_in, stats.bytes_in);
  set(bytes_out, stats.bytes_out);
  set(buffers_bytes, stats.buffers_bytes);
}

void add_redis_metrics(Metrics& metrics, const RedisGauges& gauges) {
  using Word = RedisGauges::Word;
  const auto counter = [&](const char* name, const char* help, const Word& word, const Labels& labels = {}) {
    metrics.counter_from(name, help, labels, [&word] { return word.load(std::memory_order_relaxed); });
  };
  const auto gauge = [&](const char* name, const char* help, const Word& word) {
    metrics.gauge_from(name, help, {}, [&word] { return static_cast<double>(word.load(std::memory_order_relaxed)); });
  };
  gauge("tidelock_redis_connections", "Open connections of the Redis protocol.", gauges.connections);
  counter("tidelock_redis_connections_total", "Connections of the Redis protocol that were accepted.",
          gauges.connections_total);
  counter("tidelock_redis_commands_total", "Commands of the Redis protocol.", gauges.commands);
  counter("tidelock_redis_errors_total", "Commands of the Redis protocol answered by an error.", gauges.errors);
  counter("tidelock_redis_deferred_total", "Commands whose answer had to wait.", gauges.deferred);
  counter("tidelock_redis_authentication_failures_total", "Wrong passwords and unknown users.",
          gauges.authentication_failures);
  const char* const refused = "Connections of the Redis protocol that were turned away.";
  counter("tidelock_redis_refused_total", refused, gauges.refused_max, {{"reason", "maxclients"}});
  counter("tidelock_redis_refused_total", refused, gauges.refused_protected, {{"reason", "protected"}});
  counter("tidelock_redis_refused_total", refused, gauges.refused_unauthenticated, {{"reason", "unauthenticated"}});
  counter("tidelock_redis_refused_total", refused, gauges.refused_tls, {{"reason", "tls"}});
  const char* const closed = "Connections of the Redis protocol that this edge ended.";
  counter("tidelock_redis_closed_total", closed, gauges.closed_idle, {{"reason", "idle"}});
  counter("tidelock_redis_closed_total", closed, gauges.closed_slow_reader, {{"reason", "slow_reader"}});
  counter("tidelock_redis_closed_total", closed, gauges.closed_protocol_error, {{"reason", "protocol_error"}});
  counter("tidelock_redis_closed_total", closed, gauges.closed_memory, {{"reason", "buffers_full"}});
  const char* const bytes = "Bytes of the Redis protocol.";
  counter("tidelock_redis_bytes_total", bytes, gauges.bytes_in, {{"direction", "received"}});
  counter("tidelock_redis_bytes_total", bytes, gauges.bytes_out, {{"direction", "sent"}});
  gauge("tidelock_redis_buffers_bytes", "What the buffers of all connections of the Redis protocol hold.",
        gauges.buffers_bytes);
}

void add_edge_metrics(Metrics& metrics, const EdgeGauges& gauges, const Links& links, const Clock& clock) {
  using Word = EdgeGauges::Word;
  const auto counter = [&](const char* name, const char* help, const Word& word, const Labels& labels = {}) {
    metrics.counter_from(name, help, labels, [&word] { return word.load(std::memory_order_relaxed); });
  };
  const auto gauge = [&](const char* name, const char* help, const Word& word) {
    metrics.gauge_from(name, help, {}, [&word] { return static_cast<double>(word.load(std::memory_order_relaxed)); });
  };
  metrics.gauge_from(metric::kCacheHitRatio, "Reads answered from memory within their contract, of all reads.",
                     {{"level", "edge"}}, [&gauges] {
                       const double reads = static_cast<double>(gauges.reads.load(std::memory_order_relaxed));
                       return reads == 0 ? 0.0
                                         : static_cast<double>(gauges.hits.load(std::memory_order_relaxed)) / reads;
                     });
  counter(metric::kInvalidations, "Keys and slots invalidated by the hub's feed.", gauges.invalidations,
          {{"reason", "feed"}});
  counter("tidelock_edge_reads_total", "Reads asked of this edge.", gauges.reads);
  counter("tidelock_edge_fallbacks_total", "Reads served flagged: the contract could not be met.", gauges.fallbacks);
  counter("tidelock_edge_stale_total", "Reads refused: the contract could not be met.", gauges.stale);
  counter("tidelock_edge_fetches_total", "Fetches and revalidations sent to the hub.", gauges.fetches);
  counter("tidelock_edge_probes_total", "Probes sent to the hub.", gauges.probes);
  counter("tidelock_edge_sessions_total", "Sessions opened with a hub.", gauges.sessions);
  metrics.gauge_from("tidelock_edge_session_open", "1 while a session with a hub is open.", {},
                     [&gauges] { return gauges.session_open.load(std::memory_order_relaxed) ? 1.0 : 0.0; });
  metrics.gauge_from("tidelock_edge_fresh_age_seconds", "Age of the newest proof of freshness; -1 without one.", {},
                     [&gauges, &clock] {
                       const Nanos fresh = gauges.fresh_at.load(std::memory_order_relaxed);
                       return fresh == kNever ? -1.0
                                              : static_cast<double>(clock.now() - fresh) / static_cast<double>(kSecond);
                     });
  metrics.gauge_from(
      "tidelock_edge_lease_left_seconds", "What is left of the lease on strong keys.", {}, [&gauges, &clock] {
        const Nanos until = gauges.lease_until.load(std::memory_order_relaxed);
        const Nanos now = clock.now();
        return until == kNever || until <= now ? 0.0 : static_cast<double>(until - now) / static_cast<double>(kSecond);
      });
  metrics.gauge_from(
      "tidelock_edge_round_trip_seconds", "Of heartbeats to the hub, smoothed; 0 before the first.", {}, [&gauges] {
        return static_cast<double>(gauges.round_trip.load(std::memory_order_relaxed)) / static_cast<double>(kSecond);
      });
  metrics.gauge_from("tidelock_edge_clock_fault", "1 while this clock's rate is outside what the rules assume.", {},
                     [&gauges] { return gauges.clock_fault.load(std::memory_order_relaxed) ? 1.0 : 0.0; });
  gauge("tidelock_edge_applied_index", "Ledger index up to which the feed was applied.", gauges.applied);
  gauge("tidelock_edge_entries", "Entries in the memory tier.", gauges.entries);
  gauge("tidelock_edge_arena_bytes", "Live bytes of the memory tier, the arena that apps read.", gauges.memory_bytes);
  gauge("tidelock_edge_l2_bytes", "Bytes of keys and rows on disk; they return to l2.max_bytes when they are over it.",
        gauges.l2_bytes);
  counter("tidelock_edge_l2_evicted_total", "Entries that left the disk for others.", gauges.l2_evicted);
  counter("tidelock_edge_l2_damaged_total", "Entries on disk that could not be read.", gauges.l2_damaged);
  counter("tidelock_edge_l2_missing_total", "Values the cache server has lost or has from before.", gauges.l2_missing);
  gauge("tidelock_edge_outbox_bytes", "Bytes of features that wait for the hub.", gauges.outbox_bytes);
  // written = flushed + superseded + expired + pending + shed + lost (DESIGN 5)
  counter("tidelock_features_written_total", "Write-behind records accepted.", gauges.written);
  counter("tidelock_features_flushed_total", "Write-behind records applied by the hub.", gauges.flushed);
  counter("tidelock_features_superseded_total", "Write-behind records replaced by newer ones.", gauges.superseded);
  counter("tidelock_features_expired_total", "Write-behind records whose lifetime ended before they were flushed.",
          gauges.expired);
  counter("tidelock_features_shed_total", "Write-behind records shed by policy.", gauges.shed);
  counter("tidelock_features_lost_total", "Write-behind records the hub refused for good.", gauges.lost);
  gauge("tidelock_features_pending", "Write-behind records that wait for the hub.", gauges.pending);
  metrics.counter_from("tidelock_edge_link_bytes_total", "Bytes of session messages.", {{"direction", "sent"}},
                       [&links] { return links.bytes_sent(); });
  metrics.counter_from("tidelock_edge_link_bytes_total", "Bytes of session messages.", {{"direction", "received"}},
                       [&links] { return links.bytes_received(); });
}

}  // namespace tidelock
