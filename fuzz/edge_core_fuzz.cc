// A hub that says anything, in any order, to an edge that is also read, written, cut off and suspended. Frames are
// decoded from the input; most get the session, number, nonce and request that the edge waits for, so that the rules
// behind the door are reached. Whatever the hub says, the edge's page stays one that PageWriter accepts, and no answer
// claims what this edge cannot prove.
#include <map>
#include <set>

#include "fuzz/fuzz.h"
#include "memory/page_layout.h"
#include "protocol/edge_core.h"
#include "protocol/map_memory_fixture.h"

namespace tidelock::fuzz {
namespace {

enum Op : std::uint8_t {
  kTick,
  kUp,
  kDown,
  kFrame,
  kRead,
  kWrite,
  kPersisted,
  kStaged,
  kDisrupted,
  kForget,
  kFail,
  kList,
  kOps
};
constexpr std::uint8_t kRaw = 0x80;  // a frame with its own session, number, nonce, request

constexpr const char* kKeys[] = {
    "model:cam:current@default", "feature:a", "feature:b", "config:limit", "bulk:x", "other"};

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

class Bench {
 public:
  Bench() {
    EdgeOptions options;
    options.id = "edge-1";
    options.boot = Boot{3};
    options.writer = 5;
    options.reads_max = 64;
    auto outbox = Outbox::restore({}, {}, now, 1'000, Rng(7));
    TIDELOCK_ASSERT(outbox.has_value());
    core.emplace(options, memory, store, std::move(*outbox), Rng(8));
  }

  void step(decltype(EdgeEvent::what) what) {
    EdgeActions actions;
    core->step(EdgeEvent{now, std::move(what)}, actions);
    for (const auto& op : actions.ops) std::visit([this](const auto& one) { on(one); }, op);
    TIDELOCK_ASSERT(odd.empty());  // S4: no step ends inside a write
    TIDELOCK_ASSERT(core->outbox().counters().adds_up());
    TIDELOCK_ASSERT(core->fresh_at() <= now);
  }

  template <class Other>
  void on(const Other&) {}
  void on(const PageBeginWrite& op) { TIDELOCK_ASSERT(op.ns < kNamespacesMax && odd.insert(op.ns).second); }
  void on(const PageEndWrite& op) { TIDELOCK_ASSERT(odd.erase(op.ns) == 1); }
  void on(const PageOpenBlock& op) {
    for (const auto slot : op.slots) ++blocks[slot];
  }
  void on(const PageCloseBlock& op) {
    for (const auto slot : op.slots) TIDELOCK_ASSERT(blocks[slot]-- > 0);
  }
  void on(const PageApplied& op) {
    TIDELOCK_ASSERT(op.applied >= applied);
    applied = op.applied;
  }
  void on(const PageFresh& op) {  // F1: proofs date from the sending of a probe, F2
    TIDELOCK_ASSERT(op.fresh_at <= now && sent_at.contains(op.fresh_at));
  }
  void on(const PageEpochs& op) {
    TIDELOCK_ASSERT(op.verified >= verified && op.strong >= strong);
    verified = op.verified;
    strong = op.strong;
  }
  void on(const PagePolicies& op) {
    TIDELOCK_ASSERT(!op.namespaces.empty() && op.namespaces.size() <= kNamespacesMax);
    for (const Namespace& ns : op.namespaces) {
      TIDELOCK_ASSERT(ns.prefix.size() <= kPagePrefixBytesMax && ns.on_stale.size() <= kPageOnStaleMax);
    }
  }
  void on(const EntryPut& op) {
    TIDELOCK_ASSERT(op.entry.proven_at <= now);
    store.rows[op.key] = op.entry;
    memory.put(op.key, op.entry);
  }
  void on(const EntryErase& op) {
    store.rows.erase(op.key);
    memory.erase(op.key);
  }
  void on(const OutboxPersist& op) { persist = op.number; }
  void on(const LinkOpen& op) { link = op.link, next_out = 1; }
  void on(const LinkSend& op) {
    TIDELOCK_ASSERT(op.link == link && op.frame.number == next_out++);  // F2
    if (const auto* hello = std::get_if<Hello>(&op.frame.body); hello != nullptr)
      session = op.frame.session, next_in = 1;
    if (const auto* probe = std::get_if<Probe>(&op.frame.body)) nonce = probe->nonce, sent_at.insert(now);
    if (const auto* fetch = std::get_if<Fetch>(&op.frame.body)) request = fetch->request;
    if (const auto* write = std::get_if<WriteThrough>(&op.frame.body)) through = write->request;
    if (const auto* list = std::get_if<ListKeys>(&op.frame.body)) listing = list->request;
    if (const auto* sent = std::get_if<WriteBatch>(&op.frame.body)) batch = *sent;
    TIDELOCK_ASSERT(decode_checked<EdgeFrame>(encode(op.frame)));
  }
  void on(const ReadDone& op) {
    TIDELOCK_ASSERT(open_reads.erase(op.token.value) == 1);  // answered once
    const Receipt& receipt = op.receipt;
    if (hit && op.token.value == tokens) {
      TIDELOCK_ASSERT(op.value == hit->value && receipt.version == hit->version && !receipt.fallback);
      TIDELOCK_ASSERT(op.code == Code::kOk || op.code == Code::kNotFound);
    }
    TIDELOCK_ASSERT(receipt.bound_ns >= 0);
    if (op.code != Code::kOk || receipt.fallback) return;
    if (receipt.basis == Basis::kLease) TIDELOCK_ASSERT(now < core->lease_until() || receipt.source == Source::kHub);
    if (receipt.basis == Basis::kProof) TIDELOCK_ASSERT(receipt.bound_ns < kForever);
  }
  void on(const WriteDoneOp& op) { TIDELOCK_ASSERT(open_writes.erase(op.token.value) == 1); }
  void on(const KeysListedOp& op) {
    TIDELOCK_ASSERT(open_lists.erase(op.token.value) == 1);
    TIDELOCK_ASSERT(op.code == Code::kOk || (op.keys.empty() && op.last.empty() && !op.message.empty()));
  }

  MapMemory memory{4096};
  MapStore store;
  std::optional<EdgeCore> core;
  Nanos now = 1'000 * kSecond;
  LinkNo link;
  SessionNo session;
  Nonce nonce;
  RequestNo request, through, listing;
  WriteBatch batch;
  Index applied;
  std::uint64_t next_in = 1, next_out = 1, persist = 0, verified = 0, strong = 0, tokens = 0;
  std::set<std::uint16_t> odd;
  std::map<std::uint16_t, int> blocks;
  std::set<Nanos> sent_at;
  std::set<std::uint64_t> open_reads, open_writes, open_lists;
  std::optional<EdgeEntry> hit;  // what memory answered just before the read under way
};

void hub_says(Bench& bench, BytesView bytes, bool raw) {
  auto frame = decode_checked<HubFrame>(bytes);
  if (!frame) return;
  if (!raw) {
    frame->session = bench.session;
    frame->number = bench.next_in++;
    if (auto* mark = std::get_if<Mark>(&frame->body)) mark->nonce = bench.nonce;
    if (auto* answer = std::get_if<FetchAnswer>(&frame->body)) answer->request = bench.request;
    if (auto* done = std::get_if<WriteDone>(&frame->body)) done->request = bench.through;
    if (auto* listed = std::get_if<KeysListed>(&frame->body)) listed->request = bench.listing;
    if (auto* done = std::get_if<BatchDone>(&frame->body))
      done->incarnation = bench.batch.incarnation, done->number = bench.batch.number;
  }
  bench.step(EdgeFrameIn{bench.link, std::move(*frame)});
}

Contract contract_of(std::uint8_t bits) {
  Contract contract;
  if (bits & 1) contract.consistency = static_cast<Consistency>((bits >> 1) % 3);
  if (bits & 8) contract.bound_ns = (bits >> 4) * 100 * kMillisecond;
  if (bits & 128) contract.deadline_ns = 0;
  return contract;
}

}  // namespace

std::vector<Seed> seeds() {
  const auto op = [](std::uint8_t what, std::uint64_t argument, int bytes) {
    return number(what, 1) + number(argument, bytes);
  };
  const auto says = [](decltype(HubFrame::body) body) {
    return number(kFrame, 1) + piece(encode(HubFrame{SessionNo{1}, 1, std::move(body)}));
  };
  const auto tick = [&](std::uint64_t ms) { return op(kTick, ms, 2); };
  const auto read = [&](int key, int contract) {
    return op(kRead, static_cast<std::uint64_t>(contract << 8 | key), 2);
  };
  const auto write = [&](int key, int bits, BytesView value) {
    return op(kWrite, static_cast<std::uint64_t>(bits << 8 | key), 2) + piece(value);
  };
  Welcome hello;
  hello.hub = "hub-1";
  hello.hub_boot = Boot{9};
  hello.term = Term{1};
  hello.h0 = Index{10};
  hello.namespaces = default_namespaces();
  const Nanos at = 1'000 * kSecond;
  const Bytes open =
      tick(1'000) + number(kUp, 1) + says(hello) + says(Mark{Nonce{1}, Index{10}, true, 30 * kSecond, at, 0});
  Namespace everything;
  Welcome narrow = hello;
  narrow.namespaces = {everything};
  narrow.open_blocks = {{Term{1}, BlockNo{1}}};
  const Stamp stamp{1'700'000'000'000, 0, 5};
  return {
      {"strong",
       open + read(0, 0) +
           says(FetchAnswer{RequestNo{1}, Index{10}, true, {{kKeys[0], Index{9}, false, "v1", kForever, {}}}}) +
           read(0, 1 | 4) + says(Block{Term{1}, BlockNo{1}, {kKeys[0]}}) + read(0, 0) +
           says(Record{Index{11}, Term{1}, BlockNo{1}, {{kKeys[0], false, "v2", kForever, {}}}, {}}) + tick(500)},
      {"bounded",
       open + read(3, 0) +
           says(FetchAnswer{RequestNo{1}, Index{12}, true, {{kKeys[3], Index{8}, false, "5", kSecond, {}}}}) +
           read(3, 8 | 16) + tick(900) + read(3, 128) + tick(9'000)},
      {"behind", open + write(1, 0, "f1") + number(kPersisted, 1) + tick(600) + number(kPersisted, 1) +
                     says(BatchDone{1, 1, Index{12}, 0, Code::kOk, {}}) +
                     says(Record{Index{12}, Term{1}, {}, {{kKeys[1], false, std::nullopt, kForever, stamp}}, {}})},
      {"through", open + write(3, 0, "7") + says(WriteDone{RequestNo{1}, Code::kOk, {}, Index{13}}) + write(3, 16, "")},
      {"flush", open + number(kList, 1) + says(KeysListed{RequestNo{1}, {kKeys[3]}, kKeys[3], {}}) + write(3, 16, "") +
                    number(kList, 1) + number(kDown, 1) + tick(6'000)},
      {"coarse", open + read(5, 0) + read(2, 0) + says(Record{Index{14}, Term{1}, {}, {}, {1, 2, 65'535}}) +
                     number(kDisrupted, 1) + tick(50)},
      {"again", open + number(kDown, 1) + tick(600) + number(kUp, 1) + says(narrow) +
                    says(Unblock{Term{1}, BlockNo{1}}) + says(Goodbye{"over", "hub-2"}) + tick(600)},
      {"raw", open + number(kFrame | kRaw, 1) +
                  piece(encode(HubFrame{SessionNo{1}, 3, Mark{Nonce{2}, Index{1}, true, kForever, kForever, kNever}})) +
                  op(kForget, 1, 1) + number(kFail, 1)}};
}

void run(BytesView input) {
  Bench bench;
  Input in(input);
  for (int steps = 0; steps < 200 && !in.empty(); ++steps) {
    const std::uint8_t what = in.byte();
    switch ((what & 0x7F) % kOps) {
      case kTick:
        bench.now += static_cast<Nanos>(in.number(2)) * kMillisecond;
        bench.step(EdgeTick{});
        break;
      case kUp: bench.step(EdgeLinkUp{bench.link}); break;
      case kDown: bench.step(EdgeLinkDown{bench.link, "cut"}); break;
      case kFrame: hub_says(bench, in.piece(), (what & kRaw) != 0); break;
      case kRead: {
        const std::uint8_t key = in.byte();
        const Contract contract = contract_of(in.byte());
        const std::string name = kKeys[key % std::size(kKeys)];
        const auto held = contract == Contract{} ? bench.core->hit(name, bench.now) : std::nullopt;
        bench.hit = held ? std::optional(held->copy()) : std::nullopt;
        bench.open_reads.insert(++bench.tokens);
        bench.step(EdgeRead{ReadToken{bench.tokens}, name, contract});
        // What needs no step is what a step answers at once (F3).
        TIDELOCK_ASSERT(!std::exchange(bench.hit, {}) || !bench.open_reads.contains(bench.tokens));
        break;
      }
      case kWrite: {
        KeyWrite write;
        write.key = kKeys[in.byte() % std::size(kKeys)];
        const std::uint8_t bits = in.byte();
        const BytesView value = in.piece();
        if ((bits & 16) == 0) write.value = Bytes(value);
        if (bits & 1) write.ttl_ns = kSecond;
        write.keep_ttl = (bits & 2) != 0;
        write.condition = static_cast<Condition>((bits >> 2 & 3) % 3);
        bench.open_writes.insert(++bench.tokens);
        bench.step(EdgeWrite{WriteToken{bench.tokens}, write, {}, 1'700'000'000'000});
        break;
      }
      case kPersisted: bench.step(EdgeOutboxPersisted{bench.persist, AckLevel::kDisk}); break;
      case kStaged: bench.step(EdgeStagedModel{{"cam", "1.0.0"}, {}}); break;
      case kDisrupted: bench.step(EdgeDisrupted{}); break;
      case kForget: bench.step(EdgeForget{kKeys[in.byte() % std::size(kKeys)]}); break;
      case kList:
        bench.open_lists.insert(++bench.tokens);
        bench.step(EdgeListKeys{ReadToken{bench.tokens}, namespace_of(default_namespaces(), kKeys[3]).prefix, {}});
        break;
      case kFail: bench.step(EdgeOutboxFailed{"disk"}); break;
    }
  }
}

}  // namespace tidelock::fuzz
