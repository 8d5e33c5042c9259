// A bench for tests of the edge core, in virtual time. It plays the hub: it answers when a test says so, with what the
// test says, and writes down in one line what an app of the gateway or the hub could see of each step.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include "protocol/edge_core.h"
#include "protocol/map_memory_fixture.h"

namespace tidelock::edge_core_fixture {

inline constexpr Nanos kMs = kMillisecond;

class MapStore : public EdgeStore {
 public:
  std::optional<EdgeEntry> find(std::string_view key) const override {
    const auto it = rows.find(key);
    if (it == rows.end()) return std::nullopt;
    EdgeEntry entry = it->second;
    entry.epoch = 0;
    return entry;
  }
  std::map<std::string, EdgeEntry, std::less<>> rows;
};

// One word per action that an app of the gateway, or the hub, can see, in order.
struct Word {
  std::string operator()(const PageBeginWrite&) const { return "odd"; }
  std::string operator()(const PageEndWrite&) const { return "even"; }
  std::string operator()(const PageBumpSlot& bump) const { return bump.whole ? "bump-whole" : "bump"; }
  std::string operator()(const PageOpenBlock&) const { return "open"; }
  std::string operator()(const PageCloseBlock&) const { return "close"; }
  std::string operator()(const PageApplied&) const { return "applied"; }
  std::string operator()(const PageFresh&) const { return "fresh"; }
  std::string operator()(const PageLease&) const { return "lease"; }
  std::string operator()(const PageDropProofs&) const { return "drop"; }
  std::string operator()(const PageEpochs&) const { return "epochs"; }
  std::string operator()(const PageWriters&) const { return "writers"; }
  std::string operator()(const EntryPut& put) const { return put.known ? "fill" : "put"; }
  std::string operator()(const EntryErase&) const { return "erase"; }
  std::string operator()(const OutboxPersist&) const { return "persist"; }
  std::string operator()(const LinkOpen&) const { return "connect"; }
  std::string operator()(const LinkClose&) const { return "hangup"; }
  std::string operator()(const ReadDone&) const { return "read"; }
  std::string operator()(const KeysListedOp&) const { return "listed"; }
  std::string operator()(const WriteDoneOp&) const { return "written"; }
  std::string operator()(const StrongChanged&) const { return "strong"; }
  std::string operator()(const LinkSend& send) const {
    constexpr const char* kNames[] = {"hello", "probe", "ack", "fetch", "write", "batch", "staged", "list", "report"};
    return kNames[send.frame.body.index()];
  }
  template <class Other>
  std::string operator()(const Other&) const {
    return {};
  }
};

inline Namespace strong_namespace(std::vector<OnStale> on_stale) {
  return {"cfg:", Consistency::kStrong, 0,       0,       Scope::kRegion, WriteMode::kThrough, 0,
          0,      std::move(on_stale),  kSecond, kForever};
}
inline Namespace bounded_namespace(std::vector<OnStale> on_stale, Nanos cap = kForever) {
  return {"plain:", Consistency::kBounded, kSecond, kMs, Scope::kRegion, WriteMode::kThrough, 0,
          0,        std::move(on_stale),   kSecond, cap};
}
inline const std::vector<OnStale> kAll = {OnStale::kRefresh, OnStale::kWait, OnStale::kFallback, OnStale::kFail};

class Bench {
 public:
  explicit Bench(Nanos session_after = kNever, std::vector<OnStale> on_stale = kAll, Nanos cap = kForever) {
    namespaces = {strong_namespace(kAll),
                  bounded_namespace(std::move(on_stale), cap),
                  {"feat:", Consistency::kBounded, kSecond, kMs, Scope::kRegion, WriteMode::kBehind, kSecond},
                  Namespace{}};
    start(session_after);
  }
  void start(Nanos session_after = kNever) {
    EdgeOptions options;
    options.id = "edge-1";
    options.site = "site-1";
    options.boot = Boot{++boot};
    options.writer = 5;
    options.session_after = session_after;
    options.joined = joined;
    options.namespaces = namespaces;
    const std::vector<std::pair<Bytes, Bytes>> rows(outbox_rows.begin(), outbox_rows.end());
    auto outbox = Outbox::restore({}, rows, now, 1'000, Rng(7));
    EXPECT_TRUE(outbox.has_value());
    arena = MapMemory();
    core = std::make_unique<EdgeCore>(options, arena, store, std::move(*outbox), Rng(8));
  }

  EdgeActions step(decltype(EdgeEvent::what) what) {
    EdgeActions actions;
    core->step(EdgeEvent{now, std::move(what)}, actions);
    trace.clear();
    for (const auto& op : actions.ops) {
      if (const std::string word = std::visit(Word{}, op); !word.empty()) trace += (trace.empty() ? "" : " ") + word;
      if (const auto* open = std::get_if<LinkOpen>(&op)) link = open->link, hint = open->hint;
      if (const auto* send = std::get_if<LinkSend>(&op)) sent.push_back(send->frame);
      if (const auto* read = std::get_if<ReadDone>(&op)) reads[read->token.value] = *read;
      if (const auto* write = std::get_if<WriteDoneOp>(&op)) writes[write->token.value] = *write;
      if (const auto* listed = std::get_if<KeysListedOp>(&op)) lists[listed->token.value] = *listed;
      if (const auto* put = std::get_if<EntryPut>(&op)) {
        store.rows[put->key] = put->entry;
        arena.put(put->key, put->entry);
      }
      if (const auto* erase = std::get_if<EntryErase>(&op)) {
        store.rows.erase(erase->key);
        arena.erase(erase->key);
      }
      if (const auto* lease = std::get_if<PageLease>(&op)) lease_shown = lease->until;
      if (const auto* persist = std::get_if<OutboxPersist>(&op)) {
        persisted = persist->number;
        for (const auto& [key, value] : persist->rows) {
          if (value)
            outbox_rows[key] = *value;
          else
            outbox_rows.erase(key);
        }
      }
    }
    wake_at = actions.wake_at;
    return actions;
  }
  void tick(Nanos after = 0) {
    now += after;
    step(EdgeTick{});
  }
  // A session as far as the welcome; its first probe is on the way.
  void greet(Term term = Term{1}, Index h0 = Index{10}, bool reset = false,
             std::vector<std::pair<Term, BlockNo>> blocks = {}) {
    tick(kSecond);
    step(EdgeLinkUp{link});
    session = sent.back().session;
    number = 0;
    Welcome welcome{protocol_version, "hub-1", Boot{9}, term, h0, reset, settings, namespaces, {}, std::move(blocks)};
    welcome.newest_stamp = newest_at_hub;
    hub(std::move(welcome));
  }
  // A session with its first mark applied, its lease shown.
  void open(Nanos lease = 2 * kSecond, Term term = Term{1}, Index h0 = Index{10}) {
    greet(term, h0);
    mark(h0, lease);
  }
  void hub(decltype(HubFrame::body) body) { step(EdgeFrameIn{link, HubFrame{session, ++number, std::move(body)}}); }
  void mark(Index index, Nanos lease = 2 * kSecond, Nanos writers = 0) {
    hub(Mark{last<Probe>()->nonce, index, true, lease, now, writers});
  }
  // Answers the newest fetch: every key has `value` at `version`.
  void answer(Index index, Index version, std::optional<Bytes> value, Nanos ttl = kForever, Stamp stamp = {}) {
    const Fetch fetch = *last<Fetch>();
    FetchAnswer reply{fetch.request, index, true, {}};
    for (const auto& wanted : fetch.wanted) reply.found.push_back({wanted.key, version, false, value, ttl, stamp});
    hub(reply);
  }
  void record(Index index, const std::string& key, std::optional<Bytes> value, BlockNo block = {}, Term term = Term{1},
              Stamp stamp = {}) {
    hub(Record{index, term, block, {ChangedKey{key, !value, value, kForever, stamp}}, {}});
  }
  void disconnect() { step(EdgeLinkDown{link, "broken"}); }
  void read(std::uint64_t token, const std::string& key, Contract contract = {}, bool more = false) {
    step(EdgeRead{ReadToken{token}, key, contract, more});
  }
  void write(std::uint64_t token, const std::string& key, std::optional<Bytes> value,
             std::optional<AckLevel> level = {}, std::uint64_t wall_ms = 1'000) {
    KeyWrite one;
    one.key = key;
    one.value = std::move(value);
    step(EdgeWrite{WriteToken{token}, one, level, wall_ms});
  }
  // Holds `key` as verified in the open session.
  void hold(const std::string& key, Index version, const std::string& value) {
    read(900, key);
    answer(std::max(version, core->applied()), version, value);
  }
  template <class Body>
  const Body* last() const {
    for (auto it = sent.rbegin(); it != sent.rend(); ++it) {
      if (const auto* body = std::get_if<Body>(&it->body)) return body;
    }
    return nullptr;
  }
  template <class Body>
  int count() const {
    return static_cast<int>(std::count_if(
        sent.begin(), sent.end(), [](const EdgeFrame& frame) { return std::holds_alternative<Body>(frame.body); }));
  }
  bool answered(std::uint64_t token) const { return reads.contains(token); }

  std::vector<Namespace> namespaces;
  bool joined = true;                                 // an earlier run was welcomed
  std::uint32_t protocol_version = kProtocolVersion;  // of sessions
  ClusterSettings settings;
  MapStore store;
  std::unique_ptr<EdgeCore> core;
  Nanos now = 1'000 * kSecond, wake_at = 0, lease_shown = kNever;
  Stamp newest_at_hub;  // told in the next welcome
  std::uint64_t boot = 0, number = 0, persisted = 0;
  LinkNo link;
  SessionNo session;
  std::string hint, trace;
  std::vector<EdgeFrame> sent;
  std::map<std::uint64_t, ReadDone> reads;
  std::map<std::uint64_t, WriteDoneOp> writes;
  std::map<std::uint64_t, KeysListedOp> lists;
  MapMemory arena;
  std::map<Bytes, Bytes> outbox_rows;
};

inline Contract bounded(Nanos bound, Nanos deadline = kSecond) { return {Consistency::kBounded, bound, deadline, {}}; }
inline Contract strong(Nanos deadline = kSecond) { return {Consistency::kStrong, std::nullopt, deadline, {}}; }

}  // namespace tidelock::edge_core_fixture
